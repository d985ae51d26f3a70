"""From a dataset to tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lossforge.errors import DataError, SpecError
from lossforge.sizes import told_by_size
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.data_record import DrawnPart, data_record
from lossforge.training.label_noise import noisy_labels
from lossforge.training.long_tail import long_tailed
from lossforge.training.stratify import stratified_subset
from lossforge.types import ImageData, ImageSet


@dataclass(frozen=True)
class PreparedData:
    """Images on the device, ready to train on.

    Attributes:
        train: uint8 images in channels-last memory, and the labels to train with.
        test: likewise, with the dataset's own labels; None where trainings must not see them.
        class_names: names of the classes, in label order.
        mean_C: float32 mean of each channel over ``train``, in units of 0..255.
        std_C: likewise the (biased) standard deviation; 1 for a channel that does not vary.
        validation: held out of the dataset's training part, with labels as noisy as those to train with; or None.
        record: see :func:`lossforge.training.data_record.data_record`.
    """

    train: ImageSet
    test: ImageSet | None
    class_names: tuple[str, ...]
    mean_C: Tensor
    std_C: Tensor
    validation: ImageSet | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

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

    def without_test(self) -> PreparedData:
        """Return the same without the test images: trainings that choices are made by have none to look at."""
        return replace(self, test=None)

    def normalise(self, images_NCHW: Tensor) -> Tensor:
        """Return uint8 images as float32 with mean 0 and standard deviation 1 a channel over ``train``."""
        return images_NCHW.float().sub_(self.mean_C[:, None, None]).div_(self.std_C[:, None, None])


def prepare(spec: TrainingSpec, seed: int, device: torch.device | str, *, recorded: bool = True) -> PreparedData:
    """Load the dataset, draw what the spec asks for, and put it on the device.

    All draws come from streams of ``seed`` and depend on nothing else: labels of the whole training part become noisy
    (``training.label_noise``), validation images are held out (``training.subset.validation``), the long tail is cut
    (``training.long_tail``), then the subsets are drawn (``training.subset.train`` and ``.test``). Subsets are
    stratified by the dataset's own labels. Without ``recorded`` there is no record, whose hashes take a second for tens
    of thousands of images.

    Raises:
        DataError: the dataset is not where it should be, or has fewer images than asked for.
        SpecError: ``crop_padding`` or ``cutout`` does not fit the images, or the noise does not fit the classes.
        NotEnoughMemoryError: memory is not enough for them.
    """
    with told_by_size(spec, "training"):
        return _prepared(spec, seed, device, recorded)


def _prepared(spec: TrainingSpec, seed: int, device: torch.device | str, recorded: bool) -> PreparedData:
    loaded = spec.dataset.load()
    _check_sizes(spec, loaded.train.images_NCHW)
    train_M, validation_M = _training_indices(spec, loaded, seed)
    test_M = _drawn(loaded.test.labels_N, "test", spec.num_test, seed)
    given_N = clean_N = loaded.train.labels_N
    if spec.label_noise is not None:
        given_N = noisy_labels(clean_N, spec.label_noise, loaded.class_names, seed)
    parts = {
        "train": DrawnPart(train_M, given_N[train_M], clean_N[train_M]),
        "validation": DrawnPart(validation_M, given_N[validation_M], clean_N[validation_M]),
        "test": DrawnPart(test_M, loaded.test.labels_N[test_M], loaded.test.labels_N[test_M]),
    }
    if not spec.num_validation:
        del parts["validation"]
    images = {name: _images(loaded, name, part) for name, part in parts.items()}
    mean_C, std_C = channel_statistics(images["train"].images_NCHW)
    on_device = {name: _on_device(of_part, device) for name, of_part in images.items()}
    return PreparedData(
        train=on_device["train"],
        test=on_device["test"],
        class_names=loaded.class_names,
        mean_C=mean_C.to(device),
        std_C=std_C.to(device),
        validation=on_device.get("validation"),
        record=data_record(loaded, parts) if recorded else {},
    )


def _images(loaded: ImageData, name: str, part: DrawnPart) -> ImageSet:
    """Return the images of a part, without a copy where that is all of them."""
    images_NCHW = (loaded.test if name == "test" else loaded.train).images_NCHW
    is_whole = len(part.index_M) == len(images_NCHW)
    return ImageSet(images_NCHW if is_whole else images_NCHW[part.index_M], part.given_M)


def _training_indices(spec: TrainingSpec, loaded: ImageData, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sorted indices of the images to train on and of those held out."""
    labels_N, num_classes = loaded.train.labels_N, len(loaded.class_names)
    if spec.num_validation > len(labels_N) - 2:
        raise DataError(
            f"num_validation asks for {spec.num_validation} of {len(labels_N)} training images, and at least 2 are "
            "needed to train on; lower num_validation"
        )
    generator = derive_generator(seed, "training.subset.validation")
    held_out_M = stratified_subset(labels_N, spec.num_validation, generator)
    left_N = torch.ones(len(labels_N), dtype=torch.bool)
    left_N[held_out_M] = False
    left_M = left_N.nonzero().squeeze(1)
    if spec.long_tail is not None:
        missing = torch.bincount(labels_N[left_M], minlength=num_classes) == 0
        if bool(missing.any()):
            raise DataError("long_tail needs training images of each class, and one has none; leave long_tail out")
        generator = derive_generator(seed, "training.long_tail")
        left_M = left_M[long_tailed(labels_N[left_M], num_classes, spec.long_tail, generator)]
    return left_M[_drawn(labels_N[left_M], "train", spec.num_train, seed)], held_out_M


def _drawn(labels_N: Tensor, part: str, num: int | None, seed: int) -> Tensor:
    """Return the sorted indices of a subset, of all where ``num`` is None."""
    available = len(labels_N)
    if num is None:
        return torch.arange(available)
    if num > available:
        raise DataError(f"num_{part} asks for {num} images, but the dataset has {available}; lower num_{part}")
    return stratified_subset(labels_N, num, derive_generator(seed, f"training.subset.{part}"))


def _check_sizes(spec: TrainingSpec, images_NCHW: Tensor) -> None:
    height, width = images_NCHW.shape[2:]
    if spec.crop_padding >= min(height, width):
        raise SpecError(
            [
                f"training.crop_padding: a border of {spec.crop_padding} pixels cannot be reflected from "
                f"{height}x{width} images; use at most {min(height, width) - 1}"
            ]
        )
    if spec.cutout > min(height, width):
        raise SpecError(
            [
                f"training.cutout: a square of {spec.cutout} pixels does not fit {height}x{width} images; use at most "
                f"{min(height, width)}"
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


def _on_device(images: ImageSet, device: torch.device | str) -> ImageSet:
    on_device_NCHW = images.images_NCHW.to(device).contiguous(memory_format=torch.channels_last)
    return ImageSet(on_device_NCHW, images.labels_N.to(device))
