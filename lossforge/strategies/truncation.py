"""What the (mu, lambda) and (mu + lambda) strategies share: truncation selection, recombination, step sizes.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002. The weights are
Hansen's: "The CMA evolution strategy: a tutorial", arXiv:1604.00772, 2016.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge import answers
from lossforge.component import Count
from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.strategies import step_size
from lossforge.strategies.matching import in_places, places
from lossforge.strategies.ranking import finite_or_worst, log_weights, rank_order
from lossforge.strategies.state import GENERATION, SIGMA, tensor
from lossforge.types import State

PARENTS = "strategy.parents"
ASKED = "strategy.asked"
ASKED_SIGMA = "strategy.asked_sigma"

SIGMA_DECAY = 0.98


class TruncationStrategy(Strategy, ABC):
    """Options of evolution strategies that keep the best ``num_parents``.

    An ask returns, in this order, the parents if they live on, children, and the reference if there is one: a solution
    that children are compared with and that is no parent itself. ``one_fifth`` needs the fitness of what children come
    from in their own generation, since batches differ. Where parents live on and children are of one parent each, it is
    there; else one of ``population_size`` evaluations goes to it: the parents' mean, or without recombination the best
    parent, and then only its own children are counted.

    ``self_adaptive`` goes better with parents that die: one that lives on with steps far too long keeps them.
    """

    uses_mutation: ClassVar[bool] = True
    parents_live: ClassVar[bool]
    """Whether parents are asked again, and compete with their children."""

    population_size: Count = Field(default=48, ge=2, description="solutions evaluated in a generation")
    num_parents: Count = Field(default=8, ge=1, description="best solutions kept, mu")
    recombination: Literal["mean", "none", "weighted"] = Field(
        default="mean",
        description="children of the parents' mean, (mu/mu, lambda), of one parent each in turn, or of the mean with "
        "weights ln(mu + 1/2) - ln(rank)",
    )
    sigma: float = Field(
        default=0.3,
        gt=0,
        description="standard deviation of steps before any change: with the exponential schedule, generation g steps "
        "by sigma x sigma_decay^g",
    )
    sigma_schedule: Literal["constant", "exponential", "one_fifth", "self_adaptive"] = Field(
        default="exponential",
        description="sigma as given; decaying; by Rechenberg's rule, up where more than 1/5 of children are fitter "
        "than what they come from, else down; or each solution's own, inherited with log-normal changes",
    )
    sigma_decay: float = Field(
        default=SIGMA_DECAY, gt=0, le=1, description="factor on sigma a generation, of the exponential schedule"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        room = self.population_size - self._num_references
        if self.num_parents >= room:
            reserved = " less 1 for the solution that sigma_schedule one_fifth compares with"
            raise ValueError(
                f"num_parents ({self.num_parents}) must be below population_size ({self.population_size})"
                + reserved * self._num_references
            )
        return self

    @model_validator(mode="after")
    def _decay_is_used(self) -> Self:
        if self.sigma_schedule != "exponential" and self.sigma_decay != SIGMA_DECAY:
            raise ValueError(
                f"sigma_decay ({self.sigma_decay}) has no effect with sigma_schedule {self.sigma_schedule}; leave it "
                "out, or choose sigma_schedule: exponential"
            )
        return self

    @property
    @final
    def num_solutions(self) -> int:
        """P, the population size."""
        return self.population_size

    @property
    @final
    def num_children(self) -> int:
        """lambda: the population, less the parents where they live on, less the reference where there is one."""
        return self.population_size - self._num_references - (self.num_parents if self.parents_live else 0)

    @property
    def _num_references(self) -> int:
        compares = self.sigma_schedule == "one_fifth"
        return int(compares and not (self.parents_live and self.recombination == "none"))

    @final
    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many solutions and parents, so that selection is as strict."""
        sizes = {name: round(getattr(self, name) * factor) for name in ("population_size", "num_parents")}
        return self.model_copy(update=sizes)

    @final
    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0, whose solutions are the prior's draws."""
        state: State = {PARENTS: solutions_PD, GENERATION: 0, SIGMA: self.sigma}
        sigma = torch.full((len(solutions_PD), 1), self.sigma, dtype=torch.float64, device=solutions_PD.device)
        if self.sigma_schedule == "one_fifth":
            return {**state, SIGMA: sigma[0, 0].clone(), ASKED: solutions_PD}
        if self.sigma_schedule == "self_adaptive":
            return {**state, SIGMA: sigma, ASKED: solutions_PD, ASKED_SIGMA: sigma}
        return state

    @final
    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0; afterwards parents that live on, children, and the reference."""
        parents = tensor(state, PARENTS)
        if state[GENERATION] == 0:
            return parents, state
        assert mutation is not None
        sources = self._recombined(parents)
        sigma = self._sigma_of_children(state, parents, generator)
        steps = sigma.to(parents.dtype) if isinstance(sigma, Tensor) else sigma
        children, state = answers.mutate(mutation, sources, steps, state, generator)
        lasting = parents if self.parents_live else parents[:0]
        asked = torch.cat((lasting, children, sources[: self._num_references]))
        return asked, {**state, **self._remembered(state, asked, sigma)}

    @final
    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Keep the best ``num_parents`` of the solutions, or all where they are fewer, as the next parents."""
        generation, order = int(state[GENERATION]) + 1, rank_order(fitness_P)
        if self.sigma_schedule in ("constant", "exponential"):
            sigma = self.sigma if self.sigma_schedule == "constant" else self.sigma * self.sigma_decay**generation
            return {**state, PARENTS: solutions_PD[order[: self.num_parents]], GENERATION: generation, SIGMA: sigma}
        place_P = places(tensor(state, ASKED), solutions_PD)
        order = self._references_last(state, place_P, order)[: self.num_parents]
        adapted = (
            self._by_success(state, place_P, fitness_P)
            if self.sigma_schedule == "one_fifth"
            else self._inherited(state, place_P[order])
        )
        return {**state, PARENTS: solutions_PD[order], GENERATION: generation, **adapted}

    def _recombined(self, parents: Tensor) -> Tensor:
        """Return what children come from, one row each, of a row a parent: its parameters, or log sigma."""
        if self.recombination == "none":
            return parents[torch.arange(self.num_children, device=parents.device) % len(parents)]
        if self.recombination == "weighted":
            weights = log_weights(len(parents), parents.device).to(parents.dtype)
            mean = (weights[:, None] * parents).sum(dim=0, keepdim=True)
        else:
            mean = parents.mean(dim=0, keepdim=True)
        return mean.expand(self.num_children, -1)

    def _sigma_of_children(self, state: State, parents: Tensor, generator: torch.Generator) -> float | Tensor:
        """Return sigma of the steps: a number, or (lambda, 1) with one a child."""
        if self.sigma_schedule == "one_fifth":
            return tensor(state, SIGMA).expand(self.num_children, 1)
        if self.sigma_schedule == "self_adaptive":
            inherited = self._recombined(tensor(state, SIGMA).log()).exp()  # a geometric mean
            return step_size.varied(inherited, parents.shape[1], generator)
        return float(state[SIGMA])

    def _remembered(self, state: State, asked: Tensor, sigma: float | Tensor) -> State:
        """Return what a tell will need to know of an ask."""
        if self.sigma_schedule == "one_fifth":
            return {ASKED: asked}
        if self.sigma_schedule == "self_adaptive":
            assert isinstance(sigma, Tensor)
            return {ASKED: asked, ASKED_SIGMA: torch.cat((tensor(state, SIGMA), sigma)) if self.parents_live else sigma}
        return {}

    def _references_last(self, state: State, place_P: Tensor, order: Tensor) -> Tensor:
        """Return the order with the reference behind all others, so that it is never a parent."""
        if state[GENERATION] == 0 or not self._num_references:
            return order
        is_reference_P = (place_P >= 0) & (place_P == len(tensor(state, ASKED)) - 1)
        return order[is_reference_P[order].to(torch.uint8).argsort(stable=True)]

    def _by_success(self, state: State, place_P: Tensor, fitness_P: Tensor) -> State:
        """Return what changes with sigma after comparing children with what they come from."""
        asked, num_parents, sigma = tensor(state, ASKED), len(tensor(state, PARENTS)), tensor(state, SIGMA)
        if state[GENERATION] > 0:  # the prior's draws come from nowhere
            fitness = in_places(finite_or_worst(fitness_P).to(torch.float64), place_P, len(asked))
            children = fitness[num_parents if self.parents_live else 0 :][: self.num_children]
            if not self._num_references:  # parents took turns
                origins = fitness[torch.arange(len(children), device=asked.device) % num_parents]
            else:
                children = children[:: num_parents if self.recombination == "none" else 1]
                origins = fitness[-1:].expand(len(children))
            sigma = step_size.by_success(sigma, children, origins, asked.shape[1])
        return {SIGMA: sigma, ASKED: asked.new_empty(0, asked.shape[1])}

    def _inherited(self, state: State, place: Tensor) -> State:
        """Return what changes with sigma, which is that of each parent chosen, (mu, 1), by its place in the ask."""
        asked, asked_sigma = tensor(state, ASKED), tensor(state, ASKED_SIGMA)
        unknown = tensor(state, SIGMA).log().mean(dim=0, keepdim=True).exp()
        sigma = torch.cat((asked_sigma, unknown))[place]  # -1, unknown, is the last
        return {SIGMA: sigma, ASKED: asked.new_empty(0, asked.shape[1]), ASKED_SIGMA: asked_sigma.new_empty(0, 1)}
