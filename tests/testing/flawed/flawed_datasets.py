"""Flawed datasets: each breaks a contract, which its docstring tells."""

import os
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from lossforge.interfaces import Dataset
from lossforge.types import ImageData, ImageSet


class Stripes(Dataset):
    """Ten images of ten classes, in which nothing is wrong."""

    type: Literal["stripes"] = "stripes"

    def load(self):
        images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).repeat(1, 1, 2, 2)
        part = ImageSet(images, torch.arange(10))
        return ImageData(part, ImageSet(images + 1, torch.arange(10)), tuple(f"class {index}" for index in range(10)))


class FloatImages(Stripes):
    """Its images are float32."""

    type: Literal["float_images"] = "float_images"

    def load(self):
        data = super().load()
        return replace(data, train=replace(data.train, images_NCHW=data.train.images_NCHW / 255))


class MissingClass(Stripes):
    """A label has no name."""

    type: Literal["missing_class"] = "missing_class"

    def load(self):
        data = super().load()
        return replace(data, class_names=data.class_names[1:])


class SameName(Stripes):
    """Two classes have one name."""

    type: Literal["same_name"] = "same_name"

    def load(self):
        data = super().load()
        return replace(data, class_names=("one",) * len(data.class_names))


class Shuffled(Stripes):
    """It moves NumPy's global generator."""

    type: Literal["shuffled"] = "shuffled"

    def load(self):
        np.random.rand()
        return super().load()


LOADED = {}


class LoadedOnce(Stripes):
    """It hands the same images out again."""

    type: Literal["loaded_once"] = "loaded_once"

    def load(self):
        return LOADED.setdefault(self.model_dump_json(), super().load())


class ByProcess(Stripes):
    """Its labels depend on the process."""

    type: Literal["by_process"] = "by_process"

    def load(self):
        data = super().load()
        return replace(data, test=replace(data.test, labels_N=torch.tensor(list(map(int, f"{os.getpid():010d}")))))
