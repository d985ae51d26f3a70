"""Steps from chaotic orbits: their distribution and dynamics, and points where orbits get stuck.

The maps themselves are tested in maps/; here the logistic map in depth, and what the operator makes of the others.
"""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.mutations.maps import MAPS
from lossforge.mutations.orbits import ORBIT, RESEEDED
from lossforge.types import State

FORMS = ("standardised", "gaussianised")
both_forms = pytest.mark.parametrize("form", FORMS)
every_map = pytest.mark.parametrize("name", MAPS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def state_at(points: list[float]) -> State:
    return {
        ORBIT: torch.tensor([points], dtype=torch.float64),
        RESEEDED: torch.zeros((), dtype=torch.int64),
    }


def run(mutation: ChaoticMutation, num_steps: int, num: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, State]:
    """Return the steps and the orbits, each (num_steps, num, dim), and the last state."""
    source = generator(seed)
    state = mutation.init(num, dim, source)
    parents, steps, orbits = torch.zeros(num, dim, dtype=torch.float64), [], []
    for _ in range(num_steps):
        children, state = mutation.mutate(parents, 1.0, state, source)
        steps.append(children)
        orbits.append(state[ORBIT])
    return torch.stack(steps), torch.stack(orbits), state


class TestDistribution:
    def test_orbits_are_arcsine(self):
        """Density 1 / (pi sqrt(x (1 - x))), over children at one time and over time for one child."""
        _, orbits, _ = run(ChaoticMutation(), 50, 400, 10)
        assert stats.kstest(orbits[-1].flatten().numpy(), stats.arcsine.cdf).pvalue > 1e-3
        _, orbits, _ = run(ChaoticMutation(), 4000, 1, 1)
        assert stats.kstest(orbits.flatten().numpy(), stats.arcsine.cdf).pvalue > 1e-3

    def test_orbits_are_arcsine_from_the_start(self):
        for burn_in in (0, 1, 100):
            state = ChaoticMutation(burn_in=burn_in).init(4000, 1, generator(burn_in))
            # Without burn-in, points within 1% of the ends of the six cells are left out.
            assert stats.kstest(state[ORBIT].flatten().numpy(), stats.arcsine.cdf).pvalue > 1e-3

    def test_standardised_steps_are_arcsine_with_mean_0_and_variance_1(self):
        steps, _, _ = run(ChaoticMutation(), 200, 20, 10)
        distribution = stats.arcsine(loc=-math.sqrt(2), scale=2 * math.sqrt(2))
        assert distribution.var() == pytest.approx(1)
        assert stats.kstest(steps[-1].flatten().numpy(), distribution.cdf).pvalue > 1e-3
        assert steps.abs().max() <= math.sqrt(2)

    def test_gaussianised_steps_are_normal(self):
        steps, _, _ = run(ChaoticMutation(form="gaussianised"), 200, 200, 10)
        assert stats.kstest(steps[-1].flatten().numpy(), stats.norm.cdf).pvalue > 1e-3
        assert steps.abs().max() > 4

    @both_forms
    def test_the_variance_is_that_of_gaussian_steps(self, form):
        """Mean 0 and variance 1 over 2,000 steps of 400 orbits, as for Gaussian steps, so that sigma means the same."""
        steps, _, _ = run(ChaoticMutation(form=form), 2000, 40, 10)
        source = generator()
        gaussian = torch.stack(
            [GaussianMutation().mutate(torch.zeros(40, 10), 1.0, {}, source)[0].double() for _ in range(2000)]
        )
        for values in (steps, gaussian):
            assert values.mean().item() == pytest.approx(0, abs=5 * values.numel() ** -0.5)
            assert values.var().item() == pytest.approx(1, abs=0.01)

    def test_orbits_are_independent_of_each_other(self):
        steps, _, _ = run(ChaoticMutation(), 3000, 4, 3)
        correlation = torch.corrcoef(steps.flatten(1).T) - torch.eye(12, dtype=torch.float64)
        assert correlation.abs().max() < 5 * 3000**-0.5


class TestDynamics:
    @both_forms
    def test_the_orbit_follows_the_map_along_calls(self, form):
        """x_{t+1} = 4 x_t (1 - x_t): the next step is a function of this one."""
        _, orbits, state = run(ChaoticMutation(form=form), 50, 6, 4)
        assert state[RESEEDED] == 0
        torch.testing.assert_close(orbits[1:], 4 * orbits[:-1] * (1 - orbits[:-1]), rtol=0, atol=1e-15)

    def test_a_standardised_step_determines_the_next(self):
        """With zeta = sqrt(2) (2x - 1): zeta' = sqrt(2) (1 - zeta^2)."""
        steps, _, _ = run(ChaoticMutation(), 50, 6, 4)
        torch.testing.assert_close(steps[1:], math.sqrt(2) * (1 - steps[:-1] ** 2), rtol=0, atol=1e-12)

    def test_a_gaussianised_step_determines_the_next(self):
        """u = Phi(zeta) moves by the tent map: u' = 1 - |1 - 2u|."""
        steps, _, _ = run(ChaoticMutation(form="gaussianised"), 50, 6, 4)
        u = torch.special.ndtr(steps)
        torch.testing.assert_close(u[1:], 1 - (1 - 2 * u[:-1]).abs(), rtol=0, atol=1e-7)

    @both_forms
    def test_successive_steps_are_uncorrelated_though_dependent(self, form):
        steps, _, _ = run(ChaoticMutation(form=form), 5000, 20, 1)
        now, following = steps[:-1].flatten(), steps[1:].flatten()
        size = 5 * len(now) ** -0.5
        assert abs(torch.corrcoef(torch.stack((now, following)))[0, 1]) < size
        # The square of a step tells the next one, entirely for the standardised form.
        dependence = torch.corrcoef(torch.stack((now**2, following)))[0, 1]
        assert dependence < (-0.999 if form == "standardised" else -0.5)

    def test_nearby_orbits_separate(self):
        """The Lyapunov exponent of the map is log 2: the distance of u = (2/pi) asin(sqrt x) doubles at each step."""

        def angle(orbit: Tensor) -> Tensor:
            return 2 / math.pi * torch.asin(orbit.sqrt())

        mutation, num_steps, parents = ChaoticMutation(), 15, torch.zeros(1000, 1)
        state = mutation.init(1000, 1, generator())
        near = {**state, ORBIT: torch.sin(math.pi / 2 * (angle(state[ORBIT]) + 1e-9)) ** 2}
        for _ in range(num_steps):
            _, state = mutation.mutate(parents, 1.0, state, generator())
            _, near = mutation.mutate(parents, 1.0, near, generator())
        distance = (angle(state[ORBIT]) - angle(near[ORBIT])).abs()
        assert distance.median().item() == pytest.approx(1e-9 * 2**num_steps, rel=1e-3)

    def test_orbits_are_double_whatever_the_parents(self):
        source = generator()
        mutation = ChaoticMutation()
        state = mutation.init(3, 2, source)
        assert state[ORBIT].dtype == torch.float64
        children, state = mutation.mutate(torch.zeros(3, 2), 1.0, state, source)
        assert children.dtype == torch.float32
        assert state[ORBIT].dtype == torch.float64


# Lag-1 correlation of standardised and of gaussianised steps; zeros are exact.
CORRELATION = {
    "logistic": (0.0, 0.0),
    "tent": (0.0, 0.0),
    "chebyshev": (0.0, 0.26),
    "sine": (0.07, 0.09),
    "circle": (0.17, 0.11),
    "gauss": (-0.35, -0.36),
    "henon": (-0.31, -0.43),
}


@every_map
class TestEveryMap:
    @both_forms
    def test_steps_have_mean_0_and_variance_1(self, name, form):
        """Over 8,000 orbits; those of an ensemble of two million points have its error, too, of 0.001."""
        steps, _, _ = run(ChaoticMutation(map=name, form=form), 1, 400, 20)
        error = (steps.square().var() / steps.numel()).sqrt().item()
        assert steps.mean().item() == pytest.approx(0, abs=5 * steps.numel() ** -0.5)
        assert steps.var().item() == pytest.approx(1, abs=5 * error)

    def test_gaussianised_steps_are_normal(self, name):
        steps, _, _ = run(ChaoticMutation(map=name, form="gaussianised"), 1, 400, 20)
        assert stats.kstest(steps.flatten().numpy(), stats.norm.cdf).pvalue > 1e-3

    def test_standardised_steps_have_the_shape_of_the_invariant_density(self, name):
        """The two forms are increasing functions of one orbit, so they order it alike."""
        standardised, gaussianised = (
            run(ChaoticMutation(map=name, form=form), 1, 50, 4)[0].flatten() for form in FORMS
        )
        assert torch.equal(standardised.argsort(), gaussianised.argsort())

    @both_forms
    def test_correlation_from_one_step_to_the_next(self, name, form):
        steps, _, _ = run(ChaoticMutation(map=name, form=form), 100, 40, 10)
        now, following = steps[:-1].flatten(), steps[1:].flatten()
        correlation = torch.corrcoef(torch.stack((now, following)))[0, 1].item()
        assert correlation == pytest.approx(CORRELATION[name][FORMS.index(form)], abs=0.02)

    def test_orbits_are_independent_of_each_other(self, name):
        steps, _, _ = run(ChaoticMutation(map=name), 1000, 2, 3)
        correlation = torch.corrcoef(steps.flatten(1).T) - torch.eye(6, dtype=torch.float64)
        assert correlation.abs().max() < 0.2

    def test_the_state(self, name):
        shape = (5, 3, *MAPS[name].point_shape)
        state = ChaoticMutation(map=name).init(5, 3, generator())
        assert state[ORBIT].shape == shape
        assert state[ORBIT].dtype == torch.float64
        assert state[RESEEDED] == 0

    def test_orbits_of_another_map_or_size_are_refused(self, name):
        state = ChaoticMutation(map=name).init(5, 3, generator())
        other = ChaoticMutation(map="logistic" if name == "henon" else "henon")
        for operator, parents in ((ChaoticMutation(map=name), torch.zeros(3, 5)), (other, torch.zeros(5, 3))):
            with pytest.raises(ValueError, match=r"orbits of shape \(5, 3.* cannot mutate parents of shape"):
                operator.mutate(parents, 1.0, state, generator())

    def test_json_round_trip(self, name):
        mutation = ChaoticMutation(map=name, form="gaussianised", burn_in=7)
        assert ChaoticMutation.model_validate_json(mutation.model_dump_json()) == mutation


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("logistic", lambda u: 1 - (1 - 2 * u).abs()),
        ("tent", lambda u: 1 - (1 - 2 * u).abs()),
        # arccos x = pi (1 - u) is tripled and folded back into [0, pi].
        ("chebyshev", lambda u: (1 - 3 * (1 - u) % 2).abs()),
        ("gauss", lambda u: torch.log2(1 + (1 / (2**u - 1)) % 1)),
    ],
)
def test_gaussianising_keeps_the_dynamics(name, after):
    """Phi of a gaussianised step determines that of the next, in closed form."""
    steps, _, _ = run(ChaoticMutation(map=name, form="gaussianised"), 40, 6, 4)
    u = torch.special.ndtr(steps)
    expected = after(u[:-1])
    inside = (u[:-1] > 0.01) & (u[:-1] < 0.99)  # where Phi and its inverse keep the digits
    torch.testing.assert_close(u[1:][inside], expected[inside], rtol=0, atol=1e-6)


