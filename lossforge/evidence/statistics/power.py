"""Power of a comparison of two arms: how many seeds it takes to see a difference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

LARGE = 100_000
"""From so many seeds on the t distribution is taken as normal, which it is to 1e-5 there."""


@dataclass(frozen=True)
class PowerRow:
    """One line of a power table.

    Attributes:
        sd: standard deviation over seeds of each arm.
        difference: true difference of the means, in the unit of ``sd``.
        num: seeds an arm.
        power: probability that the test shows the difference.
        needed: seeds an arm for the power that was asked for.
    """

    sd: float
    difference: float
    num: int
    power: float
    needed: int


def power(difference: float, sd: float, num: int, alpha: float = 0.05, sd_b: float | None = None) -> float:
    """Return the power of the two-sided two-sample t-test with ``num`` seeds an arm.

    P(|T| > t_nu(1 - alpha / 2)), T noncentral t with nu degrees of freedom about
    |difference| / sqrt((sd^2 + sd_b^2) / num), where nu = (num - 1) (sd^2 + sd_b^2)^2 / (sd^4 + sd_b^4): 2 num - 2 for
    equal standard deviations, where this is exact for normal values (Cohen, "Statistical Power Analysis for the
    Behavioral Sciences", 1988), and else that of Welch's test, about.

    Args:
        difference: true difference of the means.
        sd: standard deviation of an arm over seeds, in the same unit.
        num: seeds an arm, at least 2.
        alpha: level of the test, in (0, 1).
        sd_b: standard deviation of the other arm, where it is another one.

    Raises:
        ValueError: an argument is out of its range.
    """
    variances = _variances(difference, sd, alpha, sd_b)
    if num < 2:
        raise ValueError(f"2 or more seeds an arm are needed, not {num}")
    degrees = (num - 1) * sum(variances) ** 2 / (variances[0] ** 2 + variances[1] ** 2)
    noncentrality = abs(difference) / math.sqrt(sum(variances) / num)
    critical = float(scipy.stats.t.ppf(1 - alpha / 2, degrees))
    distribution = scipy.stats.nct(degrees, noncentrality)
    return min(1.0, float(distribution.sf(critical)) + float(distribution.cdf(-critical)))


def seeds_needed(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05, sd_b: float | None = None
) -> int:
    """Return the fewest seeds an arm with which the t-test has at least this power.

    For standard deviations of 0.15 points, 10 seeds an arm show 0.2 points with 80% power at 5%, and 37 show 0.1.

    Args:
        difference: true difference of the means, not 0.
        sd: standard deviation of an arm over seeds, in the same unit.
        power: in (0, 1), and above alpha.
        alpha: level of the test, in (0, 1).
        sd_b: standard deviation of the other arm, where it is another one.

    Raises:
        ValueError: an argument is out of its range.
    """
    variances = _variances(difference, sd, alpha, sd_b)
    if difference == 0:
        raise ValueError("no number of seeds shows a difference of 0")
    if not alpha < power < 1:
        raise ValueError(f"power must lie in ({alpha}, 1), not {power}")
    quantiles = scipy.stats.norm.ppf(1 - alpha / 2) + scipy.stats.norm.ppf(power)
    num = math.ceil(sum(variances) * (float(quantiles) / difference) ** 2)  # too few where t is not yet normal
    if num >= LARGE:
        return num
    num = max(2, num - 1)
    while _power(difference, sd, num, alpha, sd_b) < power:
        num += 1
    return num


_power = power  # whose name is that of an argument above


def power_table(
    sds: Iterable[float],
    differences: Iterable[float],
    nums: Iterable[int],
    power: float = 0.8,
    alpha: float = 0.05,
) -> tuple[PowerRow, ...]:
    """Return a row for each standard deviation, difference and number of seeds, in that order.

    Raises:
        ValueError: an argument is out of its range, as for :func:`power` and :func:`seeds_needed`.
    """
    differences, nums = tuple(differences), tuple(nums)
    return tuple(
        PowerRow(sd, difference, num, _power(difference, sd, num, alpha), needed)
        for sd in sds
        for difference in differences
        for needed in [seeds_needed(difference, sd, power, alpha)]
        for num in nums
    )


def _variances(difference: float, sd: float, alpha: float, sd_b: float | None) -> tuple[float, float]:
    sd_b = sd if sd_b is None else sd_b
    if not math.isfinite(difference):
        raise ValueError(f"the difference must be finite, not {difference}")
    if not all(0 <= each < math.inf for each in (sd, sd_b)) or sd == sd_b == 0:
        raise ValueError(f"standard deviations must be finite, not negative and not both 0: {sd}, {sd_b}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), not {alpha}")
    return sd**2, sd_b**2
