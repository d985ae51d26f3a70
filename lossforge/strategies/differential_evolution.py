"""Differential evolution.

Storn and Price, "Differential evolution - a simple and efficient heuristic for global optimization over continuous
spaces", Journal of Global Optimization 11, 1997.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.strategies.matching import places
from lossforge.strategies.ranking import finite_or_worst, rank_order
from lossforge.strategies.state import GENERATION, tensor
from lossforge.types import State

TARGETS = "strategy.targets"
TRIALS = "strategy.trials"
"""There only between an ask and its tell."""


class DifferentialEvolution(Strategy):
    """Differential evolution, rand/1/bin or best/1/bin: trials from differences, each against its own target.

    An ask returns N targets and then N trials, N = population_size / 2, so that each pair meets on the same batch. The
    trial of target i, with r1, r2, r3 and i all different, N >= 4::

        v = x_r1 + F (x_r2 - x_r3)    for rand;    v = x_best + F (x_r2 - x_r3)    for best
        u_j = v_j where rand_j < CR or j is a coordinate drawn for i;    else x_ij

    and it replaces the target unless it is less fit. The first targets are the best N of the prior's draws. Told of
    anything but its targets and trials, in whatever order, it keeps the best N, with targets of its own where they are
    fewer.

    The source has one F; here each trial draws its own from ``differential_weight`` +- ``dither``, without which small
    populations make the same trial twice and are soon all alike. The defaults, F in [0.5, 1) and CR = 0.7, are SciPy's.
    """

    type: Literal["differential_evolution"] = "differential_evolution"
    uses_mutation: ClassVar[bool] = False

    population_size: Count = Field(
        default=48,
        ge=8,
        multiple_of=2,
        description="solutions evaluated in a generation, half targets and half trials: an even number",
    )
    base: Literal["rand", "best"] = Field(
        default="rand", description="what differences are added to: another target drawn at random, or the best one"
    )
    differential_weight: float = Field(default=0.75, gt=0, le=2, description="F, factor on differences, on average")
    dither: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="each trial's own F is uniform within so much of it either way; 0: all equal",
    )
    crossover_rate: float = Field(
        default=0.7, ge=0, le=1, description="CR, share of coordinates that a trial has from the difference"
    )

    @property
    def num_solutions(self) -> int:
        """P, targets and trials."""
        return self.population_size

    @property
    def num_children(self) -> int:
        """0: trials are made here, none by a mutation operator."""
        return 0

    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many targets and trials."""
        return self.model_copy(update={"population_size": 2 * round(self.population_size * factor / 2)})

    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0, whose solutions are the prior's draws."""
        return {TARGETS: solutions_PD, GENERATION: 0}

    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0; afterwards targets, then their trials."""
        targets = tensor(state, TARGETS)
        if state[GENERATION] == 0:
            return targets, state
        first, second, third = others(len(targets), 3, generator).unbind(dim=1)
        base = targets[first] if self.base == "rand" else targets[:1]  # the best comes first
        (num, dim), device = targets.shape, targets.device
        spread = 2 * torch.rand((num, 1), dtype=targets.dtype, generator=generator, device=device) - 1
        mutant = base + (self.differential_weight + self.dither * spread) * (targets[second] - targets[third])
        crossed = torch.rand((num, dim), generator=generator, device=device) < self.crossover_rate
        forced = torch.randint(dim, (num, 1), generator=generator, device=device)
        crossed = crossed | (torch.arange(dim, device=device) == forced)
        trials = torch.where(crossed, mutant, targets)
        return torch.cat((targets, trials)), {**state, TRIALS: trials}

    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Keep the fitter of each target and its trial; of other solutions the best."""
        state, trials = {key: value for key, value in state.items() if key != TRIALS}, state.get(TRIALS)
        targets, num = tensor(state, TARGETS), self.population_size // 2
        best = solutions_PD[rank_order(fitness_P)[:num]]
        known = places(solutions_PD, targets) >= 0
        rest = targets[known.to(torch.uint8).argsort(stable=True)]  # those that were not told first
        kept = torch.cat((best, rest[: num - len(best)]))
        if isinstance(trials, Tensor) and len(solutions_PD) == 2 * len(targets):
            place_A = places(solutions_PD, torch.cat((targets, trials)))  # where among the told each one asked is
            target_N, trial_N = finite_or_worst(fitness_P)[place_A.clamp_min(0)].chunk(2)
            winners = torch.where((trial_N <= target_N)[:, None], trials, targets)
            winners = winners[rank_order(torch.minimum(target_N, trial_N))]
            kept = torch.where((place_A >= 0).all(), winners, kept)
        return {**state, TARGETS: kept, GENERATION: int(state[GENERATION]) + 1}


def others(num: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw for each of ``num`` indices ``count`` others, all different, as (num, count)."""
    device = generator.device
    taken = torch.arange(num, device=device)[:, None]  # in ascending order
    drawn = []
    for already in range(1, count + 1):
        index = torch.randint(num - already, (num, 1), generator=generator, device=device)
        for column in taken.unbind(dim=1):
            index = index + (index >= column[:, None])
        drawn.append(index)
        taken = torch.cat((taken, index), dim=1).sort(dim=1).values
    return torch.cat(drawn, dim=1)
