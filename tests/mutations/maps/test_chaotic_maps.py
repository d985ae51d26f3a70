"""Chaotic maps: formulas, invariant densities, Lyapunov exponents, and points from which there is no return."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from lossforge.mutations import ChaoticMutation
from lossforge.mutations.maps import MAPS, ChaoticMap
from lossforge.mutations.maps.base import advance
from lossforge.mutations.maps.sines import COEFFICIENTS, sin_pi
from lossforge.mutations.maps.tent import NOISE

every_map = pytest.mark.parametrize("name", MAPS)
CLOSED_FORMS = {
    "logistic": stats.arcsine(),
    "tent": stats.uniform(),
    "chebyshev": stats.arcsine(loc=-1, scale=2),
    # Density 1 / (ln 2 (1 + x)) on (0, 1): log-uniform on (1, 2), shifted.
    "gauss": stats.loguniform(1, 2, loc=-1),
}
closed_form = pytest.mark.parametrize("name", CLOSED_FORMS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def first(name: str, orbit: Tensor) -> Tensor:
    """Return the coordinate that steps are made of."""
    return orbit[..., 0] if MAPS[name].point_shape else orbit


def run(chaotic_map: ChaoticMap, num_orbits: int, num_steps: int, seed: int = 0, burn_in: int = 100) -> Tensor:
    """Return the orbits after burn-in, (num_steps, num_orbits) and the shape of a point."""
    source = generator(seed)
    orbit, orbits = chaotic_map.fresh((num_orbits,), source), []
    for index in range(burn_in + num_steps):
        orbit, _ = advance(chaotic_map, orbit, source)
        if index >= burn_in:
            orbits.append(orbit)
    return torch.stack(orbits)


def numpy_orbits(name: str, num: int, seed: int = 1) -> np.ndarray:
    """Return the last points of orbits of maps without a closed form, as NumPy has their formulas."""
    random = np.random.default_rng(seed)
    x, y = random.random(num), 0.1 * random.random(num)
    for _ in range(300):
        if name == "sine":
            x = np.sin(np.pi * x)
        elif name == "circle":
            x = (x + 0.2 - 4 * np.pi / (2 * np.pi) * np.sin(2 * np.pi * x)) % 1
        else:
            x, y = 1 - 1.4 * x**2 + y, 0.3 * x
    return x


def test_the_operator_offers_every_map():
    assert get_args(ChaoticMutation.model_fields["map"].annotation) == tuple(MAPS)


class TestPortableSine:
    def test_it_is_a_sine(self):
        x = torch.linspace(0, 1, 100_001, dtype=torch.float64)
        expected = np.sin(np.longdouble("3.14159265358979323846264338327950288") * x.numpy().astype(np.longdouble))
        assert np.abs(sin_pi(x).numpy() - expected).max() < 5e-16

    def test_small_arguments_keep_their_digits(self):
        x = torch.logspace(-300, -3, 500, dtype=torch.float64)
        torch.testing.assert_close(sin_pi(x), torch.from_numpy(np.sin(np.pi * x.numpy())), rtol=1e-15, atol=0)

    def test_ends_and_symmetry_are_exact(self):
        assert sin_pi(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist() == [0.0, 0.0]
        x = torch.rand(1000, dtype=torch.float64, generator=generator())
        upper = 1.0 - x  # exact to the last bit in the other direction
        assert torch.equal(sin_pi(upper), sin_pi(1.0 - upper))

    def test_coefficients_are_those_of_taylor(self):
        expected = [(-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(12)]
        assert pytest.approx(expected, rel=1e-14) == COEFFICIENTS


def python_sine(x: float) -> float:
    """Return sin(pi x) by the operations of ``sin_pi``, in Python's own floats."""
    folded = min(x, 1.0 - x)
    total = COEFFICIENTS[-1]
    for coefficient in COEFFICIENTS[-2::-1]:
        total = total * (folded * folded) + coefficient
    return total * folded


def python_circle(x: float) -> float:
    sine = -python_sine(2.0 * x - 1.0) if x > 0.5 else python_sine(2.0 * x)
    moved = x + 0.2 - 2.0 * sine
    return moved - math.floor(moved)


