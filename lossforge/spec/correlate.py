"""What ``lossforge correlate`` does: a zoo of losses, objectives, one dataset and model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from lossforge.spec.evidence import TuningSpec
from lossforge.spec.file import TrainingFileSpec
from lossforge.spec.judged import JudgingSpec, NamedObjective, default_objectives
from lossforge.spec.model import NAME_PATTERN
from lossforge.spec.training import TrainingSpec
from lossforge.spec.zoo import ZooSpec


class CorrelateSpec(TrainingFileSpec):
    """Synthetic objectives held against real accuracy; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str] = "lossforge-correlate.schema.json"

    schema_version: Literal[1] = 1
    name: str = Field(default="correlate", min_length=1, max_length=100, pattern=NAME_PATTERN)
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where networks are trained; losses are judged on the CPU"
    )
    zoo: ZooSpec = Field(default_factory=ZooSpec)  # which needs the losses
    objectives: tuple[NamedObjective, ...] = Field(
        default_factory=default_objectives,
        min_length=1,
        description="by default those that come with lossforge, at several options, and what else judges without any",
    )
    judging: JudgingSpec = Field(default_factory=JudgingSpec)
    training: TrainingSpec
    tuning: TuningSpec = Field(
        default=TuningSpec(learning_rate=(0.3, 1.0, 3.0), weight_decay=(1.0,), widenings=2),
        description="of each loss; by default of its learning rate alone",
    )
    seeds: int = Field(default=2, ge=1, le=1000, description="trainings of each loss at its best rate, on fresh seeds")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")
    working_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="share of the best accuracy that a loss must reach to be in the group of those that work",
    )

    @field_validator("objectives")
    @classmethod
    def _names_differ(cls, objectives: tuple[NamedObjective, ...]) -> tuple[NamedObjective, ...]:
        if len({each.name for each in objectives}) < len(objectives):
            raise ValueError("two objectives have one name")
        return objectives

    @field_validator("training")
    @classmethod
    def _holds_images_out(cls, training: TrainingSpec) -> TrainingSpec:
        if training.num_validation == 0:
            raise ValueError("accuracy is that on images held out, never on the test images: set num_validation")
        return training
