"""Regimes of predictions, told apart by inequalities: how sure a prediction is, and whether it is right.

They are those that the sampler ``mixture`` draws from, which knows the regime of what it draws; here any prediction is
put into one, a real one included.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

REGIMES = ("near_uniform", "confident_right", "confident_wrong", "boundary", "rest")
"""In the order in which they are looked at: a prediction is of the first whose inequality holds."""

NEAR = 2.0
"""Standard deviations of log p, in units of that of the logits near initialisation, up to which p is near uniform."""

ROUNDING = 1e-5
"""By what share the bounds are wider, so that float32 does not move what lies on them."""


@dataclass(frozen=True)
class RegimeBounds:
    """Where the regimes end.

    Attributes:
        right_error: largest 1 - p_y of a prediction that is confident and right.
        wrong_p: largest p_y of one that is confident and wrong.
        dominance: its largest rival's least share of 1 - p_y.
        delta: largest |p_y - largest rival| at a boundary.
        near_uniform_scale: standard deviation of logits near initialisation.
    """

    right_error: float
    wrong_p: float
    dominance: float
    delta: float
    near_uniform_scale: float


def regimes_of(log_probs_BC: Tensor, labels_B: Tensor, bounds: RegimeBounds) -> Tensor:
    """Return the regime of each prediction, indices (int64) into :data:`REGIMES`.

    With r the largest rival of the label y, the first of these that holds:

    * near uniform: the standard deviation of log p over the classes is at most 2 near_uniform_scale;
    * confident and right: 1 - p_y <= right_error;
    * confident and wrong: p_y <= wrong_p and p_r >= dominance (1 - p_y);
    * boundary: |p_y - p_r| <= delta.
    """
    log_probs = log_probs_BC.double()
    own_B1 = labels_B[:, None]
    rivals_BC = log_probs.scatter(1, own_B1, -torch.inf)
    p_B, rival_B = log_probs.gather(1, own_B1).squeeze(1).exp(), rivals_BC.amax(dim=1).exp()
    rest_B = torch.logsumexp(rivals_BC, dim=1).exp()  # 1 - p_y, exact also where p_y is close to 1
    wide = 1 + ROUNDING
    conditions = (
        log_probs.std(dim=1) <= NEAR * bounds.near_uniform_scale * wide,
        rest_B <= bounds.right_error * wide,
        (p_B <= bounds.wrong_p * wide) & (rival_B * wide >= bounds.dominance * rest_B),
        (p_B - rival_B).abs() <= bounds.delta * wide,
    )
    regime_B = torch.full_like(labels_B, len(conditions))
    for index in reversed(range(len(conditions))):
        regime_B = torch.where(conditions[index], index, regime_B)
    return regime_B
