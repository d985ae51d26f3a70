"""A zoo of losses, from good to bad: what synthetic objectives are held against."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from lossforge.component import Options
from lossforge.fields import AnyLoss, AnyParameterization
from lossforge.spec.gates import GateSpec
from lossforge.spec.names import NAME_PATTERN

PUBLISHED: tuple[Any, ...] = (
    "cross_entropy",
    {"type": "label_smoothing", "smoothing": 0.1},
    {"type": "label_smoothing", "smoothing": 0.3},
    {"type": "focal", "gamma": 2.0},
    {"type": "focal", "gamma": 5.0},
    {"type": "poly1", "epsilon": -0.5},
    {"type": "poly1", "epsilon": 1.0},
    {"type": "poly1", "epsilon": 5.0},
    {"type": "gce", "q": 0.3},
    {"type": "gce", "q": 0.5},
    {"type": "gce", "q": 0.7},
    "mae",
    "brier",
    {"type": "taylor_ce", "order": 2},
    {"type": "taylor_ce", "order": 6},
    "sce",
    "apl",
    "nce",
    "squentropy",
    "hinge",
    "barron",
    "smooth_zero_one",
    "sparse_lsr",
)
"""Losses of plain logits, several at other options than their own; a few are known to train badly without label noise.

Left out are those that another is but for a factor, such as ``rce``, and those that are not for plain logits.
"""

FOUND: tuple[Any, ...] = ({"source": "edl", "searches": 2}, {"source": "edl-faithful", "searches": 3})
"""A search whose losses train well, and one whose losses rank as well and often train badly."""

RANDOM: tuple[Any, ...] = (
    {"name": "random-log-gated", "family": "pairwise_mlp", "gates": {}},
    {"name": "random-log", "family": "pairwise_mlp"},
    {"name": "random-raw", "family": {"type": "pairwise_mlp", "features": "prob"}},
    {"name": "random-monotone", "family": "monotone"},
)

SHAPED: tuple[Any, ...] = (
    {"name": "favours-easy", "b": -0.5},
    {"name": "favours-sure", "b": -0.9},
    {"name": "favours-hard", "b": 1.0},
    {"name": "favours-hardest", "a": -0.15},
    {"name": "hump", "c": 1.5},
    {"name": "dip", "c": -2.0},
    {"name": "spike", "a": 1.0, "c": 3.5},
)


FEWEST_LOSSES = 4
"""Over which an order says anything: of three, one in six is right by chance."""


class _BySource(BeforeValidator):
    """Lets a source stand alone, and tells a JSON schema so."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class FoundLoss(Options):
    """Losses that a search has found, or is to find first."""

    source: str = Field(
        min_length=1, description="run directory or artifact folder, or a spec file or preset to search by"
    )
    searches: int = Field(
        default=1, ge=1, le=1000, description="how many searches, by the spec's seed and those after it"
    )


AnyFound = Annotated[FoundLoss, _BySource(lambda value: {"source": value} if isinstance(value, str) else value)]


class RandomLoss(Options):
    """Members of a family as a search draws its first."""

    name: str = Field(min_length=1, max_length=60, pattern=NAME_PATTERN)
    family: AnyParameterization
    num: int = Field(default=1, ge=1, le=1000, description="how many")
    gates: GateSpec | None = Field(default=None, description="gates that they pass; null: any member")


class ShapedLoss(Options):
    """The loss whose weight profile is log w = a log p + b log(1 - p) + c exp(-logit(p)^2 / 8).

    All 0 is cross-entropy. See the family ``weight_profile``.
    """

    name: str = Field(min_length=1, max_length=60, pattern=NAME_PATTERN)
    a: float = Field(default=0.0, gt=-0.2, lt=2.0, description="above 0: away from small p, as GCE; below: towards it")
    b: float = Field(default=0.0, gt=-0.98, lt=3.0, description="above 0: away from large p, as focal; below: towards")
    c: float = Field(default=0.0, gt=-4.0, lt=4.0, description="above 0: towards p = 1/2; below: away from it")

    @model_validator(mode="after")
    def _is_no_cross_entropy(self) -> ShapedLoss:
        if self.a == self.b == self.c == 0:
            raise ValueError("a, b and c are all 0, which is cross-entropy; name it among the published ones")
        return self


class ZooSpec(Options):
    """Losses, from good to bad. Each but those with a scale of their own is scaled to cross-entropy's gradient norm."""

    published: tuple[AnyLoss, ...] = Field(default=PUBLISHED, description="installed losses")
    found: tuple[AnyFound, ...] = Field(default=FOUND, description="evolved losses; a source alone will do")
    random: tuple[RandomLoss, ...] = Field(default=RANDOM, description="losses that nothing was searched for")
    shaped: tuple[ShapedLoss, ...] = Field(default=SHAPED, description="losses of a stated weight profile")

    @field_validator("published")
    @classmethod
    def _differ(cls, published: tuple[AnyLoss, ...]) -> tuple[AnyLoss, ...]:
        if len({loss.label for loss in published}) < len(published):
            raise ValueError("the same loss stands here twice")
        return published

    @model_validator(mode="after")
    def _suffices(self) -> ZooSpec:
        if self.num_losses < FEWEST_LOSSES:
            raise ValueError(f"{self.num_losses} losses are too few to correlate over; name {FEWEST_LOSSES} or more")
        return self

    @property
    def num_losses(self) -> int:
        """How many losses there are."""
        found, drawn = sum(each.searches for each in self.found), sum(each.num for each in self.random)
        return len(self.published) + found + drawn + len(self.shaped)
