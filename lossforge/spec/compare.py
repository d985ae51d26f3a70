"""What ``lossforge compare`` does: losses, conditions, seeds, on one dataset and model."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from lossforge.fields import AnyLoss
from lossforge.spec.evidence import ControlsSpec, EvidenceSpec, obstacle
from lossforge.spec.file import StudySpec
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.training import TrainingSpec
from lossforge.spec.tuning import TuningSpec


class CompareEvidenceSpec(EvidenceSpec):
    """How losses are compared where that is all there is to do: unless told otherwise tuned, and with controls."""

    seeds: int = Field(default=10, ge=2, le=10**5, description="independent trainings of each loss")
    tuning: TuningSpec | None = Field(
        default=TuningSpec(), description="null: every loss is trained at the training's own values"
    )
    controls: ControlsSpec | None = Field(default=ControlsSpec(), description="null: no further arms")


class CompareSpec(StudySpec):
    """Losses compared under conditions over seeds; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str] = "lossforge-compare.schema.json"

    name: str = Field(default="compare", min_length=1, max_length=100, pattern=NAME_PATTERN)
    losses: tuple[AnyLoss, ...] = Field(default=(), description="published losses, beside evidence.baselines")
    found: tuple[str, ...] = Field(
        default=(),
        description="found losses: run directories, artifact folders, or specs and presets to search by",
    )
    training: TrainingSpec
    evidence: CompareEvidenceSpec = Field(default_factory=CompareEvidenceSpec)  # which needs the losses

    @field_validator("losses")
    @classmethod
    def _differ(cls, losses: tuple[AnyLoss, ...]) -> tuple[AnyLoss, ...]:
        if len({loss.label for loss in losses}) < len(losses):
            raise ValueError("the same loss stands here twice")
        return losses

    @field_validator("evidence")
    @classmethod
    def _fits(cls, evidence: CompareEvidenceSpec, info: ValidationInfo) -> CompareEvidenceSpec:
        if "training" in info.data and (why := obstacle(evidence, info.data["training"])) is not None:
            raise ValueError(why)
        return evidence

    @property
    def published(self) -> tuple[AnyLoss, ...]:
        """The published losses: those to compare, and the baselines that are not among them."""
        known = {loss.label for loss in self.losses}
        return (*self.losses, *(each for each in self.evidence.baselines if each.label not in known))
