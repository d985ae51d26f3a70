"""Noise in place of images, for checks of speed and of plumbing."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from lossforge.component import Count
from lossforge.interfaces import Dataset
from lossforge.streams import derive_generator
from lossforge.types import ImageData, ImageSet

Size = Annotated[Count, Field(ge=1)]


class FakeImages(Dataset):
    """Uniform noise with labels 0, 1, 2, ... in turn: nothing can be learned from it."""

    type: Literal["fake"] = "fake"
    num_train: Count = Field(default=1024, ge=1, description="training images")
    num_test: Count = Field(default=256, ge=1, description="test images")
    image_shape: tuple[Size, Size, Size] = Field(default=(3, 32, 32), description="channels, height, width")
    num_classes: int = Field(default=10, ge=2, le=10**6, description="classes, as frequent as one another")
    seed: int = Field(default=0, ge=0, lt=2**63)

    def load(self) -> ImageData:
        """Return fresh noise, a function of the options alone."""
        return ImageData(
            train=self._part("train", self.num_train),
            test=self._part("test", self.num_test),
            class_names=tuple(f"class {index}" for index in range(self.num_classes)),
        )

    def _part(self, name: str, num: int) -> ImageSet:
        generator = derive_generator(self.seed, f"datasets.fake.{name}")
        shape = (num, *self.image_shape)
        images_NCHW = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return ImageSet(images_NCHW, torch.arange(num) % self.num_classes)
