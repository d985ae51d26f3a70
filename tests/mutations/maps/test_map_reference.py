"""Distributions of maps without a closed form, against the equation that the sine map's solves, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lossforge.mutations.maps import MAPS
from lossforge.mutations.maps.base import advance
from lossforge.mutations.maps.reference import NUM_KNOTS, reference

every_ensemble = pytest.mark.parametrize("name", ["sine", "circle", "henon"])


def sine_distribution() -> tuple[np.ndarray, np.ndarray]:
    """Return x and F(x) of the sine map, from F(sin(pi x)) = F(x) + 1 - F(1 - x) for x below 1/2.

    An orbit is below sin(pi x) if it was below x or above 1 - x. Iterated on a grid in (2/pi) asin(sqrt x), in which F
    is smooth.
    """
    angle = np.linspace(0, 1, 8193)
    x = np.sin(np.pi / 2 * angle) ** 2
    before = np.arcsin(x) / np.pi
    share = angle.copy()
    for _ in range(100):
        lower, upper = (np.interp(2 / np.pi * np.arcsin(np.sqrt(each)), angle, share) for each in (before, 1 - before))
        share = lower + 1 - upper
    return x, share


class TestSine:
    def test_distribution_function(self):
        x, share = sine_distribution()
        ours = MAPS["sine"].cdf(torch.from_numpy(x)).numpy()
        assert np.abs(ours - share).max() < 1.5e-3

    def test_moments(self):
        """E x^k = 1 - integral of k x^(k-1) F(x)."""
        x, share = sine_distribution()
        mean, square = 1 - np.trapezoid(share, x), 1 - np.trapezoid(2 * x * share, x)
        sd = math.sqrt(square - mean**2)
        assert mean == pytest.approx(0.468, abs=5e-4)
        ours = reference(MAPS["sine"])
        assert ours.mean == pytest.approx(mean, abs=0.001 * sd)
        assert ours.sd == pytest.approx(sd, rel=0.001)


@every_ensemble
class TestEnsemble:
    def test_it_agrees_with_another(self, name):
        chaotic_map, source = MAPS[name], torch.Generator().manual_seed(99)
        orbit = chaotic_map.fresh((2**16,), source)
        for _ in range(100):
            orbit, _ = advance(chaotic_map, orbit, source)
        assert stats.kstest(chaotic_map.cdf(orbit).numpy(), stats.uniform.cdf).pvalue > 1e-3
        steps = chaotic_map.standardised(orbit)
        assert steps.mean().item() == pytest.approx(0, abs=5 / 2**8)
        assert steps.var().item() == pytest.approx(1, abs=5 * steps.square().std().item() / 2**8)

    def test_gaussianised_tails_are_normal(self, name):
        """Beyond 3 standard deviations, where a table with even shares would be coarse."""
        chaotic_map, source, steps = MAPS[name], torch.Generator().manual_seed(5), []
        orbit = chaotic_map.fresh((2**14,), source)
        for index in range(120):
            orbit, _ = advance(chaotic_map, orbit, source)
            if index >= 100:
                steps.append(torch.special.ndtri(chaotic_map.cdf(orbit)))
        beyond = torch.cat(steps).abs() > 3
        assert beyond.double().mean().item() == pytest.approx(2 * stats.norm.sf(3), rel=0.15)

    def test_it_is_computed_once(self, name):
        assert reference(MAPS[name]) is reference(MAPS[name])

    def test_knots_rise_and_what_lies_beyond_is_clamped(self, name):
        found = reference(MAPS[name])
        assert len(found.knots) == NUM_KNOTS
        assert (found.knots.diff() > 0).all()
        assert (found.shares.diff() > 0).all()
        ends = found.cdf(torch.tensor([-9.0, 9.0], dtype=torch.float64))
        assert torch.special.ndtri(ends).tolist() == pytest.approx([-5, 5], abs=1e-6)
        torch.testing.assert_close(found.cdf(found.knots), found.shares, rtol=0, atol=1e-15)


def test_it_is_the_same_again_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    again = reference.__wrapped__(MAPS["henon"])
    assert torch.equal(torch.get_rng_state(), before)
    found = reference(MAPS["henon"])
    assert (again.mean, again.sd) == (found.mean, found.sd)
    assert torch.equal(again.knots, found.knots)