SCALAR_STEPS: dict[str, Callable[[float], float]] = {
    "logistic": lambda x: 4.0 * x * (1.0 - x),
    "sine": python_sine,
    "chebyshev": lambda x: x * (4.0 * x * x - 3.0),
    "gauss": lambda x: 1.0 / x - math.floor(1.0 / x),
    "circle": python_circle,
}


class TestBits:
    """Every operation is rounded as IEEE 754 says, so Python's floats come to the same bits as vectorised tensors."""

    @pytest.mark.parametrize("name", SCALAR_STEPS)
    def test_of_maps_of_the_line(self, name):
        orbits = run(MAPS[name], 33, 300)  # an odd number: vectorised and scalar code both take part
        for points in orbits[:, ::8].T.tolist():
            assert points[1:] == [SCALAR_STEPS[name](x) for x in points[:-1]]

    def test_of_henon(self):
        orbits = run(MAPS["henon"], 33, 300)
        for (x, y), (next_x, next_y) in zip(orbits[:-1, 5].tolist(), orbits[1:, 5].tolist(), strict=True):
            assert (next_x, next_y) == (1.0 + y - 1.4 * (x * x), 0.3 * x)

    def test_of_tent(self):
        x = torch.rand(65, dtype=torch.float64, generator=generator())
        noise = 2 * torch.rand(65, dtype=torch.float64, generator=generator(1)) - 1
        following = MAPS["tent"].step(x, generator(1))
        for each, shift, after in zip(x.tolist(), noise.tolist(), following.tolist(), strict=True):
            assert after == 1.0 - abs(1.0 - abs(1.0 - abs(1.0 - 2.0 * each) + 1e-12 * shift))


class TestFormulas:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("logistic", lambda x: 4 * x * (1 - x)),
            ("tent", lambda x: np.where(x < 0.5, 2 * x, 2 - 2 * x)),
            ("sine", lambda x: np.sin(np.pi * x)),
            ("chebyshev", lambda x: np.cos(3 * np.arccos(x))),
            ("gauss", lambda x: np.mod(1 / x, 1)),
            ("circle", lambda x: np.mod(x + 0.2 - 4 * np.pi / (2 * np.pi) * np.sin(2 * np.pi * x), 1)),
        ],
    )
    def test_of_maps_of_the_line(self, name, expected):
        x = torch.linspace(-0.999 if name == "chebyshev" else 0.001, 0.999, 1777, dtype=torch.float64)
        actual = MAPS[name].step(x, generator())
        atol = NOISE + 1e-14 if name == "tent" else 1e-13
        torch.testing.assert_close(actual, torch.from_numpy(expected(x.numpy())), rtol=0, atol=atol)

    def test_of_henon(self):
        """Henon's own coordinates, of which (x, y) after a step are (1 + y - a x^2, b x)."""
        points = torch.tensor([[0.3, -0.2], [1.2, 0.1]], dtype=torch.float64)
        expected = [[1 - 0.2 - 1.4 * 0.09, 0.09], [1 + 0.1 - 1.4 * 1.44, 0.36]]
        torch.testing.assert_close(
            MAPS["henon"].step(points, generator()), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15
        )


