"""Street View House Numbers, cropped digits, from its official files.

Netzer, Wang, Coates, Bissacco, Wu and Ng, "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS
Workshop on Deep Learning and Unsupervised Feature Learning, 2011.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from lossforge.interfaces import Dataset
from lossforge.training.datasets.torchvision_archive import cached_archive, errors_with_remedy
from lossforge.types import ImageData, ImageSet


class SVHN(Dataset):
    """73,257 training and 26,032 test images of the digits 0 to 9, 32x32 RGB; 531,131 easier ones can be added."""

    type: Literal["svhn"] = "svhn"
    root: str = Field(default="data", description="folder with train_32x32.mat and test_32x32.mat; ~ is expanded")
    download: bool = Field(default=True, description="fetch the files (246 MB) into the folder if they are not there")
    extra: bool = Field(default=False, description="add extra_32x32.mat (1.3 GB) to the training part")

    def load(self) -> ImageData:
        """Read the files, or their cache, after downloading them where that is wanted and needed.

        Raises:
            DataError: a file is neither there nor to be had, or damaged.
        """
        root = Path(self.root).expanduser()
        splits = ("train", "test", *(("extra",) if self.extra else ()))
        files = [f"{split}_32x32.mat" for split in splits]
        return cached_archive("svhn", root, files, {"extra": self.extra}, lambda: self._decode(root, splits))

    def _decode(self, root: Path, splits: tuple[str, ...]) -> ImageData:
        train, test, *extra = (self._read(root, split) for split in splits)
        for part in extra:
            train = ImageSet(
                torch.cat([train.images_NCHW, part.images_NCHW]), torch.cat([train.labels_N, part.labels_N])
            )
        return ImageData(train, test, tuple("0123456789"))

    def _read(self, root: Path, split: str) -> ImageSet:
        # Imported here: it takes seconds, and only decoding needs it.
        import torchvision.datasets

        remedy = f"put {split}_32x32.mat there, or set download: true where there is a network"
        with errors_with_remedy("SVHN", root, remedy):
            # The files give the digit 0 the label 10; torchvision makes it 0.
            dataset: Any = torchvision.datasets.SVHN(root=root, split=split, download=self.download)
        return ImageSet(torch.from_numpy(dataset.data), torch.from_numpy(dataset.labels))
