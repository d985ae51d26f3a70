"""CIFAR-100 from its official archive.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of Toronto, 2009.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lossforge.interfaces import Dataset
from lossforge.training.datasets.torchvision_archive import cached_archive, errors_with_remedy, image_set
from lossforge.types import ImageData

FILES = tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta"))

REMEDY = (
    "unpack cifar-100-python.tar.gz there, set download: true where there is a network, or use "
    "{type: image_folder, root: ...}"
)


class CIFAR100(Dataset):
    """50,000 training and 10,000 test images of 100 classes, or of the 20 that those form, 32x32 RGB."""

    type: Literal["cifar100"] = "cifar100"
    root: str = Field(default="data", description="folder with cifar-100-python or its archive; ~ is expanded")
    download: bool = Field(default=True, description="fetch the archive (169 MB) into the folder if it is not there")
    coarse: bool = Field(default=False, description="labels are the 20 coarse classes, in place of the 100 fine ones")

    def load(self) -> ImageData:
        """Read the archive, or its cache, after downloading it where that is wanted and needed.

        Raises:
            DataError: the archive is neither there nor to be had, or damaged.
        """
        root = Path(self.root).expanduser()
        return cached_archive("cifar100", root, FILES, {"coarse": self.coarse}, lambda: self._decode(root))

    def _decode(self, root: Path) -> ImageData:
        # Imported here: it takes seconds, and only decoding needs it.
        import torchvision.datasets

        with errors_with_remedy("CIFAR-100", root, REMEDY):
            train, test = (
                torchvision.datasets.CIFAR100(root=root, train=train, download=self.download) for train in (True, False)
            )
        labels, names = (train.targets, test.targets), train.classes
        if self.coarse:
            # Torchvision gives the fine labels alone. It has just compared the files' checksums: they can be unpickled.
            of_train, of_test, meta = (_unpickled(root / name) for name in FILES)
            labels, names = (of_train["coarse_labels"], of_test["coarse_labels"]), meta["coarse_label_names"]
        return ImageData(image_set(train.data, labels[0]), image_set(test.data, labels[1]), tuple(names))


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")
