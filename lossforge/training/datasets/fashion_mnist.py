"""Fashion-MNIST from its official files.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
arXiv 1708.07747.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from lossforge.errors import DataError
from lossforge.interfaces import Dataset
from lossforge.training.datasets.idx_file import read_idx
from lossforge.training.datasets.torchvision_archive import cached_archive, errors_with_remedy
from lossforge.types import ImageData, ImageSet

FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

TORCHVISION_FOLDER = "FashionMNIST/raw"

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""

REMEDY = (
    f"put {', '.join(FILES)} or their .gz there, install Debian's package dataset-fashion-mnist, or set download: true "
    "where there is a network"
)


class FashionMNIST(Dataset):
    """60,000 training and 10,000 test images of 10 kinds of clothing, 28x28 grey.

    The four files, gzipped or not, are looked for in ``FashionMNIST/raw`` below ``root``, in ``root``, and where
    Debian's package ``dataset-fashion-mnist`` puts them, before they are downloaded.
    """

    type: Literal["fashion_mnist"] = "fashion_mnist"
    root: str = Field(default="data", description="folder with the files or with FashionMNIST/raw; ~ is expanded")
    download: bool = Field(default=True, description="fetch the files (31 MB) into FashionMNIST/raw if there are none")

    def load(self) -> ImageData:
        """Read the files, or their cache, after downloading them where that is wanted and needed.

        Raises:
            DataError: the files are neither there nor to be had, or damaged.
        """
        root = Path(self.root).expanduser()
        paths = _found(root)
        if paths is None and self.download:
            _download(root)
            paths = _found(root)
        if paths is None:
            raise DataError(f"Fashion-MNIST cannot be read from {root}: files are missing; {REMEDY}")
        names = [path.name for path in paths]
        return cached_archive("fashion_mnist", paths[0].parent, names, {}, lambda: _decode(paths))


def _found(root: Path) -> list[Path] | None:
    """Return the four files, from the first folder that has them all."""
    for folder in (root / TORCHVISION_FOLDER, root, DEBIAN_FOLDER):
        there = [[path for path in (folder / name, folder / f"{name}.gz") if path.is_file()] for name in FILES]
        if all(there):
            return [paths[0] for paths in there]
    return None


def _download(root: Path) -> None:
    # Imported here: it takes seconds, and only downloading needs it.
    import torchvision.datasets

    with errors_with_remedy("Fashion-MNIST", root, REMEDY):
        torchvision.datasets.FashionMNIST(root=root, download=True)


def _decode(paths: list[Path]) -> ImageData:
    return ImageData(_image_set(*paths[:2]), _image_set(*paths[2:]), CLASS_NAMES)


def _image_set(of_images: Path, of_labels: Path) -> ImageSet:
    images_NHW, labels_N = torch.from_numpy(read_idx(of_images, 3)), torch.from_numpy(read_idx(of_labels, 1)).long()
    if len(images_NHW) != len(labels_N) or bool((labels_N >= len(CLASS_NAMES)).any()):
        raise DataError(f"{of_labels}: these are not the labels of {of_images.name}; replace both files")
    return ImageSet(images_NHW[:, None], labels_N)
