import math

import pytest

from lossforge.spec.training import Cosine, Step, Triangular
from lossforge.training.schedule import learning_rate


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.25, 0.3, 0.9])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
def test_is_the_smaller_of_the_two_lines(num_steps, warmup_fraction):
    for step in range(num_steps):
        middle = (step + 0.5) / num_steps
        rising = 0.4 * middle / warmup_fraction if warmup_fraction else float("inf")
        falling = 0.4 * (1 - middle) / (1 - warmup_fraction)
        rate = learning_rate(Triangular(warmup_fraction=warmup_fraction), 0.4, step, num_steps)
        assert rate == pytest.approx(min(rising, falling), rel=1e-12)


def test_rises_then_falls_within_the_peak_and_ends_near_zero():
    rates = [learning_rate(Triangular(), 0.1, step, 1000) for step in range(1000)]
    top = rates.index(max(rates))
    assert top in (299, 300)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0.0998 < max(rates) <= 0.1
    assert 0 < rates[-1] < 1e-4
    assert 0 < rates[0] < 2e-4


def test_mean_is_half_the_peak():
    rates = [learning_rate(Triangular(), 0.1, step, 1000) for step in range(1000)]
    assert sum(rates) / 1000 == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("schedule", [Triangular(warmup_fraction=0.4), Cosine(warmup_fraction=0.4), Step()])
@pytest.mark.parametrize("num_steps", [1, 3, 10])
def test_rates_are_the_peaks_share(schedule, num_steps):
    for step in range(num_steps):
        rate = learning_rate(schedule, 1.0, step, num_steps)
        assert learning_rate(schedule, 0.3, step, num_steps) == pytest.approx(0.3 * rate, rel=1e-12)
        assert 0 < rate <= 1


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.25),  # u = 1/8 of a warm-up to 1/2
        (1, 0.75),
        (2, (1 + math.sqrt(0.5)) / 2),  # v = 1/4
        (3, (1 - math.sqrt(0.5)) / 2),  # v = 3/4
    ],
)
def test_cosine_by_hand(step, share):
    assert learning_rate(Cosine(warmup_fraction=0.5), 2.0, step, 4) == pytest.approx(2 * share, rel=1e-12)
    floor = Cosine(warmup_fraction=0.5, final_factor=0.2)
    expected = share if step < 2 else 0.2 + 0.8 * share
    assert learning_rate(floor, 2.0, step, 4) == pytest.approx(2 * expected, rel=1e-12)


def test_cosine_without_warm_up_goes_from_the_peak_to_what_is_left():
    rates = [learning_rate(Cosine(warmup_fraction=0.0, final_factor=0.1), 0.4, step, 1000) for step in range(1000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.4, rel=1e-5)
    assert rates[-1] == pytest.approx(0.04, rel=1e-4)
    assert sum(rates) / 1000 == pytest.approx((0.4 + 0.04) / 2, rel=1e-9)


def test_cosine_with_all_of_the_rate_left_is_constant_after_the_warm_up():
    schedule = Cosine(warmup_fraction=0.25, final_factor=1.0)
    assert [learning_rate(schedule, 0.4, step, 8) for step in range(2, 8)] == pytest.approx([0.4] * 6, rel=1e-12)


def test_steps_fall_at_the_milestones():
    rates = [learning_rate(Step(milestones=(0.5, 0.75), factor=0.1), 0.1, step, 8) for step in range(8)]
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2, rel=1e-12)


def test_a_milestone_in_the_middle_of_a_step_counts_for_it():
    rates = [learning_rate(Step(milestones=(0.5,), factor=0.25), 1.0, step, 3) for step in range(3)]
    assert rates == [1.0, 0.25, 0.25]


def test_steps_may_warm_up_and_may_have_no_milestones():
    rates = [learning_rate(Step(milestones=(), warmup_fraction=0.5), 1.0, step, 4) for step in range(4)]
    assert rates == pytest.approx([0.25, 0.75, 1.0, 1.0], rel=1e-12)


def test_a_milestone_within_the_warm_up_counts_from_its_end_on():
    schedule = Step(milestones=(0.25,), factor=0.5, warmup_fraction=0.5)
    rates = [learning_rate(schedule, 1.0, step, 4) for step in range(4)]
    assert rates == pytest.approx([0.25, 0.75, 0.5, 0.5], rel=1e-12)
    assert learning_rate(schedule, 1.0, 1, 3) == 0.5  # its middle is the end of the warm-up
