"""What a comparison has shown as rows: of CSV files, with every number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lossforge.evidence import ConditionEvidence, Evidence
from lossforge.evidence.judgement import Judged
from lossforge.evidence.statistics import CrossedInterval, MeanAndSD, power_table
from lossforge.report.evidence_content import EvidenceContent

Row = dict[str, Any]

DIFFERENCES, NUMBERS = (0.5, 1.0, 2.0), (3, 5, 10, 20, 50)
"""Of the power table: multiples of the margin, and seeds."""


def loss_rows(evidence: Evidence) -> Iterator[Row]:
    """Yield each contender under each condition and metric: its sample, and what it shows against the reference."""
    for name, condition in evidence.conditions.items():
        judged = {(row.metric, row.a): row for row in condition.judgement.against_reference}
        for loss in condition.comparison.losses.values():
            for metric, summary in loss.metrics.items():
                yield {
                    "condition": name,
                    "metric": metric,
                    "loss": loss.name,
                    "role": condition.roles[loss.name],
                    **_tuned(condition, loss.name),
                    "num_diverged": loss.num_diverged,
                    **_sample(summary.sample),
                    **_interval(condition.judgement.intervals.get(loss.name, {}).get(metric)),
                    **_judged(judged.get((metric, loss.name))),
                }


def pair_rows(evidence: Evidence) -> Iterator[Row]:
    """Yield the accuracy of each found loss against every other contender."""
    for name, condition in evidence.conditions.items():
        for row in condition.judgement.pairs:
            yield {"condition": name, "metric": row.metric, "loss": row.a, "against": row.b, **_judged(row)}


def tuning_rows(evidence: Evidence) -> Iterator[Row]:
    """Yield each point that was tried for each contender."""
    for name, condition in evidence.conditions.items():
        for loss, tuned in condition.tuned.items():
            for point, score in tuned.scores.items():
                chosen = {"is_chosen": point == tuned.point, "is_at_edge": tuned.is_at_edge}
                yield {"condition": name, "loss": loss, **point._asdict(), "score": score, **chosen}


def training_rows(evidence: Evidence) -> Iterator[Row]:
    """Yield each final training."""
    for name, condition in evidence.conditions.items():
        for loss in condition.comparison.losses.values():
            for index, result in enumerate(loss.results):
                scalars = {} if result.metrics is None else result.metrics.to_json()
                yield {
                    "condition": name,
                    "loss": loss.name,
                    "seed_index": index,
                    "training_seed": condition.training_seeds[loss.name][index],
                    "diverged_at_epoch": result.diverged_at_epoch,
                    "selected_epoch": result.selected_epoch,
                    "temperature": result.temperature,
                    **{metric: value for metric, value in scalars.items() if isinstance(value, float)},
                    **{f"scaled_{metric}": value for metric, value in _scaled(result.scaled_metrics)},
                }


def power_rows(sds: Iterable[float], margin: float, confidence: float, num: int) -> Iterator[Row]:
    """Yield the power of comparisons of accuracy: by standard deviation and difference, in points, and seeds."""
    differences = [factor * margin for factor in DIFFERENCES]
    for row in power_table(sds, differences, sorted({*NUMBERS, num}), alpha=1 - confidence):
        yield {"sd": row.sd, "difference": row.difference, "seeds": row.num, "power": row.power, "needed": row.needed}


def reliability_rows(evidence: EvidenceContent) -> Iterator[Row]:
    """Yield each bin of confidence of each contender."""
    for condition in evidence.conditions:
        for loss, bins in condition.reliability.items():
            for index, num in enumerate(() if bins is None else bins.num):
                assert bins is not None
                yield {
                    "condition": condition.name,
                    "loss": loss,
                    "above": index / len(bins.num),
                    "up_to": (index + 1) / len(bins.num),
                    "num": num,
                    "confidence": bins.confidence[index],
                    "accuracy": bins.accuracy[index],
                    "num_trainings": bins.num_trainings,
                }


def as_csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV; a column that a row lacks is empty."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _tuned(condition: ConditionEvidence, loss: str) -> Row:
    tuned = condition.tuned.get(loss)
    if tuned is None:
        training = condition.training
        return {"learning_rate": training.learning_rate, "weight_decay": training.weight_decay, "num_tuning": 0}
    return {**tuned.point._asdict(), "num_tuning": len(tuned.scores)}


def _sample(sample: MeanAndSD | None) -> Row:
    return {} if sample is None else {"mean": sample.mean, "sd": sample.sd, "n": sample.num}


def _interval(interval: CrossedInterval | None) -> Row:
    return {} if interval is None else {"interval_low": interval.low, "interval_high": interval.high}


def _scaled(metrics: Any) -> Sequence[tuple[str, float]]:
    values: Mapping[str, Any] = {} if metrics is None else metrics.to_json()
    return [(name, value) for name, value in values.items() if isinstance(value, float) and name != "accuracy"]


def _judged(row: Judged | None) -> Row:
    if row is None or row.welch is None:
        return {}
    found: Row = {
        "difference": row.welch.difference.mean,
        "welch_low": row.welch.difference.low,
        "welch_high": row.welch.difference.high,
        "welch_p": row.welch.p_value,
        "holm_p": row.corrected_p,
    }
    if row.permutation is not None:
        found |= {"permutation_p": row.permutation.p_value, "permutation_exact": row.permutation.exact}
    if row.improvement is not None:
        each = row.improvement
        found |= {"improvement": each.probability, "improvement_low": each.low, "improvement_high": each.high}
    if row.effect is not None:
        found |= {"hedges_g": row.effect.g, "hedges_g_low": row.effect.low, "hedges_g_high": row.effect.high}
    if row.bootstrap is not None:
        found |= {"bootstrap_low": row.bootstrap.low, "bootstrap_high": row.bootstrap.high}
        found |= {"num_examples": row.bootstrap.num_examples}
    return found