class TestDensity:
    @closed_form
    def test_orbits_have_the_closed_form(self, name):
        orbit = run(MAPS[name], 5000, 1)[0]
        assert stats.kstest(orbit.numpy(), CLOSED_FORMS[name].cdf).pvalue > 1e-3

    @pytest.mark.parametrize("name", ["logistic", "tent", "chebyshev"])
    def test_so_have_fresh_points(self, name):
        orbit = MAPS[name].fresh((5000,), generator(1))
        assert stats.kstest(orbit.numpy(), CLOSED_FORMS[name].cdf).pvalue > 1e-3

    @closed_form
    def test_the_distribution_function_is_that_of_scipy(self, name):
        distribution = CLOSED_FORMS[name]
        x = torch.linspace(*distribution.support(), 501, dtype=torch.float64)
        torch.testing.assert_close(MAPS[name].cdf(x), torch.from_numpy(distribution.cdf(x.numpy())), rtol=0, atol=1e-8)

    @closed_form
    def test_standardised_is_by_the_exact_moments(self, name):
        distribution, density = CLOSED_FORMS[name], CLOSED_FORMS[name].ppf
        for power, expected in ((1, 0.0), (2, 1.0)):  # E zeta^k as an integral over u = F(x)
            moment, _ = integrate.quad(lambda u, k=power: _standardised(name, density(u)) ** k, 0, 1)
            assert moment == pytest.approx(expected, abs=1e-7)
        mean, variance = distribution.stats("mv")
        x = np.array([0.1, 0.7])
        expected = (x - mean) / math.sqrt(variance)
        assert MAPS[name].standardised(torch.from_numpy(x)).numpy() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("name", ["sine", "circle", "henon"])
    def test_the_others_agree_with_an_ensemble_of_numpy(self, name):
        ours = first(name, run(MAPS[name], 8000, 1)[0]).numpy()
        theirs = numpy_orbits(name, 8000)
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3

    @every_map
    def test_time_and_ensemble_agree(self, name):
        """Some long orbits, in 20 cells of equal probability; every 25th point, for orbits remember a few steps."""
        orbit = run(MAPS[name], 40, 25 * 80, seed=3)[::25]
        cells = (20 * MAPS[name].cdf(orbit).flatten()).long().clamp(0, 19)
        assert stats.chisquare(torch.bincount(cells, minlength=20).numpy()).pvalue > 1e-3


def _standardised(name: str, x: float) -> float:
    return MAPS[name].standardised(torch.tensor(x, dtype=torch.float64)).item()


SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "logistic": lambda x: 4 - 8 * x,
    "tent": lambda x: torch.full_like(x, 2.0),
    "sine": lambda x: math.pi * torch.cos(math.pi * x),
    "chebyshev": lambda x: 12 * x**2 - 3,
    "gauss": lambda x: x**-2,
    "circle": lambda x: 1 - 4 * math.pi * torch.cos(2 * math.pi * x),
}


class TestLyapunovExponents:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("logistic", math.log(2)),
            ("tent", math.log(2)),
            ("sine", 0.689),
            ("chebyshev", math.log(3)),
            ("gauss", math.pi**2 / (6 * math.log(2))),
            ("circle", 1.86),
        ],
    )
    def test_of_maps_of_the_line(self, name, expected):
        """The mean of ln |f'| along each of 200 orbits of 1,000 steps: positive for all of them."""
        exponents = SLOPES[name](run(MAPS[name], 200, 1000)).abs().log().mean(dim=0)
        assert exponents.min() > 0.5
        assert exponents.mean().item() == pytest.approx(expected, abs=0.01)

    def test_of_henon(self):
        """0.419: growth of tangent vectors under the Jacobian [[-2 a x, 1], [b, 0]], whose determinant is -b."""
        orbits = run(MAPS["henon"], 200, 1000)
        tangent, growth = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(200, 2), torch.zeros(200)
        for x, _ in (orbit.unbind(dim=1) for orbit in orbits):
            u, v = tangent.unbind(dim=1)
            tangent = torch.stack((-2.8 * x * u + v, 0.3 * u), dim=1)
            length = tangent.norm(dim=1, keepdim=True)
            tangent, growth = tangent / length, growth + length.squeeze(1).log()
        assert (growth / 1000).min() > 0.3
        assert (growth / 1000).mean().item() == pytest.approx(0.419, abs=0.005)

    @every_map
    def test_orbits_that_differ_by_a_billionth_part(self, name):
        chaotic_map, size = MAPS[name], 1e-9
        orbit = run(chaotic_map, 500, 1)[0]
        shift = torch.tensor([size, 0.0]) if chaotic_map.point_shape else size
        near, source, other = orbit - shift, generator(5), generator(5)
        for _ in range(80):
            orbit, _ = advance(chaotic_map, orbit, source)
            near, _ = advance(chaotic_map, near, other)
        assert (first(name, orbit) - first(name, near)).abs().median() > 0.1

    def test_the_usual_circle_map_is_a_trap(self):
        """At a coupling of 0.5 and a shift of 0.2 its exponent is 0: orbits are not chaotic."""
        x, total = np.random.default_rng(0).random(100), 0.0
        for _ in range(2000):
            total += np.log(np.abs(1 - 0.5 * np.cos(2 * np.pi * x))).mean() / 2000
            x = (x + 0.2 - 0.5 / (2 * np.pi) * np.sin(2 * np.pi * x)) % 1
        assert abs(total) < 1e-3


