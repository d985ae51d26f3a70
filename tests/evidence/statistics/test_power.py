"""Power against simulation and against known numbers of seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import power, power_table, seeds_needed


def test_ten_seeds_show_a_fifth_of_a_point_and_37_a_tenth():
    assert seeds_needed(0.2, 0.15) == 10
    assert seeds_needed(0.1, 0.15) == 37


@pytest.mark.parametrize(("d", "num"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_cohens_small_medium_and_large_effects(d, num):
    # Cohen 1988, table 2.4.1: n a sample for 80% power at 5%, two-sided; 393 of small effects is rounded there.
    assert seeds_needed(d, 1.0) == num
    assert seeds_needed(-10 * d, 10.0) == num


@pytest.mark.parametrize(("sd_b", "num"), [(None, 6), (0.5, 6), (3.0, 12)])
def test_power_is_the_share_of_simulated_tests_that_reject(sd_b, num):
    random = np.random.default_rng(0)
    a, b = random.normal(1.5, 1.0, (4_000, num)), random.normal(0, sd_b or 1.0, (4_000, num))
    rejected = stats.ttest_ind(a, b, axis=1, equal_var=sd_b is None).pvalue <= 0.05
    assert power(1.5, 1.0, num, sd_b=sd_b) == pytest.approx(rejected.mean(), abs=0.025)


def test_no_difference_is_shown_as_often_as_the_level_says():
    assert power(0.0, 1.0, 5, alpha=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("difference", "alpha", "wanted"), [(0.05, 0.05, 0.8), (0.3, 0.01, 0.95), (4.0, 0.05, 0.8)])
def test_one_seed_fewer_is_too_few(difference, alpha, wanted):
    num = seeds_needed(difference, 0.2, wanted, alpha)
    assert power(difference, 0.2, num, alpha) >= wanted
    assert num == 2 or power(difference, 0.2, num - 1, alpha) < wanted


def test_tiny_differences_need_as_many_as_the_normal_approximation_says():
    assert seeds_needed(1e-6, 1.0) == math.ceil(2 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / 1e-6) ** 2)


def test_the_table_has_a_row_for_each_combination():
    rows = power_table([0.15, 0.3], [0.1, 0.2], [5, 10, 40])
    assert [(row.sd, row.difference, row.num) for row in rows[:4]] == [
        (0.15, 0.1, 5),
        (0.15, 0.1, 10),
        (0.15, 0.1, 40),
        (0.15, 0.2, 5),
    ]
    assert len(rows) == 12
    assert all(row.power == power(row.difference, row.sd, row.num) for row in rows)
    assert all((row.power >= 0.8) == (row.num >= row.needed) for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        {"difference": math.nan},
        {"sd": -1.0},
        {"sd": 0.0},
        {"sd": math.inf},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"sd_b": math.nan},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        power(**{"difference": 1.0, "sd": 1.0, "num": 5} | arguments)
    with pytest.raises(ValueError, match="must"):
        seeds_needed(**{"difference": 1.0, "sd": 1.0} | arguments)


def test_what_no_number_of_seeds_can_do_is_refused():
    with pytest.raises(ValueError, match="difference of 0"):
        seeds_needed(0.0, 1.0)
    with pytest.raises(ValueError, match="power must lie"):
        seeds_needed(1.0, 1.0, power=1.0)
    with pytest.raises(ValueError, match="2 or more seeds"):
        power(1.0, 1.0, 1)
