"""Crossed bootstrap: an interval that allows for other seeds and for other test examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.bootstrap import Floats, check_resamples, resampled_counts
from lossforge.evidence.statistics.examples import ExampleValues
from lossforge.evidence.statistics.samples import check_confidence


@dataclass(frozen=True)
class CrossedInterval:
    """A metric of one arm, or its difference a - b between two, over seeds and test examples.

    Attributes:
        estimate: mean over seeds of the metric on all examples; of two arms the difference.
        low: lower end of the interval.
        high: upper end.
        bias: how much the metric is overestimated because examples are few, as resampling shows it; 0 for a mean over
            examples. The interval has it taken off, the estimate has not.
        standard_error: of the estimate, over other seeds and other examples.
        confidence: level of the interval.
        n_a: seeds of arm a.
        n_b: seeds of arm b; None for a single arm.
        num_examples: test examples.
    """

    estimate: float
    low: float
    high: float
    bias: float
    standard_error: float
    confidence: float
    n_a: int
    n_b: int | None
    num_examples: int


def crossed_bootstrap(
    a: ExampleValues,
    b: ExampleValues | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> CrossedInterval:
    """Return the interval of a metric of one arm, or of the difference of two arms tested on the same examples.

    Each resample draws N examples with replacement, the same for both arms, and seeds with replacement for each arm by
    itself: the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). Its
    variance v is conservative: it counts the interaction e of seeds and examples, which is most of the variance between
    trained networks, three times. For means x_si of an arm over examples,

        e = sum_si (x_si - x_s. - x_.i + x_..)^2 / ((S - 1) (N - 1) S N),

    its part in the variance of x_.. (Searle, Casella and McCulloch, "Variance Components", 1992), and

        estimate - bias +- t_nu((1 + confidence) / 2) sqrt(max(S / (S - 1) (v - 2 e), w))

    is the interval: e summed over arms, S the smaller number of seeds, w the variance in Welch's interval over seeds,
    the least there is, nu its degrees of freedom. The factor makes up for resamples of few seeds, which spread too
    little; percentiles would not reach beyond these few (Hesterberg, The American Statistician 69, 2015, arXiv
    1411.5279). For a sum over bins the bias is the mean over resamples less the estimate, and v is left as it is, which
    also makes up for the error of that bias.

    Args:
        a: at least two seeds and two examples.
        b: likewise, of the same metric and of the same examples in the same order.
        confidence: level of the interval, in (0, 1).
        num_resamples: R, at least 100; sqrt(v) has a relative error of about 1 / sqrt(2 R).
        seed: of the resamples.

    Raises:
        ValueError: there are too few seeds, examples or resamples, the arms do not fit each other, or the level is not
            in (0, 1).
    """
    check_confidence(confidence)
    check_resamples(num_resamples)
    arms = (a,) if b is None else (a, b)
    _check(arms)
    by_seed = [arm.by_seed()[0] for arm in arms]
    estimate = float(by_seed[0].mean()) - (float(by_seed[1].mean()) if b else 0.0)
    resampled_R = _resampled(arms, num_resamples, seed)
    bias = 0.0 if a.bins_SN is None else float(resampled_R.mean()) - estimate
    standard_error = math.sqrt(_variance(arms, by_seed, float(resampled_R.var(ddof=1))))
    reach = _quantile(by_seed, confidence) * standard_error
    return CrossedInterval(
        estimate=estimate,
        low=estimate - bias - reach,
        high=estimate - bias + reach,
        bias=bias,
        standard_error=standard_error,
        confidence=confidence,
        n_a=len(by_seed[0]),
        n_b=len(by_seed[1]) if b else None,
        num_examples=a.values_SN.shape[1],
    )


def _resampled(arms: tuple[ExampleValues, ...], num_resamples: int, seed: int) -> Floats:
    """Return the metric, or the difference, of each resample."""
    _, *of_seeds = np.random.default_rng(seed).spawn(1 + len(arms))  # the first draws examples
    means: list[Floats] = []
    for arm, generator in zip(arms, of_seeds, strict=True):
        num_seeds = len(arm.values_SN)
        counts_RS = resampled_counts(generator, num_resamples, num_seeds)
        means.append((counts_RS * arm.resampled(num_resamples, seed)).sum(axis=1) / num_seeds)
    return means[0] - means[1] if len(means) == 2 else means[0]


def _variance(arms: tuple[ExampleValues, ...], by_seed: list[Floats], resampled: float) -> float:
    """Return the variance of the estimate, of means with the interaction of seeds and examples in it once."""
    fewest = min(map(len, by_seed))
    corrected = resampled - 2 * sum(_interaction(arm) for arm in arms)
    return max(fewest / (fewest - 1) * corrected, sum(_squared_error(values_S) for values_S in by_seed))


def _interaction(arm: ExampleValues) -> float:
    """Return e, the part of the interaction in the variance of an arm's mean; 0 for a sum over bins."""
    if arm.bins_SN is not None:
        return 0.0
    x_SN = arm.values_SN
    rest_SN = x_SN - x_SN.mean(axis=1, keepdims=True) - x_SN.mean(axis=0) + x_SN.mean()
    num_seeds, num_examples = x_SN.shape
    return float(np.square(rest_SN).sum() / ((num_seeds - 1) * (num_examples - 1) * num_seeds * num_examples))


def _squared_error(values_S: Floats) -> float:
    """Return the variance of a mean over seeds."""
    return float(values_S.var(ddof=1)) / len(values_S)


def _quantile(by_seed: list[Floats], confidence: float) -> float:
    """Return t with the degrees of freedom of the seeds, or the normal quantile where seeds do not differ."""
    parts = [_squared_error(values_S) for values_S in by_seed]
    total = sum(parts)
    if total == 0:
        return float(scipy.stats.norm.ppf((1 + confidence) / 2))
    degrees = 1 / sum((part / total) ** 2 / (len(values_S) - 1) for part, values_S in zip(parts, by_seed, strict=True))
    return float(scipy.stats.t.ppf((1 + confidence) / 2, degrees))


def _check(arms: tuple[ExampleValues, ...]) -> None:
    for arm in arms:
        if min(arm.values_SN.shape) < 2:
            raise ValueError(f"2 or more seeds and examples are needed, not {arm.values_SN.shape}")
    if len({arm.values_SN.shape[1] for arm in arms}) > 1 or len({arm.bins_SN is None for arm in arms}) > 1:
        raise ValueError("both arms must have the same metric of the same test examples")