class TestNoReturn:
    @pytest.mark.parametrize(
        ("name", "point", "following"),
        [
            ("logistic", 1.0, 0.0),
            ("logistic", 0.5, 1.0),
            ("logistic", 0.75, 0.75),
            ("logistic", math.nan, math.nan),
            ("tent", 0.0, 0.0),
            ("tent", 2 / 3, 2 / 3),
            ("sine", 0.5, 1.0),
            ("sine", 0.7, 0.7),
            ("chebyshev", 1.0, 1.0),
            ("chebyshev", -0.5, 1.0),
            ("chebyshev", 0.5, -1.0),
            ("chebyshev", 0.866, 0.0),
            ("chebyshev", 0.1, 1 + 2**-52),
            ("gauss", 0.5, 0.0),
            ("gauss", 0.618, 0.618),
            ("gauss", 0.0, math.nan),
            ("circle", 0.3, 0.3),
            ("circle", math.nan, math.nan),
            ("henon", (2.0, 0.0), (-4.6, 0.6)),
            ("henon", (0.631, 0.189), (0.631, 0.189)),
            ("henon", (math.inf, 0.0), (-math.inf, math.inf)),
            ("henon", (math.nan, 0.0), (math.nan, 0.0)),
        ],
    )
    def test_is_recognised(self, name, point, following):
        here, there = (torch.tensor([each], dtype=torch.float64) for each in (point, following))
        assert MAPS[name].stuck(here, there).flatten().tolist() == [True]

    @pytest.mark.parametrize("name", ["logistic", "chebyshev", "gauss", "henon"])
    def test_what_is_stuck_is_replaced_and_counted(self, name):
        lost = {"logistic": 0.0, "chebyshev": 1.0, "gauss": 0.0, "henon": (9.0, 9.0)}[name]
        sound = {"logistic": 0.3, "chebyshev": 0.3, "gauss": 0.3, "henon": (0.3, 0.0)}[name]
        orbit = torch.tensor([lost, sound, lost], dtype=torch.float64)
        following, count = advance(MAPS[name], orbit, generator())
        assert count == 2
        assert torch.equal(following[1], MAPS[name].step(orbit[1:2], generator())[0])
        assert not MAPS[name].stuck(orbit, following).any()
        assert not torch.equal(following[0], following[2])

    @every_map
    def test_random_numbers_drawn_do_not_depend_on_the_points(self, name):
        states = []
        for seed in (1, 2):
            orbit, source = MAPS[name].fresh((20,), generator(seed)), generator()
            orbit[0] = math.nan if seed == 2 else orbit[0]
            advance(MAPS[name], orbit, source)
            states.append(source.get_state())
        assert torch.equal(*states)

    def test_an_unperturbed_tent_collapses_in_54_steps_and_ours_does_not(self):
        x = torch.rand(1000, dtype=torch.float64, generator=generator())
        for _ in range(54):
            x = 1 - (1 - 2 * x).abs()
        assert (x == 0).all()

    @every_map
    def test_twenty_thousand_steps_never_stick(self, name):
        """Hardly any point is reseeded on the way, and in the end all move, apart from each other, as distributed."""
        chaotic_map, source, reseeded = MAPS[name], generator(7), torch.zeros((), dtype=torch.int64)
        orbit = chaotic_map.fresh((400,), source)
        for _ in range(20_000):
            before = orbit
            orbit, stuck = advance(chaotic_map, orbit, source)
            reseeded += stuck
        assert reseeded <= 5
        assert (first(name, orbit) != first(name, before)).all()
        assert len(first(name, orbit).unique()) == 400
        assert stats.kstest(chaotic_map.cdf(orbit).numpy(), stats.uniform.cdf).pvalue > 1e-3
