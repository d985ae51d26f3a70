"""What real outputs and synthetic predictions have in common: every figure of the gap for two samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lossforge.evidence.gap.coverage import covered, visited
from lossforge.evidence.gap.distances import energy_distance, jensen_shannon_estimate, wasserstein
from lossforge.evidence.gap.features import MARGINALS, Outputs, features
from lossforge.evidence.gap.intervals import Bootstrap, Estimate
from lossforge.evidence.gap.two_sample import classifier_test
from lossforge.regimes import REGIMES, RegimeBounds, regimes_of
from lossforge.spec.gap import GapSpec


@dataclass(frozen=True)
class Histogram:
    """How many of a sample have a number in each bin of equal width, from 0 to ``largest``."""

    largest: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class RegimeRow:
    """A regime in real outputs and in synthetic predictions.

    Attributes:
        real: share of the real outputs that are of it.
        synthetic: share of the synthetic predictions.
        num_real: how many real outputs it is.
        coverage: share of these that are covered; None where there are none.
        recall: share of these that are visited; likewise.
    """

    regime: str
    real: float
    synthetic: float
    num_real: int
    coverage: float | None
    recall: float | None


@dataclass(frozen=True)
class GapFigures:
    """How far synthetic predictions are from real outputs.

    Attributes:
        num: how many of each are compared.
        wasserstein: 1-Wasserstein distance of each marginal, in its units.
        jensen_shannon: divergence of their histograms in bits, from 0 to 1.
        auc: area under the ROC curve of a classifier that tells the two apart.
        energy: energy distance in the features.
        coverage: share of the real outputs that are covered.
        recall: share of the real outputs that are visited.
        regimes: regime by regime.
        real: histogram of each marginal of the real outputs.
        synthetic: of the synthetic predictions.
    """

    num: int
    wasserstein: Mapping[str, Estimate]
    jensen_shannon: Mapping[str, Estimate]
    auc: Estimate
    energy: float
    coverage: float
    recall: float
    regimes: tuple[RegimeRow, ...]
    real: Mapping[str, Histogram]
    synthetic: Mapping[str, Histogram]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


def compare_outputs(real: Outputs, synthetic: Outputs, bounds: RegimeBounds, options: GapSpec, seed: int) -> GapFigures:
    """Compare as many real outputs as synthetic predictions; ``seed``: of resamples and folds."""
    histograms = {name: [_histogram(each, name, options.bins) for each in (real, synthetic)] for name in MARGINALS}
    bootstrap = Bootstrap(options.confidence, options.bootstrap, seed)
    real_NF, synthetic_NF = features(real), features(synthetic)
    is_covered = covered(real_NF, synthetic_NF, options.neighbours)
    is_visited = visited(real_NF, synthetic_NF, options.neighbours)
    return GapFigures(
        num=len(real),
        wasserstein={
            name: wasserstein(marginal.of(real), marginal.of(synthetic), bootstrap)
            for name, marginal in MARGINALS.items()
        },
        jensen_shannon={
            name: jensen_shannon_estimate(np.array(pair[0].counts), np.array(pair[1].counts), bootstrap)
            for name, pair in histograms.items()
        },
        auc=classifier_test(real_NF, synthetic_NF, options.folds, options.confidence, seed),
        energy=energy_distance(real_NF, synthetic_NF),
        coverage=float(is_covered.mean()),
        recall=float(is_visited.mean()),
        regimes=_regime_rows(_regimes(real, bounds), _regimes(synthetic, bounds), is_covered, is_visited),
        real={name: pair[0] for name, pair in histograms.items()},
        synthetic={name: pair[1] for name, pair in histograms.items()},
    )


def _histogram(outputs: Outputs, name: str, bins: int) -> Histogram:
    largest = MARGINALS[name].largest(outputs.num_classes)
    values = np.clip(MARGINALS[name].of(outputs), 0.0, largest)  # rounding may lead beyond
    counts, _ = np.histogram(values, bins=bins, range=(0.0, largest))
    return Histogram(largest, tuple(counts.tolist()))


def _regimes(outputs: Outputs, bounds: RegimeBounds) -> np.ndarray:
    return regimes_of(outputs.log_probs_NC, outputs.labels_N, bounds).numpy()


def _regime_rows(
    real_N: np.ndarray, synthetic_N: np.ndarray, is_covered: np.ndarray, is_visited: np.ndarray
) -> tuple[RegimeRow, ...]:
    rows = []
    for index, regime in enumerate(REGIMES):
        here = real_N == index
        shares = float(here.mean()), float((synthetic_N == index).mean())
        found = [float(each[here].mean()) if here.any() else None for each in (is_covered, is_visited)]
        rows.append(RegimeRow(regime, *shares, int(here.sum()), *found))
    return tuple(rows)
