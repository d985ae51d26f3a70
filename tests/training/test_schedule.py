import pytest

from lossforge.training.schedule import triangular_learning_rate


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.25, 0.3, 0.9])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 100])
def test_is_the_smaller_of_the_two_lines(num_steps, warmup_fraction):
    for step in range(num_steps):
        middle = (step + 0.5) / num_steps
        rising = 0.4 * middle / warmup_fraction if warmup_fraction else float("inf")
        falling = 0.4 * (1 - middle) / (1 - warmup_fraction)
        rate = triangular_learning_rate(step, num_steps, 0.4, warmup_fraction)
        assert rate == pytest.approx(min(rising, falling), rel=1e-12)


def test_rises_then_falls_within_the_peak_and_ends_near_zero():
    rates = [triangular_learning_rate(step, 1000, 0.1, 0.3) for step in range(1000)]
    top = rates.index(max(rates))
    assert top in (299, 300)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0.0998 < max(rates) <= 0.1
    assert 0 < rates[-1] < 1e-4
    assert 0 < rates[0] < 2e-4


def test_mean_is_half_the_peak():
    rates = [triangular_learning_rate(step, 1000, 0.1, 0.3) for step in range(1000)]
    assert sum(rates) / 1000 == pytest.approx(0.05, rel=1e-5)
