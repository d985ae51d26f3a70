"""What strategies make of the order of fitness: best first, not finite last."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_order(fitness_P: Tensor) -> Tensor:
    """Return the indices from best to worst: not finite last, ties in their order."""
    return finite_or_worst(fitness_P).argsort(stable=True)


def finite_or_worst(fitness_P: Tensor) -> Tensor:
    """Return the fitness with infinity in place of what is not finite."""
    return torch.where(fitness_P.isfinite(), fitness_P, torch.inf)


def shared_by_rank(utilities_P: Tensor, fitness_P: Tensor) -> Tensor:
    """Return each solution's utility, of those given from the best rank to the worst; ties share theirs evenly.

    Solutions that are equally fit thus pull no way, whatever their order.
    """
    fitness_P = finite_or_worst(fitness_P)
    ordered_P = fitness_P.sort().values
    first_P = torch.searchsorted(ordered_P, fitness_P)
    end_P = torch.searchsorted(ordered_P, fitness_P, right=True)
    total = torch.cat((utilities_P.new_zeros(1), utilities_P.cumsum(dim=0)))
    return (total[end_P] - total[first_P]) / (end_P - first_P)


def log_weights(num: int, device: torch.device) -> Tensor:
    """Return float64 weights of the best ``num`` solutions, best first: ln(num + 1/2) - ln(rank), scaled to sum to 1.

    Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772, 2016, equation (49) without its negative half.
    """
    rank = torch.arange(1, num + 1, dtype=torch.float64, device=device)
    weights = torch.log(torch.full_like(rank, num + 0.5)) - torch.log(rank)
    return weights / weights.sum()
