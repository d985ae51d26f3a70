"""What the trainings of a comparison show of one contender against another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from lossforge.evidence.comparison import Comparison
from lossforge.evidence.statistics import (
    CrossedInterval,
    Difference,
    EffectSize,
    ExampleValues,
    MeanAndSD,
    PermutationTest,
    ProbabilityOfImprovement,
    WelchTest,
    crossed_bootstrap,
    effect_size,
    example_values,
    holm,
    permutation_test,
    probability_of_improvement,
    welch_test,
)
from lossforge.evidence.verdict import MEASURES, Verdict, judge

MEANS = ("accuracy", "nll", "brier")
"""Metrics that are means over test images, of which each contender has an interval over seeds and images by itself."""

BOOTSTRAPPED = (*MEANS, "ece")
"""Metrics of whose differences such intervals are taken. The bias of a calibration error, which resampling tells badly,
cancels there."""


@dataclass(frozen=True)
class Judged:
    """A metric of one contender against that of another, a - b, in the metric's own unit.

    Attributes:
        metric: a field of the metrics of a training.
        a, b: names.
        sample_a, sample_b: over the trainings that did not diverge; None if all did.
        welch: difference with interval and p-value; None where one of the two has fewer than two such trainings, as all
            of the following.
        corrected_p: of Welch's test, after Holm's correction over the losses that are compared with one reference; None
            where there is no such family.
        permutation, improvement, effect: of the same trainings; ``improvement`` is that a is the better one.
        bootstrap: of the difference, over seeds and test images.
    """

    metric: str
    a: str
    b: str
    sample_a: MeanAndSD | None
    sample_b: MeanAndSD | None
    welch: WelchTest | None = None
    corrected_p: float | None = None
    permutation: PermutationTest | None = None
    improvement: ProbabilityOfImprovement | None = None
    effect: EffectSize | None = None
    bootstrap: CrossedInterval | None = None

    @property
    def difference(self) -> Difference | None:
        """With Welch's interval."""
        return None if self.welch is None else self.welch.difference

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """What a condition shows.

    Attributes:
        against_reference: a row for each contender but the reference, for each metric.
        pairs: accuracy of each found loss against every other contender but the reference.
        verdicts: on accuracy against the reference, by name.
        intervals: of each contender by itself, over seeds and test images, by name and metric of :data:`MEANS`; None as
            ``bootstrap`` of a pair.
    """

    against_reference: tuple[Judged, ...]
    pairs: tuple[Judged, ...]
    verdicts: Mapping[str, Verdict]
    intervals: Mapping[str, Mapping[str, CrossedInterval | None]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "against_reference": [each.to_json() for each in self.against_reference],
            "pairs": [each.to_json() for each in self.pairs],
            "verdicts": {name: verdict.to_json() for name, verdict in self.verdicts.items()},
            "intervals": {
                name: {metric: None if each is None else asdict(each) for metric, each in of_loss.items()}
                for name, of_loss in self.intervals.items()
            },
        }


def judgement(comparison: Comparison, roles: Mapping[str, str], margin: float) -> Judgement:
    """Judge the contenders of a condition.

    Holm's correction is over the losses that are compared with the reference; controls are no claims, and stay out.

    Args:
        comparison: of all of them.
        roles: by name; see :class:`lossforge.evidence.contenders.Contender`.
        margin: points of accuracy.
    """
    judge_ = _Judge(comparison)
    names = [name for name in comparison.losses if name != comparison.reference]
    claims = [name for name in names if roles[name] in ("found", "published", "given")]
    against = []
    for metric in next(iter(comparison.losses.values())).metrics:
        rows = {name: judge_(metric, name, comparison.reference) for name in names}
        p_values = {name: test.p_value for name in claims if (test := rows[name].welch) and test.p_value is not None}
        corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
        against += [replace(row, corrected_p=corrected.get(name)) for name, row in rows.items()]
    found = [name for name in comparison.losses if roles[name] == "found"]
    pairs = [judge_("accuracy", a, b) for a in found for b in names if a != b]
    corrected_p = {row.a: row.corrected_p for row in against if row.metric == "accuracy"}
    num_compared = max(1, sum(each is not None for each in corrected_p.values()))
    verdicts = {name: _verdict(comparison, name, margin, corrected_p[name], num_compared) for name in names}
    intervals = {name: {metric: judge_.alone(metric, name) for metric in MEANS} for name in comparison.losses}
    return Judgement(tuple(against), tuple(pairs), verdicts, intervals)


class _Judge:
    """Judges pairs of contenders of one comparison; what is needed of each is computed once."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._examples = cache(self._example_values)

    def __call__(self, metric: str, a: str, b: str) -> Judged:
        """Return what the trainings show of ``a`` against ``b``."""
        losses, level = self._comparison.losses, self._comparison.confidence
        sample_a, sample_b = (losses[name].metrics[metric].sample for name in (a, b))
        values_a, values_b = (losses[name].values(metric) for name in (a, b))
        if min(len(values_a), len(values_b)) < 2:
            return Judged(metric, a, b, sample_a, sample_b)
        return Judged(
            metric,
            a,
            b,
            sample_a,
            sample_b,
            welch=welch_test(values_a, values_b, level),
            permutation=permutation_test(values_a, values_b),
            improvement=probability_of_improvement(values_a, values_b, level, higher_is_better=metric == "accuracy"),
            effect=effect_size(values_a, values_b, level),
            bootstrap=self._bootstrap(metric, a, b),
        )

    def alone(self, metric: str, name: str) -> CrossedInterval | None:
        """Return the interval of a metric of one contender over seeds and test images."""
        values = self._examples(metric, name)
        if values is None or len(values.values_SN) < 2:
            return None
        return crossed_bootstrap(values, confidence=self._comparison.confidence)

    def _bootstrap(self, metric: str, a: str, b: str) -> CrossedInterval | None:
        of_a, of_b = (self._examples(metric, name) for name in (a, b))
        if of_a is None or of_b is None:
            return None
        return crossed_bootstrap(of_a, of_b, self._comparison.confidence)

    def _example_values(self, metric: str, name: str) -> ExampleValues | None:
        """Return a metric example by example; None where not all predictions are there."""
        if metric not in BOOTSTRAPPED:
            return None
        finished = [result for result in self._comparison.losses[name].results if result.metrics is not None]
        tests = [result.test for result in finished if result.test is not None]
        if not tests or len(tests) < len(finished):
            return None
        return example_values(metric, [test.logits_NC for test in tests], tests[0].labels_N)


def _verdict(comparison: Comparison, name: str, margin: float, corrected_p: float | None, num_compared: int) -> Verdict:
    a, b = comparison.losses[name], comparison.losses[comparison.reference]
    return judge(
        a.values("accuracy"),
        b.values("accuracy"),
        MEASURES["accuracy"],
        margin,
        comparison.confidence,
        corrected_p,
        (a.num_diverged, b.num_diverged),
        1 if corrected_p is None else num_compared,
    )
