"""What a loss's gradient is like: its scale against cross-entropy's, its weight profile, its signs.

Measures shared by gates, objectives and the choice of a winner. The weight profile is that of docs/science.md,
w = -(dloss/dz_y) / (1 - p_y): the weight of a sample relative to cross-entropy, which has w = 1.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lossforge.chunks import chunks
from lossforge.interfaces import Population
from lossforge.types import PredictionBatch


def gradient_scale(population: Population, batch: PredictionBatch) -> Tensor:
    """Return s_P = E ||dCE/dz|| / E ||dloss/dz||, Euclidean norms over classes, means over the batch's pairs.

    The scale of a loss is a learning rate in disguise: multiplied by s, losses can be compared at one rate.
    """
    # dCE/dz = p - onehot(y)
    one_hot = F.one_hot(batch.labels_B, batch.log_probs_BC.shape[1])
    reference = torch.linalg.vector_norm(batch.log_probs_BC.exp() - one_hot, dim=1).mean()
    norms = [
        torch.linalg.vector_norm(chunk.gradients(batch.log_probs_BC[None], batch.labels_B), dim=2).mean(dim=1)
        for chunk in chunks(population, 2 * batch.log_probs_BC.numel())
    ]
    scale_P: Tensor = reference / torch.cat(norms)
    return scale_P


@functools.lru_cache(maxsize=64)
def profile_grid(p_min: float, p_max: float, p_top: float, num_points: int, device: torch.device) -> Tensor:
    """Return p_G: ``num_points - 1`` in geometric progression from ``p_min`` to ``p_max``, and ``p_top``.

    It is made once, and not to be changed.
    """
    grid = torch.logspace(math.log10(p_min), math.log10(p_max), num_points - 1)
    return torch.cat((grid, torch.tensor([p_top]))).to(device)


def relative_to_mean(w_P2G: Tensor) -> tuple[Tensor, Tensor]:
    """Return w over its mean, or over the mean of |w| where that is not positive, and where that is so.

    The mean leaves out the last point of a grid of :func:`profile_grid`, where a loss may push sure predictions back
    hard, as label smoothing does.

    Args:
        w_P2G: weight profiles, rivals uniform and with one dominant rival.
    """
    mean_P = w_P2G[..., :-1].mean(dim=(1, 2), keepdim=True)
    size_P = w_P2G.abs().mean(dim=(1, 2), keepdim=True) + 1e-30
    return w_P2G / torch.where(mean_P > 0, mean_P, size_P), (mean_P <= 0).flatten()


def band_violation(r_P2G: Tensor, minimum: float, maximum: float, *, is_top_free: bool) -> Tensor:
    """Return mean over grid and rival shapes of min(3, relu(minimum - r)) + relu(log(r / maximum)).

    Args:
        r_P2G: relative weights of :func:`relative_to_mean`.
        minimum: lower edge of the band.
        maximum: upper edge.
        is_top_free: whether only the upper edge holds at the last point of the grid.
    """
    low = torch.clamp(minimum - r_P2G, min=0.0, max=3.0)
    if is_top_free:
        low[..., -1] = 0.0
    high = torch.log(torch.clamp(r_P2G / maximum, min=1.0))
    return (low + high).mean(dim=(1, 2))


def wrong_sign_shares(gradient_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return share_PB in [0, 1] of the gradient's L1 norm with the wrong sign: > 0 at the label, < 0 at a rival.

    A vanished gradient points nowhere: all of it counts as wrong.
    """
    labels = labels_B[None, :, None].expand(len(gradient_PBC), -1, 1)
    own = gradient_PBC.gather(2, labels)
    rivals = gradient_PBC.scatter(2, labels, 0.0)
    wrong = own.clamp_min(0.0).squeeze(2) + (-rivals).clamp_min(0.0).sum(dim=2)
    norm = gradient_PBC.abs().sum(dim=2)
    return torch.where(norm > 0, wrong / norm, 1.0)


def sign_violation(gradient_PBC: Tensor, batch: PredictionBatch, p_max: float, tolerance: float) -> Tensor:
    """Return the mean over pairs with p_y <= ``p_max`` of what :func:`wrong_sign_shares` has beyond ``tolerance``."""
    p_B = batch.log_probs_BC.gather(1, batch.labels_B[:, None]).squeeze(1).exp()
    counted_B = (p_B <= p_max).to(gradient_PBC.dtype)
    beyond_PB = (wrong_sign_shares(gradient_PBC, batch.labels_B) - tolerance).clamp_min(0.0)
    return (beyond_PB * counted_B).sum(dim=1) / counted_B.sum().clamp_min(1.0)
