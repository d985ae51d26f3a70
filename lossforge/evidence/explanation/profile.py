"""g and w: the loss, and the weight of a sample, by the probability of its true class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.evidence.explanation.predictions import Predictions
from lossforge.evidence.explanation.subject import Subject
from lossforge.gradients import wrong_sign_shares
from lossforge.profiles import PROFILE_LABEL, profile_log_probs

SURE = 0.9
"""Where a weight below 0 is no longer a sample pushed away, but confidence drawn back, as by label smoothing."""

NUM_POINTS = 93
"""Points in p, evenly spaced in log(p / (1 - p)) between 1e-4 and 0.9999; 0.5 is one."""

ROUND = (1e-3, 0.01, 0.1, 0.9, 0.99, 0.999)
"""Points beside them."""

_ALIKE = 1e-5


@dataclass(frozen=True)
class Profile:
    """A loss by the probability p of the true class.

    Attributes:
        p: true-class probabilities, rising.
        loss: g(p), rivals uniform [0] and with one that has nine tenths of what is left [1].
        weight: w(p) = -(dloss/dz_y) / (1 - p), likewise; 1 for cross-entropy. None where it is not finite.
        least: the least w at p below 0.9, and there p.
        negative: ranges of p, first and last point, where w is below 0 for either kind of rivals.
        has_local_weight: whether w is the same for both kinds of rivals.
        is_local: whether the loss is, too.
        is_equivariant: whether the loss of a permuted prediction is the same, on the fixed sample.
        is_shift_invariant: whether a constant added to all logits changes nothing there.
        wrong_signs: share of the gradient's L1 norm with the wrong sign, > 0 at the label or < 0 at a rival: the mean
            over the predictions of the sample where it has not vanished.
    """

    p: tuple[float, ...]
    loss: tuple[tuple[float | None, ...], ...]
    weight: tuple[tuple[float | None, ...], ...]
    least: tuple[float, float]
    negative: tuple[tuple[float, float], ...]
    has_local_weight: bool
    is_local: bool
    is_equivariant: bool
    is_shift_invariant: bool
    wrong_signs: float

    @property
    def pushes_away(self) -> bool:
        """Whether samples that are not sure yet are pushed away from their label."""
        return any(first < SURE for first, _ in self.negative)

    @property
    def draws_back(self) -> bool:
        """Whether sure predictions are drawn back."""
        return any(last >= SURE for _, last in self.negative)


def profile(subject: Subject, sample: Predictions) -> Profile:
    """Return the profile of a loss, its true class being class 0.

    The weight is computed in the dtype of the subject, 1 - p being exact.
    """
    logit_G = torch.linspace(-1.0, 1.0, NUM_POINTS, dtype=torch.float64) * torch.logit(torch.tensor(0.9999).double())
    logit_G = torch.cat((logit_G, torch.logit(torch.tensor(ROUND, dtype=torch.float64)))).sort().values
    p_G = torch.sigmoid(logit_G)
    num_classes = subject.num_classes
    logits_NC = profile_log_probs(p_G, num_classes).flatten(0, 1).to(subject.dtype)
    labels_N = torch.full((len(logits_NC),), PROFILE_LABEL)
    loss_2G = subject.losses(logits_NC, labels_N).detach().double().reshape(2, -1)
    slope_2G = subject.gradients(logits_NC, labels_N)[:, PROFILE_LABEL].double().reshape(2, -1)
    weight_2G = -slope_2G / torch.sigmoid(-logit_G)
    gradient_NC = subject.gradients(sample.log_probs_NC.to(subject.dtype), sample.labels_N)
    tolerance = _ALIKE if subject.dtype == torch.float64 else 1e-2
    has_local_weight = num_classes == 2 or _rows_alike(weight_2G, tolerance)
    return Profile(
        p=tuple(p_G.tolist()),
        loss=_finite(loss_2G),
        weight=_finite(weight_2G),
        least=_least(p_G, weight_2G, p_G < SURE),
        negative=_negative(p_G, weight_2G),
        has_local_weight=has_local_weight,
        is_local=has_local_weight and (num_classes == 2 or _rows_alike(loss_2G, tolerance)),
        is_equivariant=_is_equivariant(subject, sample, tolerance),
        is_shift_invariant=_is_shift_invariant(subject, sample, tolerance),
        wrong_signs=_wrong_signs(gradient_NC, sample.labels_N),
    )


def _finite(values_2G: Tensor) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(x if abs(x) < float("inf") else None for x in row) for row in values_2G.tolist())


def _least(p_G: Tensor, weight_2G: Tensor, where_G: Tensor) -> tuple[float, float]:
    weight_G = torch.where(where_G & weight_2G.isfinite().all(dim=0), weight_2G.amin(dim=0), torch.inf)
    index = int(weight_G.argmin())
    return float(weight_G[index]), float(p_G[index])


def _negative(p_G: Tensor, weight_2G: Tensor) -> tuple[tuple[float, float], ...]:
    """Return the ranges of p where w is below 0, by more than rounding."""
    weight_G = weight_2G.nan_to_num(0.0, 0.0, 0.0).amin(dim=0)
    rounding = 1e-6 * weight_2G[weight_2G.isfinite()].abs().max() if weight_2G.isfinite().any() else 0.0
    is_below = (weight_G < -rounding).tolist()
    firsts = [
        p
        for p, here, before in zip(p_G.tolist(), is_below, [False, *is_below[:-1]], strict=True)
        if here and not before
    ]
    lasts = [
        p for p, here, after in zip(p_G.tolist(), is_below, [*is_below[1:], False], strict=True) if here and not after
    ]
    return tuple(zip(firsts, lasts, strict=True))


def _alike(left: Tensor, right: Tensor, tolerance: float) -> bool:
    return bool(((left - right).abs() <= tolerance * (1e-3 + left.abs())).all())


def _wrong_signs(gradient_NC: Tensor, labels_N: Tensor) -> float:
    """Return the mean over predictions whose gradient has not vanished, as a hinge's does."""
    norm_N = gradient_NC.abs().sum(dim=1)
    there_N = gradient_NC.isfinite().all(dim=1) & (norm_N > 1e-9 * norm_N.nan_to_num(0.0, 0.0).max())
    return float(wrong_sign_shares(gradient_NC[None, there_N], labels_N[there_N]).mean()) if there_N.any() else 0.0


def _rows_alike(values_2G: Tensor, tolerance: float) -> bool:
    return _alike(values_2G[0], values_2G[1], tolerance)


def _is_equivariant(subject: Subject, sample: Predictions, tolerance: float) -> bool:
    shifted = (sample.labels_N + 1) % subject.num_classes
    log_probs = sample.log_probs_NC.to(subject.dtype)
    before = subject.losses(log_probs, sample.labels_N).detach()
    return _alike(before, subject.losses(log_probs.roll(1, dims=1), shifted).detach(), tolerance)


def _is_shift_invariant(subject: Subject, sample: Predictions, tolerance: float) -> bool:
    log_probs = sample.log_probs_NC.to(subject.dtype)
    before = subject.losses(log_probs, sample.labels_N).detach()
    return _alike(before, subject.losses(log_probs + 1.0, sample.labels_N).detach(), tolerance)
