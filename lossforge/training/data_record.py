"""What a training was given: which pixels, which of the images, which labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge.training.image_cache import content_hash
from lossforge.types import ImageData


@dataclass(frozen=True)
class DrawnPart:
    """Training, validation or test images, as drawn from a dataset.

    Attributes:
        index_M: int64, their places in the dataset's training or test part.
        given_M: int64, the labels that are used.
        dataset_M: int64, those of the dataset.
    """

    index_M: Tensor
    given_M: Tensor
    dataset_M: Tensor


def data_record(loaded: ImageData, parts: Mapping[str, DrawnPart]) -> dict[str, Any]:
    """Return plain values that say what was drawn, each by the name of a part.

    ``dataset_sha256`` (of the whole dataset), ``images_a_class`` (by the dataset's own labels), ``wrong_labels`` (the
    share of labels that are not the dataset's), ``indices_sha256`` and ``labels_sha256`` (of the labels used).
    """
    num_classes = len(loaded.class_names)
    return {
        "dataset_sha256": content_hash(loaded),
        "images_a_class": {
            name: torch.bincount(part.dataset_M, minlength=num_classes).tolist() for name, part in parts.items()
        },
        "wrong_labels": {name: float((part.given_M != part.dataset_M).double().mean()) for name, part in parts.items()},
        "indices_sha256": {name: _sha256(part.index_M) for name, part in parts.items()},
        "labels_sha256": {name: _sha256(part.given_M) for name, part in parts.items()},
    }


def _sha256(values_M: Tensor) -> str:
    return hashlib.sha256(values_M.contiguous().numpy().data).hexdigest()
