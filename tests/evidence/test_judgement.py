"""What a comparison shows of each contender: whom Holm's correction is over, and which way a pair is turned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from lossforge.evidence.comparison import summarise
from lossforge.evidence.judgement import judgement
from lossforge.evidence.statistics import crossed_bootstrap, example_values, welch_interval
from lossforge.evidence.verdict import MEASURES, Outcome, judge
from lossforge.report.control_notes import control_notes
from lossforge.training import ClassificationMetrics, EpochRecord, Predictions, TrainingResult

ROLES = {
    "edl": "found",
    "gce": "published",
    "sce": "published",
    "ce": "published",
    "ce again": "null",
    "random edl": "random",
    "ce stopped early": "stopped_early",
}
ACCURACIES = {
    "edl": [0.698, 0.703, 0.707, 0.712],
    "gce": [0.695, 0.705, 0.715, 0.705],
    "sce": [0.682, 0.692, 0.697, 0.712],
    "ce": [0.692, 0.700, 0.696, 0.690],
    "ce again": [0.60, 0.61, 0.62, 0.61],
    "random edl": [0.690, 0.694, 0.698, 0.694],
    "ce stopped early": [0.650, 0.654, 0.658, 0.654],
}
DIVERGED = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1)


def result(accuracy):
    metrics = ClassificationMetrics(accuracy, 2 - accuracy, 1 - accuracy, accuracy / 10, accuracy / 20, (accuracy,))
    return TrainingResult(metrics, (EpochRecord(1, 1.0, 0.5),), None, seconds=1.0)


def judged(**changes):
    results = {name: list(map(result, values)) for name, values in ACCURACIES.items()} | changes
    return judgement(summarise(results, "ce", 0.95, (1, 2, 3, 4)), ROLES, 0.5)


def by_hand(p_values):
    """Holm (1979): the j-th least of m times m - j + 1, never below an earlier one."""
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(1, corrected)[np.argsort(order)]


def test_the_correction_is_over_the_losses_that_are_compared_without_controls():
    claims = ("edl", "gce", "sce")
    of_accuracy = {row.a: row for row in judged().against_reference if row.metric == "accuracy"}
    assert list(of_accuracy) == [name for name in ACCURACIES if name != "ce"]
    p_values = [stats.ttest_ind(ACCURACIES[name], ACCURACIES["ce"], equal_var=False).pvalue for name in claims]
    assert [of_accuracy[name].welch.p_value for name in claims] == pytest.approx(p_values)
    assert [of_accuracy[name].corrected_p for name in claims] == pytest.approx(by_hand(p_values))
    assert [of_accuracy[name].corrected_p for name in ROLES if name not in (*claims, "ce")] == [None] * 3


def test_a_verdict_hangs_on_the_corrected_p_value_and_its_seeds_on_how_many_there_are():
    verdicts = judged().verdicts
    edl = verdicts["edl"]
    assert edl.p_value < 0.05 < edl.corrected_p
    assert edl.outcome is Outcome.NO_WORSE
    sce = verdicts["sce"]
    arms = ACCURACIES["sce"], ACCURACIES["ce"], MEASURES["accuracy"], 0.5, 0.95, sce.corrected_p
    assert sce.needed == judge(*arms, num_compared=3).needed > judge(*arms).needed
    assert verdicts["ce again"].corrected_p is None


def test_found_losses_are_held_against_all_others_found_minus_other():
    pairs = {(row.a, row.b): row for row in judged().pairs}
    assert list(pairs) == [("edl", name) for name in ROLES if name not in ("edl", "ce")]
    expected = welch_interval(ACCURACIES["edl"], ACCURACIES["random edl"], 0.95)
    assert pairs["edl", "random edl"].difference == expected
    assert expected.mean > 0


def test_notes_tell_what_chance_does_what_the_search_buys_and_what_stopping_early_leaves():
    intervals = []
    for other in ("random edl", "ce stopped early"):
        test = stats.ttest_ind(ACCURACIES["edl"], ACCURACIES[other], equal_var=False)
        low, high = test.confidence_interval(0.95)
        intervals.append(f"[{100 * low:+.2f}, {100 * high:+.2f}]")
    notes = list(control_notes(judged(), ROLES, dict.fromkeys(ROLES, 0)))
    assert notes == [
        "ce again is the reference once more, and is worse than it by 8.45 points: so much is chance, that of tuning "
        "included, and differences of this size say little of losses here. With more evidence.tuning.seeds, or more "
        "images held out, it is less.",
        f"What the search buys: edl minus random members of its family, +1.10 points {intervals[0]}.",
        f"edl minus ce stopped early: +5.10 points {intervals[1]}.",
    ]
    reserved = list(control_notes(judged(), ROLES, dict.fromkeys(ROLES, 0) | {"random edl": 1}))
    assert reserved == [notes[0], f"{notes[1][:-1]}, among the trainings that finished.", notes[2]]
    level = judged(**{"ce again": [result(value) for value in ACCURACIES["ce"]]})
    assert list(control_notes(level, ROLES, dict.fromkeys(ROLES, 0))) == notes[1:]


def test_a_loss_is_not_better_where_trainings_diverged():
    finished = [result(0.9), result(0.901)]
    found = judged(edl=[*finished, DIVERGED, DIVERGED]).verdicts["edl"]
    assert found.gain.low > 0
    assert (found.outcome, found.num_diverged_a) == (Outcome.NO_VERDICT, 2)


def test_without_two_finished_trainings_nothing_is_judged():
    rows = judged(edl=[result(0.9), DIVERGED, DIVERGED, DIVERGED])
    (row,) = [row for row in rows.against_reference if (row.a, row.metric) == ("edl", "accuracy")]
    assert dataclasses.asdict(row)["welch"] is None
    assert row.corrected_p is None
    (of_chance,) = control_notes(rows, ROLES, dict.fromkeys(ROLES, 0))
    assert of_chance.startswith("ce again is the reference")


def test_each_contender_has_an_interval_of_its_own_over_seeds_and_test_images():
    labels_N = torch.arange(40) % 4

    def tested(index):
        logits_NC = torch.nn.functional.one_hot(labels_N, 4) + torch.randn(
            40, 4, generator=torch.Generator().manual_seed(index)
        )
        return dataclasses.replace(result(0.7), test=Predictions(logits_NC, labels_N))

    results = [tested(index) for index in range(3)]
    intervals = judged(edl=[*results, DIVERGED], gce=[results[0], DIVERGED, DIVERGED, DIVERGED]).intervals
    assert list(intervals["edl"]) == ["accuracy", "nll", "brier"]  # the bias of a calibration error is too uncertain
    for metric in intervals["edl"]:
        values = example_values(metric, [each.test.logits_NC for each in results], labels_N)
        assert intervals["edl"][metric] == crossed_bootstrap(values)
    assert intervals["edl"]["accuracy"].low < intervals["edl"]["accuracy"].estimate
    assert set(intervals["gce"].values()) == set(intervals["sce"].values()) == {None}  # one seed; no predictions
