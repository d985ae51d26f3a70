"""One sentence on what a run has shown; it claims a difference only where the interval excludes 0."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from lossforge.report.numbers import accuracy_decimals, count, interval, percent, points, significant
from lossforge.run_content import ComparedLoss, Comparison, Figures, FoundLoss

RANKING_ACCURACY = "ranking_accuracy"
"""Metric of the held-out stream that stands for a run without training."""


class Outcome(Enum):
    """What a comparison shows of one loss against the reference."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    NO_VERDICT = "no verdict"


def judge(loss: ComparedLoss, reference: ComparedLoss) -> Outcome:
    """Return the outcome for a loss.

    There is none where accuracies never vary. A loss of which a training diverged is at most worse, and none is
    worse than such a reference: no mean has it in it.
    """
    difference = loss.difference
    if difference is None or difference.low == difference.high:
        return Outcome.NO_VERDICT
    if difference.low > 0:
        return Outcome.NO_VERDICT if loss.num_diverged else Outcome.BETTER
    if difference.high < 0:
        return Outcome.NO_VERDICT if reference.num_diverged else Outcome.WORSE
    return Outcome.NO_DIFFERENCE


def verdict(comparison: Comparison | Mapping[str, Any], found: str | None = None) -> str:
    """Return the verdict on the found loss, or a line for each loss if none of them is known to be the found one.

    Args:
        comparison: the content of ``training/comparison.json``.
        found: name of the found loss, if the comparison does not tell.
    """
    comparison = Comparison.model_validate(comparison)
    if found is not None and comparison.found is None:
        comparison = comparison.model_copy(update={"found": found})
    subjects = [loss for loss in comparison.losses if loss.name == comparison.found]
    subjects = subjects or [loss for loss in comparison.losses if loss.name != comparison.reference]
    setting = ", ".join((*filter(None, (comparison.dataset, comparison.model)), count(comparison.num_seeds, "seed")))
    if not subjects or subjects[0].name == comparison.reference:
        return f"On {setting}: only {comparison.reference} was trained, so there is nothing to compare."
    return "\n".join(f"On {setting}: {_sentence(comparison, loss)}." for loss in subjects)


def verdict_without_training(found: FoundLoss) -> str:
    """Return the verdict of a run that trained nothing."""
    accuracy = found.held_out.metrics.get(RANKING_ACCURACY)
    if accuracy is not None:
        known = f"the found loss ranks {percent(accuracy, 2)} of held-out synthetic pairs correctly"
    elif found.held_out.fitness_is_relative:
        known = f"the found loss is one of the trade-offs found: on held-out data {_goals(found)}"
    else:
        known = f"the found loss has a held-out fitness of {significant(found.held_out.fitness, 4)}{_beside(found)}"
    return f"{known[0].upper()}{known[1:]}; no trainings were compared, so how well it trains is not known."


def _beside(found: FoundLoss) -> str:
    """Return what the references come to, by the same objective on the same batch."""
    known = [f"{each.loss} {significant(each.fitness, 4)}" for each in found.references if each.fitness is not None]
    return f" (lower is better; on the same batch {', '.join(known)})" if known else ""


def _goals(found: FoundLoss) -> str:
    """Return the fitness that each loss has by each of the objectives within the objective, the found one first."""
    goals = [name for name in found.held_out.metrics if name.count(".") == 1 and name.endswith(".fitness")]

    def values(figures: Figures) -> str:
        return ", ".join(f"{goal} {significant(figures.metrics.get(goal), 4)}" for goal in goals)

    others = [f"{each.loss} {values(each)}" for each in found.references]
    return f"{values(found.held_out)} (lower is better{''.join(f'; {other}' for other in others)})"


def _sentence(comparison: Comparison, loss: ComparedLoss) -> str:
    reference = comparison.by_name[comparison.reference]
    title = comparison.title(loss.name)
    for arm, name in ((loss, title), (reference, reference.name)):
        if not arm.finished:
            return f"no verdict, for all trainings with {name} diverged ({count(arm.num_diverged, 'seed')})"
    decimals = accuracy_decimals(comparison)
    reached = (
        f"{title} reaches {percent(loss.mean('accuracy'), decimals)} against "
        f"{percent(reference.mean('accuracy'), decimals)} for {reference.name}"
    )
    difference, outcome = loss.difference, judge(loss, reference)
    if difference is None:
        return f"{reached}: no verdict, for that takes two finished trainings of each loss{_diverged(comparison, loss)}"
    shown = f"{reached}, difference {points(difference.mean, decimals)} points"
    if difference.low == difference.high:
        return f"{shown}: no verdict, for no accuracy varies over seeds{_diverged(comparison, loss)}"
    shown = f"{shown} {interval(difference, decimals)}"
    if outcome is Outcome.NO_VERDICT:
        return f"{shown}: no verdict, for {_counts(comparison, loss)} diverged, which no mean has in it"
    return f"{shown}: {outcome.value}{_diverged(comparison, loss)}"


def _diverged(comparison: Comparison, loss: ComparedLoss) -> str:
    """Return the reservation that a mean over finished trainings calls for."""
    counts = _counts(comparison, loss)
    return f", among the trainings that finished; {counts} diverged" if counts else ""


def _counts(comparison: Comparison, loss: ComparedLoss) -> str:
    """Return ``1 of 5 with edl and 2 of 5 with cross_entropy``, of those of the two that have some."""
    arms = ((loss, comparison.title(loss.name)), (comparison.by_name[comparison.reference], comparison.reference))
    return " and ".join(
        f"{arm.num_diverged} of {len(arm.results)} with {name}" for arm, name in arms if arm.num_diverged
    )
