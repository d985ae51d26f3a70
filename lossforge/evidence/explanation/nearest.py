"""The published losses that come nearest to a loss, once scale and offset are taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge import registry
from lossforge.evidence.explanation.predictions import Predictions
from lossforge.evidence.explanation.subject import Subject
from lossforge.interfaces import Loss

GRIDS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "apl": tuple({"alpha": a, "beta": 1.0} for a in (0.1, 0.3, 3.0, 10.0)),
    "am_softmax": ({"scale": 1.0, "margin": 0.35}, {"scale": 1.0, "margin": 1.0}, {"scale": 4.0}),
    "barron": tuple({"alpha": a} for a in (-2.0, 0.0, 1.0, 2.0)),
    "focal": tuple({"gamma": g} for g in (0.5, 1.0, 3.0, 5.0)),
    "gce": tuple({"q": q} for q in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)),
    "hinge": ({"form": "weston_watkins"}, {"form": "linear"}),
    "label_smoothing": tuple({"smoothing": s} for s in (0.05, 0.2, 0.3)),
    "nfl": tuple({"gamma": g} for g in (0.5, 1.0, 5.0)),
    "poly1": tuple({"epsilon": e} for e in (-1.0, -0.5, 0.5, 2.0, 4.0)),
    "sce": tuple({"alpha": a, "beta": 1.0} for a in (0.01, 1.0, 10.0)),
    "smooth_zero_one": tuple({"sharpness": k} for k in (0.5, 2.0, 4.0)),
    "sparse_lsr": tuple({"smoothing": s} for s in (0.05, 0.2, 0.3)),
    "taylor_ce": tuple({"order": n} for n in (1, 3, 4, 6, 10)),
}
"""Options that are tried beside the defaults; a loss that is not named here is tried with its defaults alone."""


@dataclass(frozen=True)
class Neighbour:
    """A published loss beside the one that is explained.

    Attributes:
        loss: its options.
        label: how it is called.
        distance: min over a >= 0 of ||G - a H|| / ||G||, G and H the gradients dloss/dz of the two losses on the fixed
            sample, all entries of all predictions together. 0: a multiple of it; 1: nothing in common. It is the
            same the other way round, sqrt(1 - cos^2) of the angle between G and H.
        value_distance: likewise of the losses' values after the best affine fit a h + b, a >= 0.
        scale: the best a.
    """

    loss: Loss
    label: str
    distance: float
    value_distance: float
    scale: float


def nearest(subject: Subject, sample: Predictions) -> tuple[Neighbour, ...]:
    """Return all built-in losses with some of their options, the nearest first; the loss itself is left out.

    Predictions where the explained loss is not finite are left out as well.
    """
    logits_NC, labels_N = sample.log_probs_NC.to(subject.dtype), sample.labels_N
    own = subject.gradients(logits_NC, labels_N).double()
    own_value = subject.losses(logits_NC, labels_N).detach().double()
    finite_N = own.isfinite().all(dim=1) & own_value.isfinite()
    own, own_value = own[finite_N], own_value[finite_N]
    logits_NC, labels_N = sample.log_probs_NC[finite_N].requires_grad_(), labels_N[finite_N]
    neighbours = []
    for loss in candidates():
        if loss == subject.component:
            continue
        value = loss.per_sample(logits_NC, labels_N)
        (gradient,) = torch.autograd.grad(value.sum(), logits_NC)
        distance, scale = _distance(own.flatten(), gradient.flatten())
        centred = (own_value - own_value.mean(), value.detach() - value.detach().mean())
        neighbours.append(Neighbour(loss, loss.label, distance, _distance(*centred)[0], scale))
    return tuple(sorted(neighbours, key=lambda each: round(each.distance, 7)))


def candidates() -> Iterator[Loss]:
    """Yield the built-in losses, each with its defaults first."""
    for offer in registry.offers("losses"):
        if offer.is_builtin:
            defaults = registry.get("losses", offer.type).model_validate({})
            variants = [type(defaults).model_validate(options) for options in GRIDS.get(offer.type, ())]
            for loss in (defaults, *(each for each in variants if each != defaults)):
                assert isinstance(loss, Loss)
                yield loss


def _distance(own: Tensor, other: Tensor) -> tuple[float, float]:
    """Return the relative residual of the best multiple that is not negative, and its factor."""
    size, other_size, product = float(own @ own), float(other @ other), float(own @ other)
    if not size or not other_size or not product > 0:
        return 1.0, 0.0
    scale = product / other_size
    # From the residual itself: 1 - cos^2 has lost its digits where the losses are alike.
    return float(torch.linalg.vector_norm(own - scale * other)) / size**0.5, scale
