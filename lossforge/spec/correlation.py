"""How synthetic objectives are held against real accuracy: what ``evidence.correlate`` and a correlation may say."""

from __future__ import annotations

from pydantic import Field, field_validator

from lossforge.component import Options
from lossforge.spec.judged import JudgingSpec, NamedObjective, default_objectives
from lossforge.spec.tuning import TuningSpec
from lossforge.spec.zoo import ZooSpec


class CorrelationSpec(Options):
    """Which losses are trained, which objectives are asked of them, and how the two are compared."""

    zoo: ZooSpec = Field(default_factory=ZooSpec)  # which needs the losses
    objectives: tuple[NamedObjective, ...] = Field(
        default_factory=default_objectives,
        min_length=1,
        description="by default those that come with lossforge, at several options, and what else judges without any",
    )
    judging: JudgingSpec = Field(default_factory=JudgingSpec)
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