class TestStuckPoints:
    @pytest.mark.parametrize("point", [0.0, 0.75, 1.0, 0.5])
    def test_points_that_stay_for_ever_are_reseeded_and_counted(self, point):
        """0 and 3/4 are fixed points; 1 leads to 0, and 1/2 to 1."""
        _, state = ChaoticMutation().mutate(torch.zeros(1, 3), 1.0, state_at([point, 0.3, point]), generator())
        orbit = state[ORBIT][0]
        assert state[RESEEDED] == 2
        assert orbit[1] == pytest.approx(4 * 0.3 * 0.7)
        for fresh in (orbit[0], orbit[2]):
            assert 0 < fresh < 1
            assert fresh not in (0.25, 0.5, 0.75)
        assert orbit[0] != orbit[2]

    def test_a_quarter_is_caught_at_its_next_step(self):
        """1/4 leads to 3/4, which stays there."""
        source, state = generator(), state_at([0.25])
        for expected in (0, 1):
            _, state = ChaoticMutation().mutate(torch.zeros(1, 1), 1.0, state, source)
            assert state[RESEEDED] == expected
        assert state[ORBIT].item() != 0.75

    def test_tiny_points_grow_and_are_left_alone(self):
        _, state = ChaoticMutation().mutate(torch.zeros(1, 2), 1.0, state_at([1e-300, 1 - 2**-53]), generator())
        assert state[RESEEDED] == 0
        assert state[ORBIT][0].tolist() == [4e-300, 4 * (1 - 2**-53) * 2**-53]

    def test_ten_thousand_steps_never_stick(self):
        source, mutation = generator(), ChaoticMutation()
        state = mutation.init(50, 20, source)
        parents = torch.zeros(50, 20)
        for _ in range(10_000):
            before = state[ORBIT]
            _, state = mutation.mutate(parents, 1.0, state, source)
        orbit = state[ORBIT]
        assert ((orbit > 0) & (orbit < 1) & (orbit != before)).all()
        assert stats.kstest(orbit.flatten().numpy(), stats.arcsine.cdf).pvalue > 1e-3

    def test_fresh_points_keep_away_from_the_five(self):
        orbit = ChaoticMutation(burn_in=0).init(2000, 10, generator())[ORBIT]
        for point in (0, 0.25, 0.5, 0.75, 1):
            assert (orbit - point).abs().min() > 1e-6

    def test_gaussianised_steps_are_finite_at_the_ends(self):
        mutation = ChaoticMutation(form="gaussianised")
        children, _ = mutation.mutate(torch.zeros(1, 3), 1.0, state_at([1e-300, 0.5 - 1e-7, 0.5 + 1e-7]), generator())
        # x = 1 - 4e-14, so 1 - u = (2 / pi) 2e-7 and the quantile is 5.03.
        upper = -stats.norm.ppf(2 / math.pi * 2e-7)
        assert children[0].tolist() == pytest.approx([stats.norm.ppf(1e-12), upper, upper], abs=1e-3)


