"""How learning rates and weight decays are chosen, alike for every loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lossforge.component import Count, Options

Factor = Annotated[float, Field(gt=0)]


class TuningSpec(Options):
    """The search for a learning rate and a weight decay, the same for every loss.

    Each is a factor on what the training says. Where the best value is the first or last of its grid, the grid is
    continued in its own ratio, and trained there, too. Trainings for it use seeds of their own and see no test images;
    what is chosen is the best by the mean of ``metric`` on the images held out, whose labels are as noisy as those of
    training.
    """

    learning_rate: tuple[Factor, ...] = Field(default=(0.25, 0.5, 1.0, 2.0, 4.0), min_length=1)
    weight_decay: tuple[Factor, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    design: Literal["grid", "in_turn"] = Field(
        default="grid", description="every pair; or learning rates first, and weight decays at the best of them"
    )
    seeds: int = Field(default=1, ge=1, le=1000, description="trainings at each point")
    widenings: Count = Field(default=3, ge=0, description="how often a grid is continued, for each of the two")
    metric: Literal["accuracy", "nll", "brier"] = Field(default="accuracy", description="by which the best is chosen")

    @field_validator("learning_rate", "weight_decay")
    @classmethod
    def _rise(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if list(factors) != sorted(set(factors)):
            raise ValueError("factors must rise")
        return factors
