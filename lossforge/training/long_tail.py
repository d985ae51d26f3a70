"""Frequent and rare classes.

Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, arXiv
1901.05555: the number of training images falls exponentially with the class.
"""

from __future__ import annotations

import torch
from torch import Tensor


def long_tailed(labels_N: Tensor, num_classes: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Return the sorted indices (int64) of a long-tailed subset.

    With n the size of the smallest class of all, class c keeps n ratio^(-c / (C - 1)) images, rounded down, at least
    one, drawn at random; so the first class keeps n and the last n / ratio.

    Args:
        labels_N: class indices (int64) on the CPU; each class is there.
        num_classes: C, at least 2.
        ratio: at least 1.
        generator: a CPU generator.
    """
    largest = int(torch.bincount(labels_N, minlength=num_classes).min())
    chosen = []
    for label in range(num_classes):
        members = torch.nonzero(labels_N == label).squeeze(1)
        num = max(1, int(largest * ratio ** (-label / (num_classes - 1)) + 1e-9))  # 500 / 100 is 5, not 4.99...
        chosen.append(members[torch.randperm(len(members), generator=generator)[:num]])
    return torch.cat(chosen).sort().values
