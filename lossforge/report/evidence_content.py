"""``evidence.json``, as far as figures and reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from lossforge.evidence.contenders import Role
from lossforge.evidence.judgement import Judged, Judgement
from lossforge.evidence.reliability import Reliability
from lossforge.run_content import Comparison, Content, Number

CLAIMS: tuple[Role, ...] = ("found", "given", "published")
"""Roles of the losses that are compared, in the order in which a report names them; the others are controls."""


class Point(Content):
    """What is tuned."""

    learning_rate: float
    weight_decay: float


class Tried(Point):
    """A point that was tried; no score: a training diverged."""

    score: Number = None


class TunedLoss(Content):
    """What tuning came to for one loss."""

    point: Point
    scores: tuple[Tried, ...]
    is_at_edge: bool

    @property
    def score(self) -> float | None:
        """What the chosen point came to on the held-out images."""
        chosen = (self.point.learning_rate, self.point.weight_decay)
        return next((each.score for each in self.scores if (each.learning_rate, each.weight_decay) == chosen), None)


class Condition(Comparison):
    """The comparison under one condition."""

    name: str
    training: dict[str, Any]
    training_seeds: dict[str, tuple[int, ...]] = {}
    roles: dict[str, Role]
    tuned: dict[str, TunedLoss] = {}
    judgement: Judgement
    reliability: dict[str, Reliability | None] = {}

    @model_validator(mode="after")
    def _every_loss_has_a_role(self) -> Condition:
        if missing := set(self.by_name) - set(self.roles):
            raise ValueError(f"roles: none of {', '.join(sorted(missing))}")
        return self

    def is_found(self, name: str) -> bool:
        """Return whether a loss was found by a search."""
        return self.roles[name] == "found"

    def is_control(self, name: str) -> bool:
        """Return whether a contender is there to show what the differences of others are worth."""
        return self.roles[name] not in CLAIMS

    @property
    def ordered(self) -> tuple[str, ...]:
        """The names: found losses, then the other ones that are compared, then controls."""
        order = {role: place for place, role in enumerate(CLAIMS)}
        return tuple(sorted(self.by_name, key=lambda name: order.get(self.roles[name], len(order))))

    def judged(self, metric: str = "accuracy") -> Mapping[str, Judged]:
        """Return what was judged of each contender against the reference."""
        return {row.a: row for row in self.judgement.against_reference if row.metric == metric}


class EvidenceSettings(Content):
    """How it was compared."""

    margin: float
    confidence: float
    seeds: int
    controls: dict[str, Any] | None = None
    tuning: dict[str, Any] | None = None
    explain: bool = False
    gap: dict[str, Any] | None = None
    correlate: dict[str, Any] | None = None

    @property
    def asks_for(self) -> frozenset[str]:
        """What was to be found out besides: names of fields that are set."""
        return frozenset(name for name in ("explain", "gap", "correlate") if getattr(self, name) not in (None, False))


class EvidenceContent(Content):
    """The whole of it."""

    name: str = ""
    evidence: EvidenceSettings
    conditions: tuple[Condition, ...] = Field(min_length=1)

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the found losses."""
        return tuple(name for name, role in self.conditions[0].roles.items() if role == "found")

    def measured_sds(self) -> list[float]:
        """Return the standard deviations of accuracy over seeds that were met, in points: least, middle and largest."""
        spreads = [loss.sd("accuracy") for condition in self.conditions for loss in condition.losses]
        sds = sorted({100 * sd for sd in spreads if sd})
        return sorted({sds[0], sds[len(sds) // 2], sds[-1]}) if sds else []
