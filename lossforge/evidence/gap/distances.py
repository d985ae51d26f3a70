"""Distances between two samples: Wasserstein-1 and Jensen-Shannon of one number, the energy distance of several."""

from __future__ import annotations

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.spatial takes a second

from lossforge.evidence.gap.intervals import Bootstrap, Estimate, basic_interval


def wasserstein(x_N: np.ndarray, y_M: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """Return the 1-Wasserstein distance of two samples of a number, in its units: the integral of |F_x - F_y|.

    The interval is that of a bootstrap over the values of both.
    """
    values = np.concatenate([x_N, y_M])
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order])

    def distance(x_counts: np.ndarray, y_counts: np.ndarray) -> float:
        weights = np.concatenate([x_counts / len(x_N), -y_counts / len(y_M)])
        return float(np.abs(weights[order].cumsum()[:-1]) @ steps)

    random = np.random.default_rng(bootstrap.seed)
    draws = ((_resampled(len(x_N), random), _resampled(len(y_M), random)) for _ in range(bootstrap.resamples))
    replicates = np.array([distance(*draw) for draw in draws])
    return basic_interval(distance(np.ones(len(x_N)), np.ones(len(y_M))), replicates, bootstrap.confidence)


def _resampled(num: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each of so many values is drawn in a bootstrap sample."""
    return np.bincount(random.integers(num, size=num), minlength=num)


def jensen_shannon(counts_K: np.ndarray, others_K: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two histograms in bits, from 0 to 1.

    H((p + q) / 2) - (H(p) + H(q)) / 2, with shares p and q of the bins and H to the base 2 (Lin, "Divergence measures
    based on the Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991).
    """
    p, q = counts_K / counts_K.sum(), others_K / others_K.sum()
    bits = scipy.special.entr(np.stack([(p + q) / 2, p, q])).sum(axis=1) / np.log(2)
    return max(0.0, float(bits[0] - (bits[1] + bits[2]) / 2))


def jensen_shannon_estimate(counts_K: np.ndarray, others_K: np.ndarray, bootstrap: Bootstrap) -> Estimate:
    """Return the Jensen-Shannon divergence of two histograms, with the interval of a bootstrap over what is in them."""
    random, num = np.random.default_rng(bootstrap.seed), bootstrap.resamples
    first, second = (random.multinomial(each.sum(), each / each.sum(), size=num) for each in (counts_K, others_K))
    replicates = np.array([jensen_shannon(*pair) for pair in zip(first, second, strict=True)])
    return basic_interval(jensen_shannon(counts_K, others_K), replicates, bootstrap.confidence, largest=1.0)


def mean_distance(x_NF: np.ndarray, y_MF: np.ndarray) -> float:
    """Return the mean Euclidean distance between the rows of one and the rows of another."""
    return float(scipy.spatial.distance.cdist(x_NF, y_MF).mean())


def mean_distance_within(x_NF: np.ndarray) -> float:
    """Return the mean Euclidean distance between two different rows."""
    return float(scipy.spatial.distance.pdist(x_NF).mean())


def energy_distance(x_NF: np.ndarray, y_MF: np.ndarray) -> float:
    """Return the energy distance 2 E|x - y| - E|x - x'| - E|y - y'|, without bias: it may be below 0.

    0 if and only if two distributions are one (Székely and Rizzo, "Energy statistics: a class of statistics based on
    distances", Journal of Statistical Planning and Inference 143(8), 2013).
    """
    return 2 * mean_distance(x_NF, y_MF) - mean_distance_within(x_NF) - mean_distance_within(y_MF)
