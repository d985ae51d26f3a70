"""The verdict on one arm against another: what their trainings show, and how many more it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics import Difference, MeanAndSD, mean_and_sd, pooled_sd, seeds_needed, welch_test

POWER = 0.8
"""With this probability the seeds that a verdict asks for show a difference of the margin."""


class Outcome(Enum):
    """What is shown of arm a against arm b."""

    BETTER = "better"
    NO_WORSE = "no worse"
    WORSE = "worse"
    UNDECIDED = "undecided"
    NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Measure:
    """A metric as a verdict speaks of it.

    Attributes:
        name: such as ``accuracy``.
        higher_is_better: False for losses and errors.
        factor: by which values are multiplied first; 100 makes points of shares. Margins, differences and all else
            that a verdict tells are in the unit that results.
        unit: put after a value.
        unit_of_difference: put after a difference and a margin.
        decimals: how many are written.
    """

    name: str
    higher_is_better: bool
    factor: float = 1.0
    unit: str = ""
    unit_of_difference: str = ""
    decimals: int = 4


MEASURES = {
    "accuracy": Measure("accuracy", True, 100, "%", " points", 2),
    "nll": Measure("NLL", False, unit=" nats", unit_of_difference=" nats"),
    "brier": Measure("Brier score", False),
    "ece": Measure("ECE", False, 100, "%", " points", 2),
    "debiased_ece": Measure("debiased ECE", False, 100, "%", " points", 2),
}
"""Name to measure of the fields of :class:`lossforge.training.metrics.ClassificationMetrics`."""


@dataclass(frozen=True)
class Verdict:
    """What was judged, by what, and the outcome.

    Attributes:
        outcome: what is shown.
        measure: of the values.
        margin: a deficit that would not matter.
        confidence: level of the interval.
        sample_a: of the trainings of arm a that did not diverge; None if all did.
        sample_b: likewise.
        difference: a - b with Welch's interval, whichever way is better; None where an arm has fewer than two values.
        p_value: of Welch's test; None likewise, and where no value varies.
        corrected_p: after correction for the number of arms, if one was given.
        num_diverged_a: trainings of arm a that diverged, which no number has in it.
        num_diverged_b: likewise.
        needed: about how many seeds an arm would decide; None unless it is undecided.
    """

    outcome: Outcome
    measure: Measure
    margin: float
    confidence: float
    sample_a: MeanAndSD | None
    sample_b: MeanAndSD | None
    difference: Difference | None = None
    p_value: float | None = None
    corrected_p: float | None = None
    num_diverged_a: int = 0
    num_diverged_b: int = 0
    needed: int | None = None

    @property
    def gain(self) -> Difference | None:
        """The difference, turned so that above 0 arm a is better."""
        each = self.difference
        if each is None or self.measure.higher_is_better:
            return each
        return Difference(-each.mean, -each.high, -each.low, each.n_a, each.n_b)

    @property
    def within_margin(self) -> bool:
        """Whether arm a is shown to be worse by less than the margin, if it is worse at all."""
        return self.p_value is not None and self.gain is not None and self.gain.low > -self.margin

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "outcome": self.outcome.value}


def judge(
    a: Sequence[float],
    b: Sequence[float],
    measure: Measure,
    margin: float,
    confidence: float = 0.95,
    corrected_p: float | None = None,
    num_diverged: tuple[int, int] = (0, 0),
    num_compared: int = 1,
) -> Verdict:
    """Judge arm a against arm b by Welch's interval of the difference of their means.

    *Better*, or *worse*: the interval leaves 0 out on that side, and ``corrected_p``, where given, is at most
    1 - confidence. Else *no worse*: the upper end of the interval of the deficit is below the margin (non-inferiority;
    Piaggio et al., JAMA 308, 2012); the margin is not corrected for the number of arms. Else *undecided*: the seeds
    needed are the larger of two numbers, of which the first shows a true difference of the margin with 80% power, given
    the pooled standard deviation measured, and the second decides if difference and deviations stay as they are; both
    at the level (1 - confidence) / ``num_compared`` (Bonferroni), as the least of corrected p-values asks for.

    A training that diverged is in no mean, which flatters its arm: an arm that has some is called worse or nothing at
    all, and none worse than it.

    Args:
        a: values of the trainings of arm a that did not diverge, finite, in the metric's own unit.
        b: likewise.
        measure: what they are; one of :data:`MEASURES`, or your own.
        margin: above 0, in the unit of the measure: points for accuracy.
        confidence: level of the interval, in (0, 1).
        corrected_p: p-value after correction for several arms, as :func:`lossforge.evidence.statistics.holm` gives.
        num_diverged: trainings of a and of b that diverged.
        num_compared: how many p-values ``corrected_p`` is corrected for.

    Raises:
        ValueError: an arm has no trainings at all, or an argument is out of its range.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"the margin must be above 0 and finite, not {margin}")
    if corrected_p is not None and not 0 <= corrected_p <= 1:
        raise ValueError(f"corrected_p must lie in [0, 1], not {corrected_p}")
    if num_compared < 1:
        raise ValueError(f"num_compared must be 1 or more, not {num_compared}")
    if min(num_diverged) < 0 or min(len(a) + num_diverged[0], len(b) + num_diverged[1]) == 0:
        raise ValueError("each arm needs at least one training, finished or diverged")
    a, b = ([measure.factor * value for value in values] for values in (a, b))
    known: dict[str, Any] = {
        "measure": measure,
        "margin": margin,
        "confidence": confidence,
        "sample_a": mean_and_sd(a) if a else None,
        "sample_b": mean_and_sd(b) if b else None,
        "corrected_p": corrected_p,
        "num_diverged_a": num_diverged[0],
        "num_diverged_b": num_diverged[1],
    }
    if min(len(a), len(b)) < 2:
        return Verdict(Outcome.NO_VERDICT, **known)
    test = welch_test(a, b, confidence)
    known |= {"difference": test.difference, "p_value": test.p_value}
    outcome = _outcome(Verdict(Outcome.UNDECIDED, **known))
    if outcome is not Outcome.UNDECIDED:
        return Verdict(outcome, **known)
    return Verdict(outcome, **known, needed=_needed(Verdict(outcome, **known), pooled_sd(a, b), num_compared))


