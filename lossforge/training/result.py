"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from lossforge.training.metrics import ClassificationMetrics


@dataclass(frozen=True)
class EpochRecord:
    """Means over the training images of one epoch, as they were met: augmented, and while the weights moved.

    Attributes:
        epoch: counted from 1.
        train_loss: mean of the loss module's values; finite.
        train_accuracy: in [0, 1].
    """

    epoch: int
    train_loss: float
    train_accuracy: float


@dataclass(frozen=True)
class TrainingResult:
    """A finished or diverged training; equal to another if the deterministic scalars are.

    Attributes:
        metrics: on the test images with the final weights; None if the training diverged.
        epochs: the completed epochs in order; one that diverged has no record.
        diverged_at_epoch: the epoch, counted from 1, in which the loss (or, in the last one, a test logit) was no
            longer finite; else None.
        test_logits_NC: float32 on the CPU; None if the training diverged, or where it was not read back.
        test_labels_N: int64 on the CPU; as ``test_logits_NC``.
        seconds: wall time of training and test; None where the result was read back.
        images_per_second: training images over the wall time of training; None where the result was read back.
    """

    metrics: ClassificationMetrics | None
    epochs: tuple[EpochRecord, ...]
    diverged_at_epoch: int | None
    test_logits_NC: Tensor | None = field(default=None, compare=False, repr=False)
    test_labels_N: Tensor | None = field(default=None, compare=False, repr=False)
    seconds: float | None = field(default=None, compare=False)
    images_per_second: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the deterministic scalars as plain values: no tensors, no times."""
        return {
            "metrics": None if self.metrics is None else asdict(self.metrics),
            "epochs": [asdict(record) for record in self.epochs],
            "diverged_at_epoch": self.diverged_at_epoch,
        }

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        test_logits_NC: Tensor | None = None,
        test_labels_N: Tensor | None = None,
    ) -> TrainingResult:
        """Return the result that :meth:`to_json` gave, with tensors stored apart from it.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        metrics = data["metrics"]
        return cls(
            metrics=None if metrics is None else ClassificationMetrics(**metrics),
            epochs=tuple(EpochRecord(**record) for record in data["epochs"]),
            diverged_at_epoch=data["diverged_at_epoch"],
            test_logits_NC=test_logits_NC,
            test_labels_N=test_labels_N,
        )
