"""How often 95% intervals hold the truth, in simulated data: ``python tests/evidence/statistics/coverage.py``.

Samples are normal with variance 1, their means apart by the shift; 1,000 data sets a line, 400 of crossed intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from lossforge.evidence.statistics import (
    ExampleValues,
    auc,
    crossed_bootstrap,
    effect_size,
    probability_of_improvement,
    rank_correlation,
    welch_test,
)

Random = np.random.Generator
Ends = tuple[float, float]


def of_means(random: Random, num: int, shift: float) -> Ends:
    found = welch_test(random.normal(shift, 1, num), random.normal(0, 1, num)).difference
    return found.low, found.high


def of_effects(random: Random, num: int, shift: float) -> Ends:
    found = effect_size(random.normal(shift, 1, num), random.normal(0, 1, num))
    return found.low, found.high


def of_improvement(random: Random, num: int, shift: float) -> Ends:
    found = probability_of_improvement(random.normal(shift, 1, num), random.normal(0, 1, num))
    return found.low, found.high


def of_auc(random: Random, num: int, shift: float) -> Ends:
    found = auc(random.normal(shift, 1, num), random.normal(0, 1, num))
    return found.low, found.high


def of_ranks(random: Random, num: int, rho: float) -> Ends:
    x = random.normal(size=num)
    found = rank_correlation(x, rho * x + math.sqrt(1 - rho**2) * random.normal(size=num), num_resamples=1_000)
    return found.low, found.high


def crossed(random: Random, num: int, of_seeds: float, of_examples: float, of_both: float) -> Ends:
    a, b = (_arm(random, num, true, of_seeds, of_examples, of_both) for true in (1, 0))
    found = crossed_bootstrap(a, b, num_resamples=400)
    return found.low, found.high


def crossed_alone(random: Random, num: int, of_seeds: float, of_examples: float, of_both: float) -> Ends:
    found = crossed_bootstrap(_arm(random, num, 1, of_seeds, of_examples, of_both), num_resamples=400)
    return found.low, found.high


def _arm(random: Random, num: int, true: float, of_seeds: float, of_examples: float, of_both: float) -> ExampleValues:
    return ExampleValues(
        true
        + of_seeds * random.normal(size=(num, 1))
        + of_examples * random.normal(size=100)
        + of_both * random.normal(size=(num, 100))
    )


def of_calibration(random: Random, num: int, gap_a: float, gap_b: float) -> Ends:
    confidence_N, arms = random.uniform(0.5, 0.98, 1_000), []
    for gap in (gap_a, gap_b):
        confidence_SN = np.clip(confidence_N + random.normal(0, 0.02, (num, 1_000)), 0.4, 0.99)
        correct_SN = random.random((num, 1_000)) < confidence_SN - gap
        arms.append(ExampleValues(correct_SN - confidence_SN, np.ceil(confidence_SN * 15).astype(int) - 1))
    found = crossed_bootstrap(*arms, num_resamples=200)
    return found.low, found.high


def told(title: str, interval: Callable[..., Ends], true: float, num: int, *arguments: float, num_sets: int) -> None:
    random, held = np.random.default_rng(0), 0
    for _ in range(num_sets):
        low, high = interval(random, num, *arguments)
        held += low <= true <= high
    print(f"{title:45} n = {num:3}  {', '.join(map(str, arguments)):15}  {held / num_sets:6.1%}", flush=True)


if __name__ == "__main__":
    for num in (5, 10):
        told("Welch, shift", of_means, 1.0, num, 1.0, num_sets=1_000)
        told("effect size, shift", of_effects, 1.0, num, 1.0, num_sets=1_000)
        for shift in (0.0, 0.7, 2.0, 4.0):
            true = stats.norm.cdf(shift / math.sqrt(2))
            told("probability of improvement, shift", of_improvement, true, num, shift, num_sets=1_000)
        for parts in ((0.3, 0.01, 0.01), (0.1, 0.7, 0.3), (0.01, 0.01, 1.0)):
            told("crossed, sd of seeds, examples, both", crossed, 1.0, num, *parts, num_sets=400)
            told("crossed, one arm alone, likewise", crossed_alone, 1.0, num, *parts, num_sets=400)
        for gaps in ((0.05, 0.05), (0.1, 0.03)):
            told("crossed, calibration errors", of_calibration, gaps[0] - gaps[1], num, *gaps, num_sets=400)
    for num in (10, 30):
        for rho in (0.0, 0.6, 0.9):
            told("rank correlation, rho", of_ranks, 6 / math.pi * math.asin(rho / 2), num, rho, num_sets=1_000)
    for num in (20, 100):
        for shift in (0.0, 1.0, 2.5):
            told("AUC, shift", of_auc, stats.norm.cdf(shift / math.sqrt(2)), num, shift, num_sets=1_000)
