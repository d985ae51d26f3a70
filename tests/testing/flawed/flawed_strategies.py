"""Flawed strategies: each breaks a contract, which its docstring tells."""

from typing import Literal

import torch
from pydantic import Field

from lossforge.interfaces import Strategy
from lossforge.strategies import SNES


class Sound(Strategy):
    """Natural evolution by another name, in which nothing is wrong."""

    type: Literal["sound"] = "sound"
    population_size: int = Field(default=12, description="solutions of a generation")
    uses_mutation = False

    @property
    def num_solutions(self):
        return self.population_size

    @property
    def num_children(self):
        return 0

    def grown(self, factor):
        return type(self)(population_size=round(factor * self.population_size))

    def inner(self):
        return SNES(population_size=self.population_size)

    def init(self, solutions_PD, generator):
        return self.inner().init(solutions_PD, generator)

    def ask(self, state, mutation, prior, generator):
        return self.inner().ask(state, mutation, prior, generator)

    def tell(self, state, solutions_PD, fitness_P):
        return self.inner().tell(state, solutions_PD, fitness_P)


class Unbounded(Sound):
    """Its state holds a best fitness that begins at infinity."""

    type: Literal["unbounded"] = "unbounded"

    def init(self, solutions_PD, generator):
        return {**super().init(solutions_PD, generator), "strategy.best": float("inf")}

    def tell(self, state, solutions_PD, fitness_P):
        return {**super().tell(state, solutions_PD, fitness_P), "strategy.best": 0.0}


class Weighing(Sound):
    """It looks at the fitness itself."""

    type: Literal["weighing"] = "weighing"

    def tell(self, state, solutions_PD, fitness_P):
        told = super().tell(state, solutions_PD, fitness_P)
        finite = fitness_P[fitness_P.isfinite()]
        share = torch.tanh(finite.min()).item() if len(finite) else 0.5
        return {**told, "strategy.sigma": told["strategy.sigma"] * (1 - 0.01 * share)}


class Dropping(Sound):
    """It drops the keys of others."""

    type: Literal["dropping"] = "dropping"

    def tell(self, state, solutions_PD, fitness_P):
        told = super().tell(state, solutions_PD, fitness_P)
        return {key: value for key, value in told.items() if key.startswith("strategy.")}


class Stunted(Sound):
    """It does not grow."""

    type: Literal["stunted"] = "stunted"

    def grown(self, factor):
        return self


class Elsewhere(Sound):
    """Its first generation is not the prior's."""

    type: Literal["elsewhere"] = "elsewhere"

    def init(self, solutions_PD, generator):
        return super().init(solutions_PD + 1, generator)


FIRST = {}


class Amnesiac(Sound):
    """It keeps elsewhere what the state has only a number of."""

    type: Literal["amnesiac"] = "amnesiac"

    def init(self, solutions_PD, generator):
        number = generator.initial_seed() % 1000
        FIRST[number] = 1.01
        return {**super().init(solutions_PD, generator), "strategy.number": number}

    def tell(self, state, solutions_PD, fitness_P):
        told = super().tell(state, solutions_PD, fitness_P)
        return {**told, "strategy.sigma": told["strategy.sigma"] * FIRST.get(told["strategy.number"], 1.0)}
