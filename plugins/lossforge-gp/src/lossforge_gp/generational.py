"""A generational genetic algorithm: tournaments, crossover or mutation, and an elite that lives on.

Koza 1992; the rates are those of EvoMAL (Raymond et al., arXiv 2209.08907).
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from lossforge import answers
from lossforge.component import Count
from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.types import State

PARENTS = "strategy.parents"
"""What the strategy was told last, the best first."""
GENERATION = "strategy.generation"
SIGMA = "strategy.sigma"


@runtime_checkable
class Crossing(Protocol):
    """A mutation operator with a crossover of its own."""

    def cross(self, first_PD: Tensor, second_PD: Tensor, generator: torch.Generator) -> Tensor:
        """Return a child of each pair."""


class GPGenerational(Strategy):
    """Generational genetic algorithm: an elite, and children of tournament winners by crossover or by mutation.

    An ask returns the elite, which is so evaluated again on the new batch, and then children. For each child two
    tournaments are held: ``tournament_size`` of what was told last are drawn with replacement, the best one wins. With
    ``crossover_rate`` the child is a crossing of the two winners, else a mutation of the first. A crossing that is
    equal to a parent or to a child before it is mutated after all.

    The crossover is the mutation operator's own, subtree crossover for ``gp_mutation``. With an operator that has none
    it is uniform: each coordinate from either parent (G. Syswerda, "Uniform crossover in genetic algorithms", ICGA
    1989).
    """

    type: Literal["gp_generational"] = "gp_generational"
    uses_mutation: ClassVar[bool] = True
    population_size: Count = Field(default=48, ge=2, description="solutions evaluated in a generation")
    tournament_size: int = Field(
        default=4, ge=1, le=1000, description="solutions of which the best one becomes a parent"
    )
    crossover_rate: float = Field(default=0.7, ge=0, le=1, description="share of children by crossover")
    elite_share: float = Field(
        default=0.05, ge=0, le=0.5, description="share of the population that lives on, rounded; at least one solution"
    )
    sigma: float = Field(default=0.3, gt=0, description="standard deviation of mutation steps in generation 0")
    sigma_decay: float = Field(default=0.98, gt=0, le=1, description="factor on sigma a generation")

    @property
    def num_solutions(self) -> int:
        """P, the population size."""
        return self.population_size

    @property
    def num_children(self) -> int:
        """The population less the elite."""
        return self.population_size - self.num_elite

    @property
    def num_elite(self) -> int:
        """How many solutions live on."""
        return max(1, round(self.elite_share * self.population_size))

    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many solutions; the elite grows with them."""
        return self.model_copy(update={"population_size": round(self.population_size * factor)})

    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0, whose solutions are the prior's draws."""
        return {PARENTS: solutions_PD, GENERATION: 0, SIGMA: self.sigma}

    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0; afterwards the elite, then children."""
        parents_PD = state[PARENTS]
        assert isinstance(parents_PD, Tensor)
        if state[GENERATION] == 0:
            return parents_PD, state
        assert mutation is not None
        first_KD, second_KD = (self._winners(parents_PD, generator) for _ in range(2))
        crosses_K1 = _uniform((self.num_children, 1), generator) < self.crossover_rate
        child_KD = torch.where(crosses_K1, _crossed(mutation, first_KD, second_KD, generator), first_KD)
        mutant_KD, state = answers.mutate(mutation, child_KD, float(state[SIGMA]), state, generator)
        child_KD = torch.where(_seen_before(child_KD, parents_PD), mutant_KD, child_KD)
        return torch.cat((parents_PD[: self.num_elite], child_KD)), state

    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Take the solutions as the next parents, the best P of them where they are more."""
        generation = int(state[GENERATION]) + 1
        order = torch.where(fitness_P.isfinite(), fitness_P, torch.inf).argsort(stable=True)
        parents_PD = solutions_PD[order[: self.population_size]]
        sigma = self.sigma * self.sigma_decay**generation
        return {**state, PARENTS: parents_PD, GENERATION: generation, SIGMA: sigma}

    def _winners(self, parents_PD: Tensor, generator: torch.Generator) -> Tensor:
        """Return the winner of a tournament a child; the parents are in order, so the least place wins."""
        drawn = torch.randint(
            len(parents_PD),
            (self.num_children, self.tournament_size),
            generator=generator,
            device=generator.device,
        )
        return parents_PD[drawn.amin(dim=1)]


def _crossed(mutation: MutationOperator, first_KD: Tensor, second_KD: Tensor, generator: torch.Generator) -> Tensor:
    if isinstance(mutation, Crossing):
        return mutation.cross(first_KD, second_KD, generator)
    return torch.where(_uniform(tuple(first_KD.shape), generator) < 0.5, first_KD, second_KD)


def _seen_before(children_KD: Tensor, parents_PD: Tensor) -> Tensor:
    """Return True (K, 1) for children that are equal to a parent, or to a child before them."""
    is_parent_K = (children_KD[:, None] == parents_PD).all(dim=2).any(dim=1)
    is_child_KK = (children_KD[:, None] == children_KD).all(dim=2).tril(diagonal=-1)
    return (is_parent_K | is_child_KK.any(dim=1))[:, None]


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)
