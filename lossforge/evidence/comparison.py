"""The outcome of a comparison of losses, and how it is drawn from single trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lossforge.evidence.statistics import Difference, MeanAndSD, mean_and_sd, welch_interval
from lossforge.training.result import TrainingResult

METRICS = ("accuracy", "nll", "brier", "ece", "debiased_ece")
"""What is compared: fields of :class:`lossforge.training.metrics.ClassificationMetrics`."""

SCALED = "scaled_"
"""Prefix of a metric after temperature scaling; such there are where validation images are held out."""


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one loss over the seeds whose training did not diverge.

    Attributes:
        sample: mean and standard deviation over seeds; None if all trainings diverged.
        difference: this loss minus the reference, with Welch's interval; None for the reference itself, and where one
            of the two has fewer than two trainings that did not diverge.
    """

    sample: MeanAndSD | None
    difference: Difference | None


@dataclass(frozen=True)
class LossSummary:
    """One loss of a comparison.

    Attributes:
        name: of the loss.
        results: one for each seed, in order, diverged ones included.
        metrics: a summary for each of :data:`METRICS`, and, with the prefix :data:`SCALED`, for each but accuracy after
            temperature scaling.
    """

    name: str
    results: tuple[TrainingResult, ...]
    metrics: Mapping[str, MetricSummary]

    @property
    def num_diverged(self) -> int:
        """How many trainings diverged; they are left out of ``metrics``."""
        return sum(result.metrics is None for result in self.results)

    def values(self, metric: str) -> tuple[float, ...]:
        """Return a metric of the trainings that did not diverge, in the order of the seeds."""
        return metric_values(self.results, metric)


@dataclass(frozen=True)
class Comparison:
    """Losses trained alike over the same seeds.

    Welch's interval takes the arms as independent. They share initial weights and batch order seed by seed, so where
    that makes their results rise and fall together the intervals are wider than need be.

    Attributes:
        losses: summaries by name, in the order of training.
        reference: name of the loss that differences are taken to.
        confidence: level of the intervals.
        training_seeds: the seed of each training of a loss.
    """

    losses: Mapping[str, LossSummary]
    reference: str
    confidence: float
    training_seeds: tuple[int, ...]

    def __repr__(self) -> str:
        """Return one line: how many seeds, and the accuracy of each loss, mean and standard deviation."""
        of_losses = ", ".join(f"{name} {_accuracy(loss)}" for name, loss in self.losses.items())
        num = len(self.training_seeds)
        return f"<Comparison over {num} seed{'s' * (num != 1)}, accuracy: {of_losses}>"

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each loss with trainings that diverged: they are counted, and left out of all means."""
        return tuple(
            f"{loss.num_diverged} of {len(loss.results)} trainings with {name!r} diverged and are left out of its means"
            for name, loss in self.losses.items()
            if loss.num_diverged
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, without predictions and times."""
        return {
            "reference": self.reference,
            "confidence": self.confidence,
            "training_seeds": list(self.training_seeds),
            "notes": list(self.notes),
            "losses": [
                {
                    "name": name,
                    "num_diverged": loss.num_diverged,
                    "metrics": {metric: asdict(summary) for metric, summary in loss.metrics.items()},
                    "results": [result.to_json() for result in loss.results],
                }
                for name, loss in self.losses.items()
            ],
        }


def _accuracy(loss: LossSummary) -> str:
    sample = loss.metrics["accuracy"].sample
    if sample is None:
        return "diverged"
    spread = "" if sample.sd is None else f" ± {sample.sd:.4f}"
    return f"{sample.mean:.4f}{spread}" + (f" ({loss.num_diverged} diverged)" if loss.num_diverged else "")


def metric_values(results: Sequence[TrainingResult], metric: str) -> tuple[float, ...]:
    """Return a metric, with the prefix of :data:`SCALED` or without it, of the results that did not diverge."""
    kind, name = ("scaled_metrics", metric.removeprefix(SCALED)) if metric.startswith(SCALED) else ("metrics", metric)
    return tuple(getattr(getattr(result, kind), name) for result in results if getattr(result, kind) is not None)


def summarise(
    results: Mapping[str, Sequence[TrainingResult]],
    reference: str,
    confidence: float,
    training_seeds: Sequence[int],
) -> Comparison:
    """Return the comparison of results by loss, each in the order of ``training_seeds``."""
    has_scaled = any(result.scaled_metrics is not None for of_loss in results.values() for result in of_loss)
    scaled = tuple(SCALED + metric for metric in METRICS if metric != "accuracy") if has_scaled else ()
    losses = {
        name: LossSummary(
            name=name,
            results=tuple(of_loss),
            metrics={
                metric: _metric_summary(
                    metric_values(of_loss, metric),
                    None if name == reference else metric_values(results[reference], metric),
                    confidence,
                )
                for metric in (*METRICS, *scaled)
            },
        )
        for name, of_loss in results.items()
    }
    return Comparison(losses, reference, confidence, tuple(training_seeds))


def _metric_summary(values: Sequence[float], reference: Sequence[float] | None, confidence: float) -> MetricSummary:
    comparable = reference is not None and min(len(values), len(reference)) >= 2
    return MetricSummary(
        sample=mean_and_sd(values) if values else None,
        difference=welch_interval(values, reference or (), confidence) if comparable else None,
    )