class TestContract:
    def test_sigma_scales_the_steps_and_parents_are_their_centre(self):
        mutation = ChaoticMutation()
        state = mutation.init(2, 3, generator())
        parents_PD = torch.arange(6.0).reshape(2, 3)
        small, _ = mutation.mutate(parents_PD, 0.25, state, generator())
        large, _ = mutation.mutate(parents_PD, 0.5, state, generator())
        torch.testing.assert_close(large - parents_PD, 2 * (small - parents_PD))
        still, _ = mutation.mutate(parents_PD, 0.0, state, generator())
        assert torch.equal(still, parents_PD)

    def test_the_state_of_others_is_passed_on_and_the_given_one_left_alone(self):
        mutation = ChaoticMutation()
        state = {**mutation.init(2, 3, generator()), "strategy.generation": 3}
        orbit = state[ORBIT].clone()
        _, after = mutation.mutate(torch.zeros(2, 3), 1.0, state, generator())
        assert after["strategy.generation"] == 3
        assert after.keys() == state.keys()
        assert torch.equal(state[ORBIT], orbit)

    def test_keys_have_the_prefix_of_the_kind(self):
        assert all(key.startswith("mutation.") for key in ChaoticMutation().init(2, 3, generator()))

    @pytest.mark.parametrize("shape", [(3, 3), (2, 4), (6,)])
    def test_parents_of_another_shape_are_refused(self, shape):
        mutation = ChaoticMutation()
        state = mutation.init(2, 3, generator())
        with pytest.raises(ValueError, match=r"orbits of shape \(2, 3\) cannot mutate parents of shape"):
            mutation.mutate(torch.zeros(shape), 1.0, state, generator())

    def test_the_generator_decides_where_orbits_start(self):
        first, again, other = (ChaoticMutation().init(4, 3, generator(seed))[ORBIT] for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_nothing_else_is_random(self):
        """Children depend on the generator only where a point is stuck."""
        mutation = ChaoticMutation()
        state = mutation.init(4, 3, generator())
        first, _ = mutation.mutate(torch.zeros(4, 3), 1.0, state, generator(1))
        second, _ = mutation.mutate(torch.zeros(4, 3), 1.0, state, generator(2))
        assert torch.equal(first, second)

    @pytest.mark.parametrize(
        "options",
        [{"form": "uniform"}, {"map": "bernoulli"}, {"burn_in": -1}, {"rate": 3.9}, {"burn_in": 1.5}],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            ChaoticMutation(**options)
