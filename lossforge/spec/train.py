"""What ``lossforge train`` does: one training setting, some losses, some seeds."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from lossforge.fields import AnyLoss, AnyTracker
from lossforge.spec.file import TrainingFileSpec
from lossforge.spec.training import TrainingSpec


class TrainSpec(TrainingFileSpec):
    """Losses trained alike over seeds; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str] = "lossforge-train.schema.json"

    schema_version: Literal[1] = 1
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random; training seeds derive from it")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is one, else the CPU"
    )
    losses: tuple[AnyLoss, ...] = Field(default=(), description="published losses")
    found: tuple[str, ...] = Field(default=(), description="found losses: run directories or artifact folders")
    training: TrainingSpec
    seeds: int = Field(default=1, ge=1, le=10**5, description="independent trainings of each loss")
    baseline: AnyLoss | None = Field(
        default=None,
        description="published loss that all are compared with; null: cross_entropy if it is among them, or the first",
    )
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")
    trackers: tuple[AnyTracker, ...] = Field(default=(), description="what is told how the trainings get on")

    @field_validator("losses")
    @classmethod
    def _differ(cls, losses: tuple[AnyLoss, ...]) -> tuple[AnyLoss, ...]:
        if len({loss.label for loss in losses}) < len(losses):
            raise ValueError("the same loss stands here twice")
        return losses

    @property
    def published(self) -> tuple[AnyLoss, ...]:
        """The losses, and the baseline where it is not one of them."""
        known = {loss.label for loss in self.losses}
        return self.losses if self.baseline is None or self.baseline.label in known else (*self.losses, self.baseline)
