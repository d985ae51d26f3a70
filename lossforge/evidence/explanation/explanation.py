"""Everything that is told of a loss by ``lossforge explain``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn

from lossforge.artifact import Artifact
from lossforge.component import Component
from lossforge.evidence.explanation.bounds import Bounds, bounds
from lossforge.evidence.explanation.consistency import Consistency, consistency
from lossforge.evidence.explanation.field import Field, field
from lossforge.evidence.explanation.minimiser import minimisers
from lossforge.evidence.explanation.nearest import Neighbour, nearest
from lossforge.evidence.explanation.predictions import edges, joined, synthetic
from lossforge.evidence.explanation.profile import Profile, profile
from lossforge.evidence.explanation.subject import Subject, subject
from lossforge.evidence.explanation.symbolic import Formula, fit
from lossforge.interfaces import Loss
from lossforge.threads import one_thread

MOST_POSTERIOR_CLASSES = 20
"""Minimisers are looked for with as many classes at most, unless the loss takes no fewer."""


@dataclass(frozen=True)
class Explanation:
    """What a loss is like.

    Throughout, p = softmax(z), and where predictions are given z = log p: logits are free, as those of a linear head.
    A loss that is made for cosines, which lie in [-1, 1], is thus seen beyond them.

    Attributes:
        name: what the loss is called.
        description: the loss with its options.
        num_classes: C of profile, neighbours and bounds.
        precision: ``float64``, or ``float32`` where the loss computes no better.
        profile: g and w by the probability of the true class.
        weight_formula: w(p), rivals uniform, as a short formula; None where too little of it is finite.
        loss_formula: g(p), likewise, up to an offset.
        field: dloss/dz over the simplex of three classes; None for a loss that takes two classes alone.
        consistency: the minimisers for soft posteriors, calibration and order.
        neighbours: built-in losses, the nearest first.
        bounds: Lipschitz constant and curvature, as far as seen.
    """

    name: str
    description: str
    num_classes: int
    precision: str
    profile: Profile
    weight_formula: Formula | None
    loss_formula: Formula | None
    field: Field | None
    consistency: Consistency
    neighbours: tuple[Neighbour, ...]
    bounds: Bounds

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        content = _plain(self)
        assert isinstance(content, dict)
        for key in ("weight_formula", "loss_formula"):
            if (formula := getattr(self, key)) is not None:
                content[key]["text"] = str(formula)
        content["profile"] |= {name: getattr(self.profile, name) for name in ("pushes_away", "draws_back")}
        content["bounds"]["is_convex"] = self.bounds.is_convex
        return content


def explain(
    loss: str | Path | Loss | Mapping[str, Any] | nn.Module | Artifact, *, num_classes: int | None = None
) -> Explanation:
    """Say what a loss is like, in seconds; everything is computed anew, on the CPU and on one thread.

    Args:
        loss: name of an installed loss, one with options (a mapping, or text such as ``{type: gce, q: 0.5}``), a
            component, the path of an artifact folder or of a run directory, or any module ``loss(logits, labels)``.
        num_classes: C of profile, neighbours and bounds; None: the number that the loss is made for, that its search
            had, or 10.

    Raises:
        UnknownComponentError, ArtifactError: there is no such loss.
        SpecError: it is no loss, has options that are not valid, or is made for another number of classes.
        PluginLoadError: a module of your own fails, draws random numbers, or cannot be differentiated.
        pydantic.ValidationError: the options of a mapping are not valid.
    """
    with one_thread():
        return _explain(subject(loss, num_classes))


def _explain(about: Subject) -> Explanation:
    sample = synthetic(about.num_classes)
    own = profile(about, sample)
    return Explanation(
        name=about.name,
        description=about.description,
        num_classes=about.num_classes,
        precision=str(about.dtype).removeprefix("torch."),
        profile=own,
        weight_formula=fit(own.p, own.weight[0]),
        loss_formula=fit(own.p, own.loss[0], offset=True),
        field=field(about),
        consistency=consistency([each for count in _class_counts(about) for each in minimisers(about, count)]),
        neighbours=nearest(about, sample),
        bounds=bounds(about, joined(sample, edges(about.num_classes))),
    )


def _class_counts(about: Subject) -> tuple[int, ...]:
    """Return the numbers of classes of the posteriors: 3, and that of the loss."""
    if about.class_count is not None:
        return (about.class_count,)
    return tuple(sorted({3, min(about.num_classes, MOST_POSTERIOR_CLASSES)}))


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if not isinstance(value, float) or abs(value) < float("inf") else None
