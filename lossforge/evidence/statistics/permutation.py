"""Permutation test: how often chance alone would part the values into two samples that differ as much."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossforge.evidence.statistics.bootstrap import Floats, check_resamples
from lossforge.evidence.statistics.samples import finite_values

MAX_SPLITS = 20_000
"""So many splits are enumerated; of more, some are drawn."""

TIE = 1e-9
"""Differences nearer than this share of the largest deviation are equal: sums of decimals round."""


@dataclass(frozen=True)
class PermutationTest:
    """The outcome of the test that both samples come from one distribution.

    Attributes:
        difference: mean(a) - mean(b).
        p_value: two-sided.
        exact: whether all splits were looked at, and not a random sample of them.
        num_splits: how many were looked at.
        smallest_p: the lowest p-value that samples of these sizes can have; 0.1 for 3 against 3.
        n_a: size of sample a.
        n_b: size of sample b.
    """

    difference: float
    p_value: float
    exact: bool
    num_splits: int
    smallest_p: float
    n_a: int
    n_b: int


def permutation_test(
    a: Sequence[float],
    b: Sequence[float],
    max_splits: int = MAX_SPLITS,
    num_resamples: int = 9_999,
    seed: int = 0,
) -> PermutationTest:
    """Test by the difference of means whether the values could have been dealt out at random.

    p is the share of the C(n_a + n_b, n_a) splits of all values into samples of these sizes whose |difference of means|
    is at least the one seen (Fisher, "The Design of Experiments", 1935; Pitman 1937). Where there are more splits than
    ``max_splits``, R random ones give (1 + number as far) / (1 + R), which keeps the level (Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010, arXiv 1603.05766).

    Args:
        a: at least one finite number.
        b: likewise.
        max_splits: up to so many splits all are enumerated.
        num_resamples: R, at least 100.
        seed: of the random splits.

    Raises:
        ValueError: a sample is empty or holds a value that is not finite, or there are too few resamples.
    """
    check_resamples(num_resamples)
    values = np.array([*finite_values(a, at_least=1), *finite_values(b, at_least=1)])
    n_a, n_b = len(a), len(b)
    num_splits = math.comb(n_a + n_b, n_a)
    exact = num_splits <= max_splits
    centred = values - values.mean()  # A split's sum over sample a is then n_a n_b / n of its difference of means.
    sums = _all_sums(centred, n_a) if exact else _random_sums(centred, n_a, num_resamples, seed)
    num_as_far = int((np.abs(sums) >= abs(centred[:n_a].sum()) - TIE * np.abs(centred).max()).sum())
    # The opposite of a split has as large a difference; with equal sizes it is a split, too.
    smallest = (1 + (n_a == n_b)) / num_splits if exact else 1 / (1 + num_resamples)
    return PermutationTest(
        difference=float(values[:n_a].mean() - values[n_a:].mean()),
        p_value=num_as_far / num_splits if exact else (1 + num_as_far) / (1 + num_resamples),
        exact=exact,
        num_splits=num_splits if exact else num_resamples,
        smallest_p=smallest,
        n_a=n_a,
        n_b=n_b,
    )


def _all_sums(values: Floats, num: int) -> Floats:
    chosen = np.fromiter(itertools.combinations(range(len(values)), num), dtype=np.dtype((np.intp, num)))
    return np.asarray(values[chosen].sum(axis=1))


def _random_sums(values: Floats, num: int, num_resamples: int, seed: int) -> Floats:
    shuffled = np.random.default_rng(seed).permuted(np.tile(values, (num_resamples, 1)), axis=1)
    return np.asarray(shuffled[:, :num].sum(axis=1))
