"""The one loop of every search: ask, evaluate, tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.winner import choose_winner, finite_or_none
from lossforge.spec import SearchSpec
from lossforge.types import State

GENERATION = "search.generation"
FRUITLESS = "search.fruitless_generations"
BESTS = "search.generation_bests"
LAST = "search.last_solutions"

Record = Mapping[str, Any]
"""One line of the history: JSON values, no times."""


class Search:
    """A search for a loss, in one call or step by step::

        search = Search(spec, seed=0)
        artifact = search.run()

        while search.generation < spec.generations:
            solutions_PD = search.ask()
            search.tell(solutions_PD, search.evaluate(solutions_PD))
        artifact = search.winner()

    Every random number comes from a stream of (seed, name, generation), and ``state`` holds all that changes, so a
    search given an earlier state goes on exactly as it would have.
    """

    def __init__(
        self, spec: SearchSpec, *, seed: int = 0, device: str = "cpu", name: str = "search", state: State | None = None
    ) -> None:
        self.spec = spec
        self.name = name
        self.evaluator = Evaluator(spec, seed, torch.device(device))
        self.state: State = self._first_state() if state is None else self._on_device(state)

    @property
    def generation(self) -> int:
        """Generations told so far."""
        return int(self.state[GENERATION])

    @property
    def evaluations(self) -> int:
        """Solutions evaluated so far."""
        return self.generation * self.spec.strategy.num_solutions

    def ask(self) -> Tensor:
        """Return solutions_PD to evaluate in this generation; call it once a generation."""
        solutions_PD, self.state = self.spec.strategy.ask(
            self.state,
            self.spec.mutation,
            self.spec.parameterization.init,
            self.evaluator.generator("strategy", self.generation),
        )
        return solutions_PD

    def evaluate(self, solutions_PD: Tensor) -> Assessment:
        """Evaluate solutions on this generation's batch, which all of them share."""
        return self.evaluator.in_generation(solutions_PD, self.generation)

    def tell(self, solutions_PD: Tensor, assessment: Assessment) -> Record:
        """Take in the generation's assessment; return its line of the history.

        Raises:
            NoFeasibleSolutionError: no candidate has passed the gates for ``gates.patience`` generations.
        """
        rank_P = assessment.rank_P
        record = self._record(assessment)
        best_D = solutions_PD[rank_P.argmin()]
        fruitless = 0 if record["num_feasible"] else int(self.state[FRUITLESS]) + 1
        told = self.spec.strategy.tell(self.state, solutions_PD, rank_P)
        self.state = {
            **told,
            GENERATION: self.generation + 1,
            FRUITLESS: fruitless,
            BESTS: torch.cat((_tensor(self.state, BESTS), best_D[None])),
            LAST: solutions_PD,
        }
        if fruitless >= self.spec.gates.patience:
            raise NoFeasibleSolutionError(_no_feasible_message(fruitless, record))
        return record

    def step(self) -> Record:
        """Run one generation."""
        solutions_PD = self.ask()
        return self.tell(solutions_PD, self.evaluate(solutions_PD))

    def run(self, on_generation: Callable[[Record], None] | None = None) -> Artifact:
        """Run the generations that are left and return the winner."""
        while self.generation < self.spec.generations:
            record = self.step()
            if on_generation is not None:
                on_generation(record)
        return self.winner()

    def winner(self) -> Artifact:
        """Choose among generation bests and the last population on a selection stream; report on a held-out one.

        Raises:
            NoFeasibleSolutionError: none of them passes the gates.
        """
        pool_PD = torch.cat((_tensor(self.state, BESTS), _tensor(self.state, LAST)))
        effort = {"generations": self.generation, "evaluations": self.evaluations}
        return choose_winner(self.evaluator, pool_PD, self.name, effort)

    def _first_state(self) -> State:
        strategy, mutation = self.spec.strategy, self.spec.mutation
        parameterization = self.spec.parameterization
        solutions_PD = parameterization.init(strategy.num_solutions, self.evaluator.generator("prior"))
        memory: State = {}
        if mutation is not None:
            generator = self.evaluator.generator("mutation")
            memory = mutation.init(strategy.num_children, parameterization.num_parameters, generator)
        return {
            **strategy.init(solutions_PD, self.evaluator.generator("strategy.init")),
            **memory,
            GENERATION: 0,
            FRUITLESS: 0,
            BESTS: solutions_PD[:0],
            LAST: solutions_PD,
        }

    def _on_device(self, state: State) -> State:
        device = self.evaluator.device
        return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in state.items()}

    def _record(self, assessment: Assessment) -> dict[str, Any]:
        """Return the history line, with one transfer from the device."""
        fitness_P, gates = assessment.evaluation.fitness_P, assessment.gates
        best = assessment.rank_P.argmin()
        metrics = assessment.evaluation.metrics
        values = torch.stack(
            [
                gates.feasible_P.sum().double(),
                gates.total_P[best].double(),
                fitness_P[best].double(),
                fitness_P.nanmedian().double(),
                *((violation == 0).double().mean() for violation in gates.violations.values()),
                *(metric[best].double() for metric in metrics.values()),
            ]
        ).tolist()
        head, rates, of_best = values[:4], values[4 : 4 + len(gates.violations)], values[4 + len(gates.violations) :]
        return {
            "generation": self.generation,
            "evaluations": self.evaluations + len(fitness_P),
            "num_solutions": len(fitness_P),
            "num_feasible": int(head[0]),
            "best_violation": finite_or_none(head[1]),
            "best_fitness": finite_or_none(head[2]),
            "median_fitness": finite_or_none(head[3]),
            "pass_rates": dict(zip(gates.violations, rates, strict=True)),
            "best_metrics": dict(zip(metrics, map(finite_or_none, of_best), strict=True)),
        }


def _tensor(state: State, key: str) -> Tensor:
    value = state[key]
    assert isinstance(value, Tensor)
    return value


def _no_feasible_message(fruitless: int, record: Record) -> str:
    rates = ", ".join(f"{name} {rate:.0%}" for name, rate in record["pass_rates"].items())
    return (
        f"no candidate passed all gates for {fruitless} generations (passed in the last one: {rates}; smallest "
        f"violation {record['best_violation']}); loosen search.gates, raise search.gates.patience, enlarge the "
        "population or sigma, or use features: log_prob"
    )
