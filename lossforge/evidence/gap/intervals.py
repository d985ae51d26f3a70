"""Numbers with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: computed from all of the sample.
        low: lower end.
        high: upper end. Of a distance that is close to 0 it may be below the value: distances of samples are larger
            than those of what they are drawn from, and the interval allows for it.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: their level, how many resamples, and the seed of these."""

    confidence: float
    resamples: int
    seed: int


def basic_interval(value: float, replicates_R: np.ndarray, confidence: float, largest: float = np.inf) -> Estimate:
    """Return an estimate with the basic bootstrap interval, [2 value - upper, 2 value - lower], within [0, largest].

    Upper and lower are quantiles of the replicates: that the estimate is too large is seen in these, and taken off
    (Davison and Hinkley, "Bootstrap methods and their application", 1997, section 5.2).
    """
    lower, upper = np.quantile(replicates_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.clip([2 * value - upper, 2 * value - lower], 0.0, largest)
    return Estimate(value, float(low), float(high))
