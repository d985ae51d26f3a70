"""Handwritten digits, 8x8 pixels: real images that come with scikit-learn, so they need no network and no disk.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test part).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from lossforge.interfaces import Dataset
from lossforge.streams import derive_generator
from lossforge.training.stratify import stratified_subset
from lossforge.types import ImageData, ImageSet

LARGEST_VALUE = 16


class Digits(Dataset):
    """1,797 grey 8x8 images of the digits 0 to 9, split at random into a training and a test part."""

    type: Literal["digits"] = "digits"
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of the images in the test part")
    split_seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the split, which keeps the class shares")

    def load(self) -> ImageData:
        """Return the images, their 17 levels spread over 0..255."""
        # Imported here: it takes a second, and only reading needs it.
        from sklearn.datasets import load_digits

        digits = load_digits()
        levels_NHW = torch.from_numpy(digits.images)
        images_NCHW = (levels_NHW * (255 / LARGEST_VALUE)).round().to(torch.uint8)[:, None]
        labels_N = torch.from_numpy(digits.target).long()
        num_test = min(max(round(self.test_fraction * len(labels_N)), 1), len(labels_N) - 1)
        generator = derive_generator(self.split_seed, "datasets.digits.split")
        in_test_N = torch.zeros(len(labels_N), dtype=torch.bool)
        in_test_N[stratified_subset(labels_N, num_test, generator)] = True
        return ImageData(
            train=ImageSet(images_NCHW[~in_test_N], labels_N[~in_test_N]),
            test=ImageSet(images_NCHW[in_test_N], labels_N[in_test_N]),
            class_names=tuple(str(name) for name in digits.target_names),
        )
