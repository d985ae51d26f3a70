"""The genetic algorithm: who lives on, who wins, how children are made, and what it finds."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lossforge.registry import get
from lossforge.streams import derive_generator
from lossforge_gp import GPExpression, GPGenerational, GPMutation, Grammar, decoded, encoded
from lossforge_gp.rejection import is_acceptable, probed, shapes
from lossforge_gp.text import parsed

FAMILY = GPExpression(grammar=Grammar(functions="glo"))
OPERATOR = GPMutation(grammar=FAMILY.grammar)


def search(strategy: GPGenerational, mutation, prior, fitness, num: int, seed: int = 0):
    """Return what was asked, and the fitness of that, generation by generation."""
    state = dict(strategy.init(prior(strategy.num_solutions, derive_generator(seed, "prior")), torch.Generator()))
    asked = []
    for generation in range(num):
        solutions_PD, state = strategy.ask(state, mutation, prior, derive_generator(seed, "strategy", generation))
        asked.append((solutions_PD, fitness(solutions_PD)))
        state = strategy.tell(state, *asked[-1])
    return asked


def distance_to(text: str):
    """How far the shape of a loss is from that of an expression, over fixed predictions."""
    target_1B = shapes(probed([parsed(text)]))
    return lambda solutions_PD: (shapes(probed(decoded(solutions_PD))) - target_1B).abs().mean(dim=1)


def test_it_finds_cross_entropy_where_that_is_the_best():
    fitness = distance_to("mul(-1, mul(y, log(p)))")
    for seed in range(1):
        asked = search(GPGenerational(), OPERATOR, FAMILY.init, fitness, 30, seed)
        best = [values_P.min().item() for _, values_P in asked]
        assert best[-1] < 0.2 * best[0]
        assert all(later <= earlier for earlier, later in pairwise(best)), "the elite lives on"
        assert all(is_acceptable(tree, FAMILY.grammar) for tree in decoded(asked[-1][0]))


def test_the_elite_comes_first_and_children_are_new():
    strategy = GPGenerational(population_size=40, elite_share=0.1)
    (first, fitness_P), (second, _) = search(strategy, OPERATOR, FAMILY.init, distance_to("mul(p, y)"), 2)
    order = fitness_P.argsort(stable=True)
    assert torch.equal(second[:4], first[order[:4]])
    assert not (second[4:, None] == first).all(dim=2).any()
    assert len(second.unique(dim=0)) == 40


def test_the_elite_grows_with_the_population_and_is_never_empty():
    strategy = GPGenerational(population_size=40)
    assert (strategy.num_elite, strategy.num_children) == (2, 38)
    assert strategy.grown(3).num_elite == 6
    assert GPGenerational(population_size=2, elite_share=0).num_elite == 1


@pytest.mark.parametrize(("size", "share"), [(1, 0.5), (4, 15 / 16)])
def test_tournaments_prefer_the_better_as_much_as_their_size_says(size, share):
    """Of two kinds of parents the better one loses only where it is drawn by no place: with probability 2^-size."""
    strategy = GPGenerational(population_size=1000, tournament_size=size, crossover_rate=0, sigma=1e-6)
    parents_PD = torch.zeros(1000, 1).index_fill(0, torch.arange(500, 1000), 100.0)
    state = strategy.tell(strategy.init(parents_PD, torch.Generator()), parents_PD, parents_PD[:, 0])
    gaussian = get("mutations", "gaussian")()
    asked, _ = strategy.ask(state, gaussian, None, derive_generator(0, "strategy"))
    assert (asked[strategy.num_elite :] < 50).double().mean().item() == pytest.approx(share, abs=0.05)


def test_without_a_crossover_of_the_operator_it_is_uniform():
    strategy = GPGenerational(population_size=600, crossover_rate=1, tournament_size=1, sigma=1e-9)
    parents_PD = torch.arange(2.0)[:, None].expand(2, 30).repeat(300, 1)
    state = strategy.tell(strategy.init(parents_PD, torch.Generator()), parents_PD, parents_PD[:, 0])
    asked, _ = strategy.ask(state, get("mutations", "gaussian")(), None, derive_generator(0, "strategy"))
    ones = asked[strategy.num_elite :].mean(dim=1)
    mixed = ones[(ones > 0.01) & (ones < 0.99)]
    assert len(mixed) / len(ones) == pytest.approx(0.5, abs=0.08), "half of the pairs differ"
    assert mixed.mean().item() == pytest.approx(0.5, abs=0.03)


def test_crossings_and_mutations_are_shared_as_asked():
    """Mutation that moves constants alone shows which children it made."""
    parents = ["mul(-1, mul(y, log(p)))", "square(sub(p, mul(2, y)))", "sub(mul(3, y), mul(p, y))"]
    mutation = GPMutation(grammar=FAMILY.grammar, subtree=1e-12, point=0, hoist=0, shrink=0)
    for rate in (0.0, 0.7, 1.0):
        strategy = GPGenerational(population_size=102, crossover_rate=rate, elite_share=0)
        parents_PD = encoded([parsed(text) for text in parents] * 34, 20)
        state = strategy.tell(strategy.init(parents_PD, torch.Generator()), parents_PD, torch.arange(102.0))
        asked, _ = strategy.ask(state, mutation, FAMILY.init, derive_generator(1, "strategy"))
        constants = [[number for code, number in tree.nodes if code == 2] for tree in decoded(asked[1:])]
        crossed = [all(number in (-1, 2, 3) for number in numbers) for numbers in constants]
        share = sum(crossed) / len(crossed)
        assert share <= rate + 0.15
        assert share >= 0.2 * rate  # crossings that came out alike were mutated
