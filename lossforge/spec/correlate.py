"""What ``lossforge correlate`` does: a zoo of losses, objectives, one dataset and model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from lossforge.spec.correlation import CorrelationSpec
from lossforge.spec.file import StudySpec
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.training import TrainingSpec


class CorrelateSpec(CorrelationSpec, StudySpec):
    """Synthetic objectives held against real accuracy; ``model_dump(mode="json")`` is the spec again."""

    SCHEMA_FILE: ClassVar[str] = "lossforge-correlate.schema.json"

    name: str = Field(default="correlate", min_length=1, max_length=100, pattern=NAME_PATTERN)
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where networks are trained; losses are judged on the CPU"
    )
    training: TrainingSpec

    @field_validator("training")
    @classmethod
    def _holds_images_out(cls, training: TrainingSpec) -> TrainingSpec:
        if training.num_validation == 0:
            raise ValueError("accuracy is that on images held out, never on the test images: set num_validation")
        return training
