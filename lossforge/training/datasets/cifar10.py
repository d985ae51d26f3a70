"""CIFAR-10 from its official archive.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of Toronto, 2009.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from lossforge.errors import DataError
from lossforge.interfaces import Dataset
from lossforge.types import ImageData, ImageSet


class CIFAR10(Dataset):
    """50,000 training and 10,000 test images of 10 classes, 32x32 RGB."""

    type: Literal["cifar10"] = "cifar10"
    root: str = Field(default="data", description="folder with cifar-10-batches-py or its archive; ~ is expanded")
    download: bool = Field(default=True, description="fetch the archive (170 MB) into the folder if it is not there")

    def load(self) -> ImageData:
        """Read the archive's batches, after downloading it where that is wanted and needed.

        Raises:
            DataError: the archive is neither there nor to be had, or damaged.
        """
        train, test = self._read(train=True), self._read(train=False)
        return ImageData(_image_set(train), _image_set(test), tuple(train.classes))

    def _read(self, *, train: bool) -> Any:
        # Imported here: it takes seconds, and only reading needs it.
        import torchvision.datasets

        root = Path(self.root).expanduser()
        try:
            return torchvision.datasets.CIFAR10(root=root, train=train, download=self.download)
        except (OSError, RuntimeError) as cause:
            raise DataError(
                f"CIFAR-10 cannot be read from {root}: {_reason(cause)}; unpack cifar-10-python.tar.gz there, set "
                "download: true where there is a network, or use {type: image_folder, root: ...}"
            ) from cause


def _reason(cause: Exception) -> str:
    # Torchvision's own message ends in the name of its Python argument, which a spec does not have.
    return str(cause).removesuffix(" You can use download=True to download it").rstrip(".")


def _image_set(dataset: Any) -> ImageSet:
    """Return a torchvision dataset's (N, H, W, C) array and its list of labels as tensors."""
    images_NCHW = torch.from_numpy(dataset.data).permute(0, 3, 1, 2)
    return ImageSet(images_NCHW, torch.tensor(dataset.targets, dtype=torch.int64))
