"""Golden trajectories: what strategies and mutations do, number by number, on a toy fitness.

Tests of properties leave room: a search that draws its random numbers in another order, recombines with other weights
or decays sigma a generation late still converges. A golden trajectory leaves none, so no result changes unnoticed.

Recording anew is legitimate for one reason: results are meant to change, and the CHANGELOG says which and why (a
corrected formula, another order of draws, other numbers from a new torch). A refactoring that needs it is a defect::

    python tests/golden/trajectories.py [FOLDER]

What is recorded: every strategy with every choice of names among its options, with Gaussian steps if it uses a mutation
operator; and the strategies' defaults with every choice of every mutation. Four cases more are older than this rule.

Everything is float64, so that machines differ by last bits only: in sums of another order, in functions such as the
sine, in the signs of eigenvectors, on which no step of ``cma_es`` depends. Nothing here amplifies those by more than a
thousand but chaotic orbits: they double a difference every step, or worse. Their first points may come from a function
whose last bit depends on the processor. A file therefore holds the state before the first generation too: that state is
compared after a few orbit steps, and the run compared goes on from the one in the file, its orbits by sums, products
and quotients that machines round alike. A map whose steps are not made of those could not be recorded.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin

import torch
from torch import Tensor

from lossforge import registry
from lossforge.component import Component
from lossforge.interfaces import MutationOperator, Strategy
from lossforge.streams import derive_generator
from lossforge.types import State

FOLDER = Path(__file__).parent
RECORD_COMMAND = "python tests/golden/trajectories.py"

SEED = 0
DIM = 5
GENERATIONS = 25
# Options of whichever component has them. 3 steps of burn-in amplify a last bit to less than 1e-13.
OPTIONS = {"population_size": 12, "num_parents": 5, "sigma": 0.3, "sigma_decay": 0.95, "burn_in": 3}

Row: TypeAlias = dict[str, Any]
ALWAYS_TOLD = ("recombination", "form")
"""Options that names of files tell also where they are the defaults; of other options they tell what is no default."""

OLDER = {
    f"mu_{kind}_lambda-none-chaotic-{form}" for kind in ("comma", "plus") for form in ("standardised", "gaussianised")
}
"""Cases beyond the rule, kept because they were recorded before it."""

Trajectory: TypeAlias = dict[str, list[Row]]
"""Rows of plain JSON values: ``start`` and ``end`` are states, ``generations`` the best of each, place in it first."""


class Case(NamedTuple):
    """A strategy to record, and the mutation operator it uses."""

    strategy: Strategy
    mutation: MutationOperator | None


def cases() -> dict[str, Case]:
    """Return what is recorded by the name of its file; strategies without mutation stand alone."""
    found = {}
    gaussian = registry.get("mutations", "gaussian")()
    assert isinstance(gaussian, MutationOperator)
    for name, strategy, is_default in _variants("strategies"):
        assert isinstance(strategy, Strategy)
        if not strategy.uses_mutation:
            found[name] = Case(strategy, None)
            continue
        found[f"{name}-gaussian"] = Case(strategy, gaussian)
        for mutation_name, mutation, _ in _variants("mutations"):
            assert isinstance(mutation, MutationOperator)
            if is_default or f"{name}-{mutation_name}" in OLDER:
                found[f"{name}-{mutation_name}"] = Case(strategy, mutation)
    return found


def _variants(kind: str) -> Iterator[tuple[str, Component, bool]]:
    """Yield the built-in components of a kind with every choice of names among their options, defaults marked."""
    for offer in registry.offers(kind):
        if offer.distribution != "lossforge":
            continue
        component = registry.get(kind, offer.type)
        fields = component.model_fields
        choices = {name: get_args(field.annotation) for name, field in fields.items() if _is_choice(field.annotation)}
        for combination in itertools.product(*choices.values()):
            chosen = dict(zip(choices, combination, strict=True))
            fixed = {name: value for name, value in OPTIONS.items() if name in fields}
            if chosen.get("sigma_schedule", "exponential") != "exponential":
                del fixed["sigma_decay"]
            others = {name: value for name, value in chosen.items() if value != fields[name].default}
            told = [str(value) for name, value in chosen.items() if name in ALWAYS_TOLD or name in others]
            yield "-".join((offer.type, *told)), component(**fixed, **chosen), not others


def _is_choice(annotation: object) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) > 1


def prior(num: int, generator: torch.Generator) -> Tensor:
    """Draw float64 solutions."""
    return torch.randn(num, DIM, dtype=torch.float64, generator=generator)


def rosenbrock(solutions_PD: Tensor) -> Tensor:
    """Return sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, summed in the order of i.

    Rosenbrock, "An automatic method for finding the greatest or least value of a function", Computer Journal 3, 1960.
    """
    columns = solutions_PD.unbind(dim=1)
    total_P = torch.zeros_like(columns[0])
    for x_P, next_P in itertools.pairwise(columns):
        valley_P, slope_P = next_P - x_P * x_P, 1.0 - x_P
        total_P = total_P + (100.0 * (valley_P * valley_P) + slope_P * slope_P)
    return total_P


def begin(case: Case) -> State:
    """Return the state before the first generation, from the streams that a search uses."""
    solutions_PD = prior(case.strategy.num_solutions, derive_generator(SEED, "prior"))
    memory: State = {}
    if case.mutation is not None:
        memory = case.mutation.init(case.strategy.num_children, DIM, derive_generator(SEED, "mutation"))
    return {**case.strategy.init(solutions_PD, derive_generator(SEED, "strategy.init")), **memory}


def follow(case: Case, start: State) -> Trajectory:
    """Return the trajectory that begins in a state."""
    state = start
    generations: list[Row] = []
    for generation in range(GENERATIONS):
        solutions_PD, state = case.strategy.ask(
            state, case.mutation, prior, derive_generator(SEED, "strategy", generation)
        )
        fitness_P = rosenbrock(solutions_PD)
        best = int(fitness_P.argmin())
        found = {"best": best, "fitness": fitness_P[best].item(), "solution": solutions_PD[best].tolist()}
        generations.append(found)
        state = case.strategy.tell(state, solutions_PD, fitness_P)
    return {"start": to_rows(start), "generations": generations, "end": to_rows(state)}


def to_rows(state: State) -> list[Row]:
    """Return a state in plain values, sorted by key."""
    return [{"key": key, **_to_plain(value)} for key, value in sorted(state.items())]


def _to_plain(value: Tensor | float | int) -> Row:
    if not isinstance(value, Tensor):
        return {"value": value}
    dtype = str(value.dtype).removeprefix("torch.")
    return {"dtype": dtype, "shape": list(value.shape), "values": value.flatten().tolist()}


def to_state(rows: list[Row]) -> State:
    """Return the state that :func:`to_rows` was given."""
    return {row["key"]: _from_plain(row) for row in rows}


def _from_plain(row: Row) -> Tensor | float | int:
    if "value" in row:
        value: float | int = row["value"]
        return value
    return torch.tensor(row["values"], dtype=getattr(torch, row["dtype"])).reshape(row["shape"])


def to_text(trajectory: Trajectory) -> str:
    """Return JSON with a line a row; numbers read back exactly, so equal texts are equal bits."""
    sections = (f'"{name}": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in trajectory.items())
    return "{\n" + ",\n".join(sections) + "\n}\n"


def main(folder: Path = FOLDER) -> None:
    """Record every case in ``folder``."""
    for name, case in cases().items():
        (folder / f"{name}.json").write_text(to_text(follow(case, begin(case))), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
