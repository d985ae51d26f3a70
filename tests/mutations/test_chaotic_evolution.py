"""Chaotic evolution: lengths, directions, which coordinates move, and the scale that makes sigma what it says."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, stats
from torch import Tensor

from lossforge.mutations import ChaoticEvolution, ChaoticMutation
from lossforge.mutations.orbits import ORBIT, RESEEDED


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def steps(mutation: ChaoticEvolution, num: int, dim: int, num_steps: int = 1, seed: int = 0) -> Tensor:
    """Return steps at sigma 1, (num_steps, num, dim)."""
    source, drawn = generator(seed), []
    state = mutation.init(num, dim, source)
    for _ in range(num_steps):
        children, state = mutation.mutate(torch.zeros(num, dim, dtype=torch.float64), 1.0, state, source)
        drawn.append(children)
    return torch.stack(drawn)


def test_the_second_moment_of_a_length_is_three_eighths():
    second, _ = integrate.quad(lambda u: math.sin(math.pi / 2 * u) ** 4, 0, 1)
    assert second == pytest.approx(3 / 8, rel=1e-12)
    assert stats.arcsine().moment(2) == pytest.approx(3 / 8)


class TestScale:
    @pytest.mark.parametrize("dim", [1, 2, 7])
    @pytest.mark.parametrize("crossover_rate", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("direction_rate", [0.0, 0.5, 0.8])
    def test_the_root_mean_square_is_sigma(self, dim, crossover_rate, direction_rate):
        mutation = ChaoticEvolution(direction_rate=direction_rate, crossover_rate=crossover_rate)
        drawn = steps(mutation, 4000, dim, num_steps=5)
        squares = drawn.square()
        assert squares.mean().item() == pytest.approx(1, abs=5 * squares.std().item() * squares.numel() ** -0.5)

    @pytest.mark.parametrize("crossover_rate", [0.3, 1.0])
    @pytest.mark.parametrize("direction_rate", [0.0, 0.2, 0.5, 1.0])
    def test_the_mean_is_the_documented_drift(self, crossover_rate, direction_rate):
        """(r - 1/2) s m, which is 0 for r = 1/2."""
        mutation, dim = ChaoticEvolution(direction_rate=direction_rate, crossover_rate=crossover_rate), 4
        drawn = steps(mutation, 4000, dim, num_steps=5)
        share = crossover_rate + (1 - crossover_rate) / dim
        drift = (direction_rate - 0.5) * share / math.sqrt(3 / 8 * share)
        assert drawn.mean().item() == pytest.approx(drift, abs=5 * drawn.std().item() * drawn.numel() ** -0.5)


class TestDirections:
    @pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 1.0])
    def test_coordinates_move_up_at_the_rate(self, rate):
        drawn = steps(ChaoticEvolution(direction_rate=rate), 1000, 5).flatten()
        assert stats.binomtest(int((drawn > 0).sum()), len(drawn), rate).pvalue > 1e-3

    def test_they_are_independent_of_lengths_and_of_each_other(self):
        drawn = steps(ChaoticEvolution(), 1, 6, num_steps=3000).squeeze(1)
        both = torch.cat((drawn.sign(), drawn.abs()), dim=1)
        correlation = torch.corrcoef(both.T) - torch.eye(12, dtype=torch.float64)
        assert correlation.abs().max() < 6 * 3000**-0.5


class TestCrossover:
    @pytest.mark.parametrize("rate", [0.0, 0.25, 0.9, 1.0])
    def test_one_coordinate_always_moves_and_others_at_the_rate(self, rate):
        dim = 5
        moved = (steps(ChaoticEvolution(crossover_rate=rate), 6000, dim)[0] != 0).sum(dim=1)
        assert moved.min() >= 1
        expected = stats.binom(dim - 1, rate).pmf(range(dim)) * len(moved)
        counts = torch.bincount(moved - 1, minlength=dim).numpy()
        possible = expected > 1e-9
        assert counts[~possible].sum() == 0
        assert possible.sum() == 1 or stats.chisquare(counts[possible], expected[possible]).pvalue > 1e-3

    def test_every_coordinate_has_its_turn(self):
        moved = (steps(ChaoticEvolution(crossover_rate=0.0), 6000, 5)[0] != 0).sum(dim=0)
        assert stats.chisquare(moved.numpy()).pvalue > 1e-3

    def test_a_coordinate_that_rests_is_its_parents_to_the_last_bit(self):
        mutation, source = ChaoticEvolution(crossover_rate=0.3), generator()
        parents = torch.randn(100, 8, generator=source)
        children, _ = mutation.mutate(parents, 0.1, mutation.init(100, 8, source), source)
        assert 0.5 < (children == parents).float().mean() < 0.75


class TestLengths:
    def test_they_are_the_logistic_orbit(self):
        """|step| is the orbit over the root of 3/8: arcsine, and each the logistic map of the one before."""
        lengths = steps(ChaoticEvolution(), 30, 20, num_steps=40).abs() * math.sqrt(3 / 8)
        torch.testing.assert_close(lengths[1:], 4 * lengths[:-1] * (1 - lengths[:-1]), rtol=0, atol=1e-14)
        assert stats.kstest(lengths[-1].flatten().numpy(), stats.arcsine.cdf).pvalue > 1e-3

    def test_orbits_begin_as_those_of_chaotic_mutation(self):
        ours, theirs = (kind(burn_in=9).init(6, 4, generator())[ORBIT] for kind in (ChaoticEvolution, ChaoticMutation))
        assert torch.equal(ours, theirs)

    def test_stuck_points_are_reseeded_and_counted(self):
        orbit = torch.tensor([[0.5, 0.3, 0.75]], dtype=torch.float64)
        state = {ORBIT: orbit, RESEEDED: torch.zeros((), dtype=torch.int64)}
        _, after = ChaoticEvolution().mutate(torch.zeros(1, 3), 1.0, state, generator())
        assert after[RESEEDED] == 2
        assert after[ORBIT][0, 1] == 4.0 * 0.3 * (1.0 - 0.3)


def test_parents_of_another_shape_are_refused():
    mutation = ChaoticEvolution()
    with pytest.raises(ValueError, match=r"orbits of shape \(2, 3\) cannot mutate parents of shape \(3, 2\)"):
        mutation.mutate(torch.zeros(3, 2), 1.0, mutation.init(2, 3, generator()), generator())


def test_json_round_trip():
    mutation = ChaoticEvolution(direction_rate=0.7, crossover_rate=0.2, burn_in=3)
    assert ChaoticEvolution.model_validate_json(mutation.model_dump_json()) == mutation


@pytest.mark.parametrize(
    "options",
    [
        {"direction_rate": -0.1},
        {"direction_rate": 1.1},
        {"crossover_rate": -0.1},
        {"crossover_rate": 2.0},
        {"map": "tent"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        ChaoticEvolution(**options)
