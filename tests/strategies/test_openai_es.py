"""The evolution strategy of OpenAI: antithetic pairs, centred ranks, and torch's own optimizers as the reference."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from lossforge.strategies import OpenAIES
from lossforge.strategies.openai_es import centred_ranks
from lossforge.streams import derive_generator

CPU = torch.device("cpu")


def fitness_of(solutions_PD):
    return (solutions_PD.double() - 1).square().sum(dim=1)


def begin(strategy, dim=6):
    draws = torch.randn(strategy.population_size, dim, dtype=torch.float64, generator=derive_generator(0, "prior")) + 2
    return strategy.tell(strategy.init(draws, None), draws, fitness_of(draws))


def torch_optimizer(strategy, mean):
    if strategy.optimizer == "adam":
        betas = (strategy.momentum, strategy.beta2)
        return torch.optim.Adam([mean], strategy.learning_rate, betas, weight_decay=strategy.weight_decay)
    dampening = strategy.momentum
    return torch.optim.SGD(
        [mean], strategy.learning_rate, strategy.momentum, dampening, weight_decay=strategy.weight_decay
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "weight_decay": 0.1, "learning_rate": 0.03},
        {"learning_rate_decay": 1.0, "sigma_decay": 1.0},
    ],
    ids=str,
)
def test_steps_are_those_of_torchs_optimizers(options):
    """The gradient is 1 / (n sigma) sum u e, solution by solution."""
    strategy = OpenAIES(population_size=10, sigma=0.2, **options)
    state = begin(strategy)
    mean = state["strategy.mean"].clone().requires_grad_()
    optimizer = torch_optimizer(strategy, mean)
    if strategy.optimizer == "sgd":  # torch's first step is without dampening; a velocity of 0 has it
        optimizer.state[mean]["momentum_buffer"] = torch.zeros_like(mean)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, strategy.learning_rate_decay)
    for generation in range(1, 30):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        fitness_P = fitness_of(solutions_PD)
        sigma = 0.2 * strategy.sigma_decay ** (generation - 1)
        gradient = torch.zeros_like(mean)
        for place, index in enumerate(fitness_P.argsort()):
            gradient += (place / 9 - 0.5) * (solutions_PD[index] - mean.detach()) / sigma / (10 * sigma)
        mean.grad = gradient
        optimizer.step()
        schedule.step()
        state = strategy.tell(state, solutions_PD, fitness_P)
        torch.testing.assert_close(state["strategy.mean"], mean.detach(), rtol=1e-9, atol=1e-9)
        assert state["strategy.sigma"] == pytest.approx(0.2 * strategy.sigma_decay**generation)


def test_solutions_come_in_antithetic_pairs():
    strategy = OpenAIES(population_size=2000, sigma=0.2)
    state = begin(strategy)
    solutions_PD, _ = strategy.ask(state, None, None, derive_generator(0, "strategy", 1))
    first, second = ((solutions_PD - state["strategy.mean"]) / 0.2).chunk(2)
    torch.testing.assert_close(first, -second)
    assert stats.kstest(first.flatten().numpy(), "norm").pvalue > 1e-3


def test_it_estimates_the_gradient():
    """On a slope ranks are those of the projections, so the mean moves straight down it."""
    slope = torch.tensor([3.0, -4.0, 0.0]).double()
    strategy = OpenAIES(population_size=20000, optimizer="sgd", momentum=0.0, sigma=0.5, learning_rate=0.1)
    state = begin(strategy, 3)
    solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", 1))
    after = strategy.tell(state, solutions_PD, solutions_PD @ slope)
    step = after["strategy.mean"] - state["strategy.mean"]
    # E[u e] along the slope is 1 / (2 sqrt(pi)), for u = Phi(e) - 1/2.
    torch.testing.assert_close(step, -0.1 / 0.5 * 0.28209 * slope / 5, rtol=0.05, atol=0.002)


class TestCentredRanks:
    def test_they_are_even_and_best_first(self):
        assert centred_ranks(5, CPU).tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]

    def test_a_single_solution_says_nothing(self):
        assert centred_ranks(1, CPU).tolist() == [0.0]


def test_equal_fitness_of_all_moves_nothing():
    strategy = OpenAIES(population_size=20)
    state = begin(strategy)
    for generation in range(1, 4):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        after = strategy.tell(state, solutions_PD, torch.ones(20))
        torch.testing.assert_close(after["strategy.mean"], state["strategy.mean"], rtol=0, atol=1e-7)


def test_weight_decay_pulls_towards_zero():
    strategy = OpenAIES(population_size=20, optimizer="sgd", momentum=0.0, weight_decay=0.5, learning_rate=0.2)
    state = begin(strategy)
    solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", 1))
    after = strategy.tell(state, solutions_PD, torch.ones(20))
    torch.testing.assert_close(after["strategy.mean"], 0.9 * state["strategy.mean"])


class TestOptions:
    @pytest.mark.parametrize("population_size", [3, 47])
    def test_an_odd_population_is_refused(self, population_size):
        with pytest.raises(ValidationError, match="multiple of 2"):
            OpenAIES(population_size=population_size)

    @pytest.mark.parametrize(
        "options",
        [
            {"momentum": 1.0},
            {"learning_rate": 0.0},
            {"optimizer": "lbfgs"},
            {"weight_decay": -0.1},
            {"sigma_decay": 2.0},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            OpenAIES(**options)

    @pytest.mark.parametrize(("factor", "size"), [(1.0, 10), (1.25, 12), (1.35, 14), (1.5, 16), (2.0, 20)])
    def test_it_grows_to_the_nearest_even_number(self, factor, size):
        assert OpenAIES(population_size=10).grown(factor).population_size == size
