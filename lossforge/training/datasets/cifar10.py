"""CIFAR-10 from its official archive.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of Toronto, 2009.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from lossforge.interfaces import Dataset
from lossforge.training.datasets.torchvision_archive import cached_archive, errors_with_remedy, image_set
from lossforge.types import ImageData

FILES = tuple(
    f"cifar-10-batches-py/{name}"
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
)

REMEDY = (
    "unpack cifar-10-python.tar.gz there, set download: true where there is a network, or use "
    "{type: image_folder, root: ...}"
)


class CIFAR10(Dataset):
    """50,000 training and 10,000 test images of 10 classes, 32x32 RGB."""

    type: Literal["cifar10"] = "cifar10"
    root: str = Field(default="data", description="folder with cifar-10-batches-py or its archive; ~ is expanded")
    download: bool = Field(default=True, description="fetch the archive (170 MB) into the folder if it is not there")

    def load(self) -> ImageData:
        """Read the archive's batches, or their cache, after downloading them where that is wanted and needed.

        Raises:
            DataError: the archive is neither there nor to be had, or damaged.
        """
        root = Path(self.root).expanduser()
        return cached_archive("cifar10", root, FILES, {}, lambda: self._decode(root))

    def _decode(self, root: Path) -> ImageData:
        # Imported here: it takes seconds, and only decoding needs it.
        import torchvision.datasets

        with errors_with_remedy("CIFAR-10", root, REMEDY):
            train, test = (
                torchvision.datasets.CIFAR10(root=root, train=train, download=self.download) for train in (True, False)
            )
        return ImageData(
            train=image_set(train.data, train.targets),
            test=image_set(test.data, test.targets),
            class_names=tuple(train.classes),
        )
