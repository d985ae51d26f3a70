"""From a dataset to tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.errors import DataError, SpecError
from lossforge.spec.model import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.stratify import stratified_subset
from lossforge.types import ImageSet


@dataclass(frozen=True)
class PreparedData:
    """Images on the device, ready to train on.

    Attributes:
        train: uint8 images in channels-last memory, and their labels.
        test: likewise.
        class_names: names of the classes, in label order.
        mean_C: float32 mean of each channel over ``train``, in units of 0..255.
        std_C: likewise the (biased) standard deviation; 1 for a channel that does not vary.
    """

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    mean_C: Tensor
    std_C: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images_NCHW.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """C, how many classes there are."""
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.train.images_NCHW.device

    def normalise(self, images_NCHW: Tensor) -> Tensor:
        """Return uint8 images as float32 with mean 0 and standard deviation 1 a channel over ``train``."""
        return images_NCHW.float().sub_(self.mean_C[:, None, None]).div_(self.std_C[:, None, None])


def prepare(spec: TrainingSpec, seed: int, device: torch.device | str) -> PreparedData:
    """Load the dataset, draw the subsets the spec asks for, and put them on the device.

    Subsets are stratified and drawn from the streams ``training.subset.train`` and ``training.subset.test`` of
    ``seed``; they depend on nothing else.

    Raises:
        DataError: the dataset is not where it should be, or has fewer images than asked for.
        SpecError: ``crop_padding`` does not fit the images.
    """
    loaded = spec.dataset.load()
    _check_padding(spec, loaded.train.images_NCHW)
    train = _subset(loaded.train, "train", spec.num_train, seed)
    test = _subset(loaded.test, "test", spec.num_test, seed)
    mean_C, std_C = channel_statistics(train.images_NCHW)
    return PreparedData(
        train=_on_device(train, device),
        test=_on_device(test, device),
        class_names=loaded.class_names,
        mean_C=mean_C.to(device),
        std_C=std_C.to(device),
    )


def _check_padding(spec: TrainingSpec, images_NCHW: Tensor) -> None:
    height, width = images_NCHW.shape[2:]
    if spec.crop_padding >= min(height, width):
        raise SpecError(
            [
                f"training.crop_padding: a border of {spec.crop_padding} pixels cannot be reflected from "
                f"{height}x{width} images; use at most {min(height, width) - 1}"
            ]
        )


def channel_statistics(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean_C and std_C (biased, 1 where it would be 0) of uint8 images, as float32 in units of 0..255.

    They come from the counts of the 256 values, so they are exact and the same on every device.
    """
    values = torch.arange(256, dtype=torch.float64)
    channels = images_NCHW.unbind(dim=1)
    counts_CV = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in channels])
    shares_CV = counts_CV.double() / counts_CV.sum(dim=1, keepdim=True)
    mean_C = shares_CV @ values
    variance_C = (shares_CV * (values - mean_C[:, None]).square()).sum(dim=1)
    constant_C = (counts_CV > 0).sum(dim=1) == 1
    return mean_C.float(), torch.where(constant_C, 1.0, variance_C.sqrt()).float()


def _subset(images: ImageSet, part: str, num: int | None, seed: int) -> ImageSet:
    if num is None:
        return images
    available = len(images.labels_N)
    if num > available:
        raise DataError(f"num_{part} asks for {num} images, but the dataset has {available}; lower num_{part}")
    chosen = stratified_subset(images.labels_N, num, derive_generator(seed, f"training.subset.{part}"))
    return ImageSet(images.images_NCHW[chosen], images.labels_N[chosen])


def _on_device(images: ImageSet, device: torch.device | str) -> ImageSet:
    on_device_NCHW = images.images_NCHW.to(device).contiguous(memory_format=torch.channels_last)
    return ImageSet(on_device_NCHW, images.labels_N.to(device))
