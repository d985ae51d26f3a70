"""Verdicts on samples whose outcome is known, and the sentences that tell them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import seeds_needed, welch_interval
from lossforge.evidence.verdict import MEASURES, Measure, Outcome, judge, sentence

ACCURACY = MEASURES["accuracy"]
POINTS = Measure("score", True, decimals=2)


def around(mean, sd=0.1, num=5):
    """A sample of just this mean and standard deviation."""
    steps = np.arange(num) - (num - 1) / 2
    return (mean + sd * steps / steps.std(ddof=1)).tolist()


@pytest.mark.parametrize(
    ("gain", "margin", "outcome", "within"),
    [
        (1.0, 0.5, Outcome.BETTER, True),
        (-1.0, 0.5, Outcome.WORSE, False),
        (-0.3, 0.5, Outcome.WORSE, True),
        (0.0, 0.5, Outcome.NO_WORSE, True),
        (0.0, 0.1, Outcome.UNDECIDED, False),
    ],
)
def test_the_interval_decides_whichever_way_is_better(gain, margin, outcome, within):
    # sd 0.1, 5 seeds: the interval reaches 0.146 to both sides.
    found = judge(around(50 + gain), around(50), POINTS, margin)
    assert (found.outcome, found.within_margin) == (outcome, within)
    lower = judge(around(50 - gain), around(50), Measure("error", False), margin)
    assert (lower.outcome, lower.within_margin) == (outcome, within)
    assert lower.gain.mean == pytest.approx(gain)


def test_its_numbers_are_those_of_welchs_test_in_points():
    a, b = around(0.64, 0.004), around(0.63, 0.006, 4)
    found = judge(a, b, ACCURACY, 0.5, 0.9)
    expected = welch_interval(a, b, 0.9)
    assert (found.difference.low, found.difference.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert found.p_value == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert (found.sample_a.mean, found.sample_a.num, found.sample_b.num) == (pytest.approx(64), 5, 4)
    assert json.loads(json.dumps(found.to_json()))["outcome"] == found.outcome.value


def test_a_corrected_p_value_must_agree():
    for gain, alone in ((1.0, Outcome.BETTER), (-1.0, Outcome.WORSE)):
        assert judge(around(gain), around(0), POINTS, 0.5, corrected_p=0.05).outcome is alone
    assert judge(around(1.0), around(0), POINTS, 0.5, corrected_p=0.06).outcome is Outcome.NO_WORSE
    undecided = judge(around(-1.0), around(0), POINTS, 0.5, corrected_p=0.06)
    assert undecided.outcome is Outcome.UNDECIDED
    assert undecided.needed > 5


class TestSeedsNeeded:
    def test_they_show_a_difference_of_the_margin(self):
        found = judge(around(0.0, 0.8), around(0.05, 0.8), POINTS, 0.5)
        assert found.outcome is Outcome.UNDECIDED
        assert found.needed == seeds_needed(0.5, 0.8) == 42

    def test_more_where_the_difference_measured_lies_between_0_and_the_margin(self):
        # 10 seeds show 0.2 points, and 12 were run; a deficit of 0.11 is hard to tell from 0 and from 0.2.
        found = judge(around(-0.11, 0.15, 12), around(0, 0.15, 12), POINTS, 0.2)
        assert found.outcome is Outcome.UNDECIDED
        assert found.needed > 12
        again = [around(mean, 0.15, found.needed) for mean in (-0.11, 0.0)]
        assert judge(*again, POINTS, 0.2).outcome is not Outcome.UNDECIDED

    def test_more_where_p_values_are_corrected(self):
        # Holm's least of five p-values must be 0.01: with sd 0.5, 17 seeds show half a point at 0.05, 26 at 0.01.
        arms = around(-0.1, 0.5, 10), around(0, 0.5, 10)
        assert judge(*arms, POINTS, 0.5, corrected_p=0.6).needed == seeds_needed(0.5, 0.5) == 17
        corrected = judge(*arms, POINTS, 0.5, corrected_p=0.6, num_compared=5)
        assert corrected.needed == seeds_needed(0.5, 0.5, 0.8, 0.01) == 26

    def test_none_where_it_is_decided(self):
        assert judge(around(1.0), around(0), POINTS, 0.5).needed is None


class TestDivergence:
    """No mean has a training in it that diverged, so that these flatter their arm."""

    def test_no_seeds_are_said_to_decide_what_they_cannot(self):
        assert judge(around(0.0), around(0), POINTS, 0.1).outcome is Outcome.UNDECIDED
        found = judge(around(0.0), around(0), POINTS, 0.1, num_diverged=(1, 0))
        assert (found.outcome, found.needed) == (Outcome.NO_VERDICT, None)

    @pytest.mark.parametrize(
        ("gain", "num_diverged", "outcome"),
        [
            (1.0, (1, 0), Outcome.NO_VERDICT),
            (0.0, (1, 0), Outcome.NO_VERDICT),
            (-1.0, (1, 0), Outcome.WORSE),
            (1.0, (0, 1), Outcome.BETTER),
            (0.0, (0, 1), Outcome.NO_WORSE),
            (-1.0, (0, 1), Outcome.NO_VERDICT),
        ],
    )
    def test_an_arm_is_not_praised_for_what_finished(self, gain, num_diverged, outcome):
        assert judge(around(gain), around(0), POINTS, 0.5, num_diverged=num_diverged).outcome is outcome


class TestNoVerdict:
    def test_where_nothing_varies(self):
        found = judge([0.5] * 3, [0.4] * 3, ACCURACY, 0.5)
        assert found.outcome is Outcome.NO_VERDICT
        assert not found.within_margin
        assert sentence(found, "edl", "ce").endswith(
            "difference +10.00 points [+10.00, +10.00]: no verdict, for no accuracy varies over seeds"
        )

    def test_one_arm_that_varies_is_enough(self):
        assert judge([0.5] * 3, [0.4, 0.41, 0.42], ACCURACY, 0.5).outcome is Outcome.BETTER

    def test_where_too_few_trainings_finished(self):
        assert sentence(judge([0.5], around(0.4), ACCURACY, 0.5, num_diverged=(4, 0)), "edl", "ce") == (
            "edl reaches accuracy 50.00% against 40.00% for ce (n = 1 and 5): no verdict, for that takes two finished "
            "trainings of each, among the trainings that finished; 4 of 5 with edl diverged"
        )
        found = judge(around(0.4), [], ACCURACY, 0.5, num_diverged=(0, 3))
        assert found.outcome is Outcome.NO_VERDICT
        assert sentence(found, "edl", "ce") == "no verdict, for all trainings with ce diverged (n = 3)"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            judge(around(0.65, 0.001), around(0.64, 0.001), ACCURACY, 0.5, corrected_p=0.012),
            "edl reaches accuracy 65.00% against 64.00% for ce (n = 5 and 5), difference +1.00 points [+0.85, +1.15]: "
            "better (corrected p = 0.012)",
        ),
        (
            judge(around(0.637, 0.001), around(0.64, 0.001), ACCURACY, 0.5),
            "edl reaches accuracy 63.70% against 64.00% for ce (n = 5 and 5), difference -0.30 points [-0.45, -0.15]: "
            "worse, by less than 0.5 points",
        ),
        (
            judge(around(1.0, 0.1), around(1.0, 0.1), MEASURES["nll"], 0.2, num_diverged=(0, 1)),
            "edl reaches NLL 1.0000 nats against 1.0000 nats for ce (n = 5 and 5), difference +0.0000 nats "
            "[-0.1458, +0.1458]: no worse than by 0.2 nats, among the trainings that finished; "
            "1 of 6 with ce diverged",
        ),
        (
            judge(around(0.65, 0.001), around(0.64, 0.001), ACCURACY, 0.5, corrected_p=0.012, num_diverged=(8, 2)),
            "edl reaches accuracy 65.00% against 64.00% for ce (n = 5 and 5), difference +1.00 points [+0.85, +1.15]: "
            "no verdict, for 8 of 13 with edl and 2 of 7 with ce diverged, which no mean has in it",
        ),
        (
            judge(around(0.646, 0.005, 10), around(0.64, 0.005, 10), ACCURACY, 0.5, corrected_p=0.1, num_compared=5),
            "edl reaches accuracy 64.60% against 64.00% for ce (n = 10 and 10), difference +0.60 points "
            "[+0.13, +1.07]: no worse than by 0.5 points (corrected p = 0.1)",
        ),
        (
            judge(around(0.5, 0.1), around(0.5, 0.1), MEASURES["brier"], 0.1),
            "edl reaches Brier score 0.5000 against 0.5000 for ce (n = 5 and 5), difference +0.0000 "
            "[-0.1458, +0.1458]: undecided: needs about 17 seeds an arm to tell 0.1",
        ),
    ],
)
def test_the_sentence_has_the_numbers_and_the_conclusion(found, told):
    assert sentence(found, "edl", "ce") == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"margin": 0.0}, "margin must be"),
        ({"margin": math.inf}, "margin must be"),
        ({"margin": math.nan}, "margin must be"),
        ({"corrected_p": 1.5}, "corrected_p must"),
        ({"confidence": 95}, "confidence must"),
        ({"a": []}, "at least one training"),
        ({"num_diverged": (-1, 0)}, "at least one training"),
        ({"num_compared": 0}, "num_compared must"),
        ({"b": [0.1, math.nan]}, "finite"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        judge(**{"a": around(0.5), "b": around(0.5), "measure": ACCURACY, "margin": 0.5} | arguments)
