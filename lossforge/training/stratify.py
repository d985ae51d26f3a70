"""Random subsets that keep the shares of the classes."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_subset(labels_N: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Return the sorted indices (int64) of ``num`` examples drawn at random, each class in its share.

    A class with n of the N examples gets num n / N of them, rounded down; what is then missing goes to the classes
    with the largest remainders, the lower label first at ties.

    Args:
        labels_N: class indices (int64) on the CPU.
        num: examples to draw, at most N.
        generator: a CPU generator.

    Raises:
        ValueError: ``num`` is negative or larger than N.
    """
    total = len(labels_N)
    if not 0 <= num <= total:
        raise ValueError(f"cannot draw {num} of {total} examples")
    counts = torch.bincount(labels_N).tolist()
    chosen = []
    for label, quota in enumerate(_quotas(counts, num)):
        members = torch.nonzero(labels_N == label).squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:quota]])
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)


def _quotas(counts: list[int], num: int) -> list[int]:
    """Return how many examples each class gets: the method of largest remainders, in exact arithmetic."""
    total = max(sum(counts), 1)
    quotas = [num * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: (-(num * counts[label] % total), label))
    for label in by_remainder[: num - sum(quotas)]:
        quotas[label] += 1
    return quotas
