"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lossforge.training.metrics import ClassificationMetrics


@dataclass(frozen=True)
class EpochRecord:
    """Means over the training images of one epoch, as they were met: augmented, mixed, and while the weights moved.

    Attributes:
        epoch: counted from 1.
        train_loss: mean of the loss module's values; finite.
        train_accuracy: in [0, 1]; of a mixture, the share of the image whose label was predicted.
        images_per_second: training images over wall time, of all seeds trained together; None where it was read back.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    images_per_second: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the deterministic fields as plain values."""
        return {"epoch": self.epoch, "train_loss": self.train_loss, "train_accuracy": self.train_accuracy}


@dataclass(frozen=True)
class Predictions:
    """What a trained network says of images it was not trained on.

    Attributes:
        logits_NC: float32 on the CPU.
        labels_N: int64 on the CPU.
    """

    logits_NC: Tensor
    labels_N: Tensor


@dataclass(frozen=True)
class TrainingResult:
    """A finished or diverged training; equal to another if the deterministic scalars are.

    Attributes:
        metrics: on the test images with the final weights, or those of the selected epoch; None if the training
            diverged, or had no test images.
        epochs: the completed epochs in order; one that diverged has no record.
        diverged_at_epoch: the epoch, counted from 1, in which the loss (or, in the last one, a logit) was no longer
            finite; else None.
        validation_metrics: on the validation images; None if there are none, as the next two.
        temperature: fitted on the validation images.
        scaled_metrics: on the test images, with logits over that temperature.
        test: None if the training diverged, if there are none, or where it was not read back.
        validation: likewise.
        selected_epoch: whose weights were tested, counted from 1; None where they are the last ones.
        seconds: wall time of training and test, of what was trained now if it had been interrupted; of seeds trained as
            one computation, a share each. None where the result was read back.
        images_per_second: training images over the wall time of training, of all seeds trained as one computation; None
            where the result was read back.
    """

    metrics: ClassificationMetrics | None
    epochs: tuple[EpochRecord, ...]
    diverged_at_epoch: int | None
    validation_metrics: ClassificationMetrics | None = None
    temperature: float | None = None
    scaled_metrics: ClassificationMetrics | None = None
    selected_epoch: int | None = None
    test: Predictions | None = field(default=None, compare=False, repr=False)
    validation: Predictions | None = field(default=None, compare=False, repr=False)
    seconds: float | None = field(default=None, compare=False)
    images_per_second: float | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the deterministic scalars as plain values: no tensors, no times."""
        metrics = {
            "metrics": self.metrics,
            "validation_metrics": self.validation_metrics,
            "scaled_metrics": self.scaled_metrics,
        }
        return {
            **{name: None if of_part is None else of_part.to_json() for name, of_part in metrics.items()},
            "epochs": [record.to_json() for record in self.epochs],
            "diverged_at_epoch": self.diverged_at_epoch,
            "temperature": self.temperature,
            "selected_epoch": self.selected_epoch,
        }

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], test: Predictions | None = None, validation: Predictions | None = None
    ) -> TrainingResult:
        """Return the result that :meth:`to_json` gave, with tensors stored apart from it.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        return cls(
            metrics=_metrics(data["metrics"]),
            epochs=tuple(EpochRecord(**record) for record in data["epochs"]),
            diverged_at_epoch=data["diverged_at_epoch"],
            validation_metrics=_metrics(data["validation_metrics"]),
            temperature=data["temperature"],
            scaled_metrics=_metrics(data["scaled_metrics"]),
            selected_epoch=data["selected_epoch"],
            test=test,
            validation=validation,
        )


def _metrics(data: Mapping[str, Any] | None) -> ClassificationMetrics | None:
    return None if data is None else ClassificationMetrics.from_json(data)
