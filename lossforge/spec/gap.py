"""How a sampler's synthetic predictions are compared with those of real trainings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lossforge.component import Count, Options

Part = Literal["training", "held_out"]
"""Which outputs are meant: what the loss is called with in training, or those on images that are held out."""


class GapSpec(Options):
    """What is recorded in real trainings, and how it is compared with the sampler of the search."""

    epochs_at: tuple[Annotated[Count, Field(ge=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="epochs, counted from 1, whose outputs are recorded; null: the first, one after a quarter and one "
        "after half of the training, and the last. Nothing is trained beyond the last of them",
    )
    batches: Count = Field(default=8, ge=1, description="training batches recorded in each, evenly spaced over it")
    seeds: int = Field(default=2, ge=1, le=10**5, description="trainings of each loss")
    part: Part = Field(
        default="training",
        description="training: outputs and labels as the loss meets them, augmented, noisy, with batch norm in "
        "training mode; held_out: those on the validation images, in evaluation mode, at the end of each epoch",
    )
    samples: int = Field(
        default=4000, ge=50, le=20_000, description="outputs, and as many synthetic predictions, compared at most"
    )
    bins: int = Field(default=50, ge=2, le=1000, description="bins of equal width of Jensen-Shannon's histograms")
    bootstrap: int = Field(default=200, ge=20, le=10**5, description="resamples for intervals of distances")
    folds: int = Field(default=5, ge=2, le=50, description="parts of the classifier test, each judged by the others")
    neighbours: int = Field(default=5, ge=1, le=100, description="k of the k-nearest-neighbour balls of coverage")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")
    fit: bool = Field(default=False, description="propose weights of the sampler's regimes that lower the gap")
    floor: float = Field(default=0.02, ge=0, le=1, description="least weight of a regime that is proposed")

    @field_validator("epochs_at")
    @classmethod
    def _epochs_rise(cls, epochs_at: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if epochs_at is not None and list(epochs_at) != sorted(set(epochs_at)):
            raise ValueError("epochs must rise")
        return epochs_at

    @field_validator("neighbours")
    @classmethod
    def _samples_suffice(cls, neighbours: int, info: ValidationInfo) -> int:
        samples, folds = info.data.get("samples"), info.data.get("folds")
        if samples is not None and folds is not None and samples < (least := _least_samples(folds, neighbours)):
            raise ValueError(f"{folds} folds and {neighbours} neighbours need {least} samples at least, not {samples}")
        return neighbours

    @property
    def least_samples(self) -> int:
        """How many outputs there must be: two in each fold, and one more than neighbours."""
        return _least_samples(self.folds, self.neighbours)

    def epochs_of(self, num_epochs: int) -> tuple[int, ...]:
        """Return the epochs to record in a training of so many.

        Raises:
            ValueError: one that is asked for is beyond them.
        """
        if self.epochs_at is None:
            return tuple(sorted({1, 1 + num_epochs // 4, 1 + num_epochs // 2, num_epochs}))
        if self.epochs_at[-1] > num_epochs:
            raise ValueError(f"epoch {self.epochs_at[-1]} is to be recorded, and a training has {num_epochs}")
        return self.epochs_at


def _least_samples(folds: int, neighbours: int) -> int:
    return max(2 * folds, neighbours + 1)
