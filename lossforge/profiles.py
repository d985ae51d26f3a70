"""The predictions at which a weight profile w(p) is taken: a class of probability p against two kinds of rivals."""

from __future__ import annotations

import torch
from torch import Tensor

DOMINANT_SHARE = 0.9
"""Share of 1 - p_y that the dominant rival has in the second kind of weight profile."""

PROFILE_LABEL = 0
"""The true class of weight profiles, which :func:`profile_log_probs` puts first."""


def profile_log_probs(p_G: Tensor, num_classes: int) -> Tensor:
    """Return log-probabilities (2, G, C) with p_y first: rivals uniform, then one with 9/10 of what is left."""
    rest_G = torch.log1p(-p_G)
    num_rivals = num_classes - 1
    shares = p_G.new_full((2, num_rivals), 1.0 / num_rivals)
    if num_rivals > 1:
        shares[1] = (1 - DOMINANT_SHARE) / (num_rivals - 1)
        shares[1, 0] = DOMINANT_SHARE
    rivals_2GC = rest_G[None, :, None] + shares.log()[:, None, :]
    return torch.cat((p_G.log()[None, :, None].expand(2, -1, 1), rivals_2GC), dim=2)