def _outcome(facts: Verdict) -> Outcome:
    shown = _of_finished(facts)
    flatters_a = facts.num_diverged_a and shown is not Outcome.WORSE
    flatters_b = facts.num_diverged_b and shown is Outcome.WORSE
    return Outcome.NO_VERDICT if flatters_a or flatters_b else shown


def _of_finished(facts: Verdict) -> Outcome:
    """Return what the trainings that finished show."""
    gain = facts.gain
    if gain is None or facts.p_value is None:
        return Outcome.NO_VERDICT
    significant = facts.corrected_p is None or facts.corrected_p <= 1 - facts.confidence
    if gain.low > 0 and significant:
        return Outcome.BETTER
    if gain.high < 0 and significant:
        return Outcome.WORSE
    return Outcome.NO_WORSE if facts.within_margin else Outcome.UNDECIDED


def _needed(facts: Verdict, sd: float, num_compared: int) -> int:
    """Return about how many seeds an arm would decide, more than there are."""
    gain = facts.gain
    assert gain is not None
    num, half_width = max(gain.n_a, gain.n_b), (gain.high - gain.low) / 2
    alpha = 1 - facts.confidence
    corrected = alpha / num_compared
    # The interval decides once it leaves out 0, and does so at the corrected level, or the margin.
    widened = half_width * float(scipy.stats.norm.isf(corrected / 2) / scipy.stats.norm.isf(alpha / 2))
    reaches = ((widened, abs(gain.mean)), (half_width, gain.mean + facts.margin))
    as_it_is = min(math.ceil(num * (width / reach) ** 2) for width, reach in reaches if reach > 0)
    return max(num + 1, as_it_is, seeds_needed(facts.margin, sd, POWER, corrected))


def sentence(verdict: Verdict, name: str, reference: str) -> str:
    """Return the verdict in one sentence with its numbers, without a full stop.

    Args:
        verdict: what was judged.
        name: of arm a.
        reference: name of arm b.
    """
    arms = ((verdict.sample_a, verdict.num_diverged_a, name), (verdict.sample_b, verdict.num_diverged_b, reference))
    for sample, num_diverged, title in arms:
        if sample is None:
            return f"no verdict, for all trainings with {title} diverged (n = {num_diverged})"
    a, b, measure = verdict.sample_a, verdict.sample_b, verdict.measure
    assert a is not None
    assert b is not None
    reached = (
        f"{name} reaches {measure.name} {_value(a.mean, measure)} against {_value(b.mean, measure)} for {reference} "
        f"(n = {a.num} and {b.num})"
    )
    if verdict.difference is None:
        return (
            f"{reached}: no verdict, for that takes two finished trainings of each{_diverged(verdict, name, reference)}"
        )
    each, d = verdict.difference, measure.decimals
    shown = (
        f"{reached}, difference {each.mean:+.{d}f}{measure.unit_of_difference} [{each.low:+.{d}f}, {each.high:+.{d}f}]"
    )
    if verdict.outcome is Outcome.NO_VERDICT and verdict.p_value is not None:
        return f"{shown}: no verdict, for {_counts(verdict, name, reference)} diverged, which no mean has in it"
    return f"{shown}: {_conclusion(verdict)}{_diverged(verdict, name, reference)}"


def _conclusion(verdict: Verdict) -> str:
    margin = f"{verdict.margin:g}{verdict.measure.unit_of_difference}"
    corrected = "" if verdict.corrected_p is None else f" (corrected p = {verdict.corrected_p:.2g})"
    # Of the others, it is told where it has changed the outcome.
    changed = corrected if verdict.gain is not None and (verdict.gain.low > 0 or verdict.gain.high < 0) else ""
    match verdict.outcome:
        case Outcome.BETTER:
            return f"better{corrected}"
        case Outcome.WORSE:
            return f"worse{corrected}{f', by less than {margin}' if verdict.within_margin else ''}"
        case Outcome.NO_WORSE:
            return f"no worse than by {margin}{changed}"
        case Outcome.UNDECIDED:
            return f"undecided: needs about {verdict.needed} seeds an arm to tell {margin}{changed}"
        case Outcome.NO_VERDICT:
            return f"no verdict, for no {verdict.measure.name} varies over seeds"


def _value(value: float, measure: Measure) -> str:
    return f"{value:.{measure.decimals}f}{measure.unit}"


def _diverged(verdict: Verdict, name: str, reference: str) -> str:
    """Return the reservation that means over finished trainings call for."""
    counts = _counts(verdict, name, reference)
    return f", among the trainings that finished; {counts} diverged" if counts else ""


def _counts(verdict: Verdict, name: str, reference: str) -> str:
    """Return ``1 of 5 with edl and 2 of 5 with cross_entropy``, of those arms that have some."""
    arms = ((verdict.sample_a, verdict.num_diverged_a, name), (verdict.sample_b, verdict.num_diverged_b, reference))
    return " and ".join(f"{num} of {num + sample.num} with {title}" for sample, num, title in arms if num and sample)
