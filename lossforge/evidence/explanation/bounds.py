"""How steep and how curved a loss is in the logits: the largest that was seen, a lower bound of what there is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.errors import PluginLoadError
from lossforge.evidence.explanation.derivatives import direction_like, is_derivative
from lossforge.evidence.explanation.predictions import Predictions
from lossforge.evidence.explanation.subject import Subject

CHUNK = 2**22
"""Numbers of Hessians at once."""

FLAT = 1e-6
"""Of the largest curvature, below which a negative one is rounding."""


@dataclass(frozen=True)
class Extreme:
    """A largest or least value, the prediction where it was seen, and the label there."""

    value: float
    p: tuple[float, ...]
    label: int


@dataclass(frozen=True)
class Bounds:
    """Extremes over a set of predictions, with z = log p.

    Attributes:
        num_predictions: how many were looked at.
        num_not_finite: of these, left out, as loss, gradient or Hessian are not finite.
        has_true_gradient: whether the gradient is the derivative of the value; None: could not be told, in float32.
        slope: largest ||dloss/dz||_2, a Lipschitz constant of the loss in the logits as far as seen.
        curvature: largest eigenvalue of the Hessian in z, likewise of its gradient; None where it has no second
            derivative, or not that of its gradient.
        least_curvature: least eigenvalue; below 0 the loss is not convex in the logits.
    """

    num_predictions: int
    num_not_finite: int
    has_true_gradient: bool | None
    slope: Extreme
    curvature: Extreme | None
    least_curvature: Extreme | None

    @property
    def is_convex(self) -> bool | None:
        """Whether no negative curvature was seen; None: unknown."""
        if self.curvature is None or self.least_curvature is None:
            return None
        return self.least_curvature.value >= -FLAT * max(abs(self.curvature.value), abs(self.slope.value))


def bounds(subject: Subject, predictions: Predictions) -> Bounds:
    """Return the extremes of a loss over some predictions.

    Raises:
        PluginLoadError: the loss is finite at none of them.
    """
    logits_NC, labels_N = predictions.log_probs_NC.to(subject.dtype), predictions.labels_N
    num_rows = max(1, CHUNK // subject.num_classes**2)
    parts = [
        _derivatives(subject, logits_NC[first : first + num_rows], labels_N[first : first + num_rows])
        for first in range(0, len(labels_N), num_rows)
    ]
    finite_N = torch.cat([finite for finite, _, _ in parts])
    if not finite_N.any():
        raise PluginLoadError(f"loss {subject.name}: its gradient is finite at none of {len(finite_N)} predictions")
    at = Predictions(predictions.log_probs_NC[finite_N], labels_N[finite_N])
    slope_N = torch.cat([slope for _, slope, _ in parts])[finite_N]
    curvatures = [curvature for _, _, curvature in parts if curvature is not None]
    curvature_N2 = torch.cat(curvatures)[finite_N] if len(curvatures) == len(parts) else None
    logits_NC = logits_NC[finite_N]
    along = direction_like(logits_NC)
    has_true_gradient = is_derivative(
        lambda z: subject.losses(z, at.labels_N),
        logits_NC,
        along,
        (subject.gradients(logits_NC, at.labels_N) * along).sum(dim=1),
    )
    return Bounds(
        num_predictions=len(finite_N),
        num_not_finite=int((~finite_N).sum()),
        has_true_gradient=has_true_gradient,
        slope=_extreme(slope_N, at, int(slope_N.argmax())),
        curvature=None if curvature_N2 is None else _extreme(curvature_N2[:, 1], at, int(curvature_N2[:, 1].argmax())),
        least_curvature=None
        if curvature_N2 is None
        else _extreme(curvature_N2[:, 0], at, int(curvature_N2[:, 0].argmin())),
    )


def _extreme(values_N: Tensor, at: Predictions, index: int) -> Extreme:
    return Extreme(float(values_N[index]), tuple(at.log_probs_NC[index].exp().tolist()), int(at.labels_N[index]))


def _derivatives(subject: Subject, logits_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return which rows are finite, their slopes, and the least and the largest eigenvalue (N, 2) of the Hessian."""
    logits_NC = logits_NC.detach().requires_grad_()
    loss_N = subject.losses(logits_NC, labels_N)
    (gradient_NC,) = torch.autograd.grad(loss_N.sum(), logits_NC, create_graph=True)
    hessian_NCC = _hessian(gradient_NC, logits_NC)
    if hessian_NCC is not None:
        along = direction_like(logits_NC)
        change = (hessian_NCC @ along.double()[:, :, None]).squeeze(2)
        if is_derivative(lambda z: subject.gradients(z, labels_N), logits_NC.detach(), along, change) is False:
            hessian_NCC = None
    finite_N = loss_N.isfinite() & gradient_NC.isfinite().all(dim=1)
    slope_N = torch.linalg.vector_norm(gradient_NC.detach().double(), dim=1)
    if hessian_NCC is None:
        return finite_N, slope_N, None
    finite_N = finite_N & hessian_NCC.isfinite().all(dim=2).all(dim=1)
    symmetric = (hessian_NCC + hessian_NCC.transpose(1, 2)) / 2
    values_NC = torch.linalg.eigvalsh(torch.where(finite_N[:, None, None], symmetric, 0.0))
    return finite_N, slope_N, values_NC[:, [0, -1]]


def _hessian(gradient_NC: Tensor, logits_NC: Tensor) -> Tensor | None:
    """Return d^2 loss/dz^2, a row a backward pass; None where the loss has no second derivative."""
    if not gradient_NC.requires_grad:  # piecewise linear
        return logits_NC.new_zeros(*logits_NC.shape, logits_NC.shape[1]).double()
    rows = []
    for column in gradient_NC.unbind(1):
        try:
            (row,) = torch.autograd.grad(column.sum(), logits_NC, retain_graph=True, allow_unused=True)
        except RuntimeError:  # a derivative written by hand can be differentiated no further
            return None
        rows.append(torch.zeros_like(logits_NC) if row is None else row.detach())
    return torch.stack(rows, dim=1).double()
