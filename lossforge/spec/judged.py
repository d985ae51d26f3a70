"""The synthetic objectives that are asked how well they tell good losses from bad ones."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import Field, ValidationError, field_validator

from lossforge import registry
from lossforge.component import Count, Options
from lossforge.errors import PluginError
from lossforge.fields import AnyObjective, AnySampler
from lossforge.spec.gates import GateSpec
from lossforge.spec.names import NAME_PATTERN

_log = logging.getLogger(__name__)

VARIANTS: dict[str, dict[str, Any]] = {
    "ranking": {"type": "ranking_consistency"},
    "ranking-brier": {"type": "ranking_consistency", "severity": "brier"},
    "ranking-rank": {"type": "ranking_consistency", "severity": "rank"},
    "ranking-random-pairs": {"type": "ranking_consistency", "same_prediction_share": 0.0},
    "hinge": {"type": "ranking_consistency", "form": "hinge"},
    "hinge-cross-entropy": {"type": "ranking_consistency", "form": "hinge", "severity": "cross_entropy"},
    "gradient-band": {"type": "gradient_shape"},
    "gradient-of-cross-entropy": {"type": "gradient_shape", "minimum": 1.0, "maximum": 1.0},
    "descent": {"type": "prediction_descent"},
    "descent-error": {"type": "prediction_descent", "fitness": "error"},
    "proxy-30": {"type": "proxy_training", "steps": 30},
    "proxy-100": {"type": "proxy_training"},
    "proxy-300": {"type": "proxy_training", "steps": 300},
    "proxy-nll": {"type": "proxy_training", "fitness": "nll"},
    "proxy-tuned": {
        "type": "proxy_training",
        "steps": 300,
        "learning_rates": (0.2, 0.6),
        "weight_decays": (0.003, 0.01, 0.03),
        "tasks": {"num_tasks": 8, "num_samples": 1500, "centres_per_class": 4, "separation": 1.0, "teacher_gain": 3.0},
    },
    "proxy-noisy": {"type": "proxy_training", "steps": 250, "tasks": {"label_noise": 0.4}},
}
"""Installed objectives at the options that are asked about, by the names in tables."""


class NamedObjective(Options):
    """An objective, and what it is called in tables."""

    name: str = Field(min_length=1, max_length=60, pattern=NAME_PATTERN)
    objective: AnyObjective

    @field_validator("objective")
    @classmethod
    def _stands_alone(cls, objective: AnyObjective) -> AnyObjective:
        if objective.fitness_is_relative or objective.has_contest:
            raise ValueError(
                f"the fitness of {objective.type!r} depends on who else is judged; name the objectives in it"
            )
        return objective


def default_objectives() -> tuple[NamedObjective, ...]:
    """Return the variants, and whatever else is installed that judges by synthetic pairs and needs no options."""
    chosen = [NamedObjective.model_validate({"name": name, "objective": each}) for name, each in VARIANTS.items()]
    for name in sorted({*registry.types("objectives")} - {each.objective.type for each in chosen}):
        if (other := _by_name(name)) is not None:
            chosen.append(other)
    return tuple(chosen)


def _by_name(name: str) -> NamedObjective | None:
    """Return an installed objective with its own options, None where it cannot be judged by them."""
    from lossforge.interfaces import Objective

    try:
        if not issubclass(registry.get("objectives", name), Objective):
            return None
        chosen = NamedObjective.model_validate({"name": name, "objective": name})
    except ValidationError:
        return None  # it needs options, or its fitness depends on the others
    except PluginError as cause:
        _log.warning("objective %r is left out: %s", name, cause)
        return None
    has_images = any(getattr(each, "kind", None) == "datasets" for each in chosen.objective.within())
    return None if has_images else chosen


class JudgingSpec(Options):
    """What objectives judge losses on: the same batches and draws for all losses."""

    sampler: AnySampler = Field(default="mixture", validate_default=True)
    batch_size: Count = Field(default=1024, ge=2, description="synthetic pairs of a batch")
    batches: int = Field(default=3, ge=1, le=1000, description="batches, over which fitness and metrics are averaged")
    num_classes: Count = Field(default=10, ge=2, description="classes of the synthetic predictions")
    gates: GateSpec = Field(default=GateSpec(), description="gates whose violations are told beside")
