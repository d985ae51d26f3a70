"""How far a search is: the part of its state that belongs to no component, and how it changes.

A run is one search or several, one after the other. Some keys are of the current search, others of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.run_content import STOP_REASONS, StopReason
from lossforge.search.evaluator import Assessment
from lossforge.search.fingerprint import NUM_GRIDS, Memory, merged
from lossforge.search.history import Record
from lossforge.types import State

RESTART = "search.restart"
GENERATION = "search.generation"
FRUITLESS = "search.fruitless_generations"
BEST_FITNESS = "search.best_fitness"
LAST = "search.last_solutions"
LAST_IS_NEW = "search.last_is_new"
"""Which of them were no copies; one that was is a copy still when it is asked for again."""
FINGERPRINTS = "search.fingerprints"

SEED = "search.seed"
NUM_RECORDS = "search.num_records"
EVALUATIONS = "search.evaluations"
POOL = "search.pool"
POOL_RESTART = "search.pool_restart"
ENDED = "search.ended"
FINISHED = "search.finished"
SECONDS = "search.seconds"
"""There only where a spec limits the wall time."""
REJECTED = "search.rejected."
"""Prefix of the counts by reason."""
ARCHIVE = "search.archive."
"""Prefix of the archive's keys, which are there only once an objective has told of trade-offs."""
NOT_ALWAYS = (SECONDS, REJECTED, ARCHIVE)
"""What keys begin with that a state may be without."""
ON_THE_CPU = (BEST_FITNESS, ENDED)
"""Tensors that decisions rest on: they stay on the CPU, whatever the device."""


@dataclass(frozen=True)
class SearchEnd:
    """How one of the searches of a run ended; ``evaluations`` are those of the run until then."""

    restart: int
    num_solutions: int
    generations: int
    evaluations: int
    stopped: StopReason


def of_a_new_run(seed: int, solutions_PD: Tensor) -> State:
    """Return the keys of the whole run before anything has happened."""
    indices = torch.zeros(0, dtype=torch.int64, device=solutions_PD.device)
    return {
        SEED: seed,
        NUM_RECORDS: 0,
        EVALUATIONS: 0,
        POOL: solutions_PD[:0],
        POOL_RESTART: indices,
        ENDED: torch.zeros(0, 4, dtype=torch.int64, device="cpu"),
        FINISHED: 0,
    }


def of_a_new_search(restart: int, solutions_PD: Tensor) -> State:
    """Return the keys of a search before its first generation."""
    device = solutions_PD.device
    return {
        RESTART: restart,
        GENERATION: 0,
        FRUITLESS: 0,
        BEST_FITNESS: torch.zeros(0, dtype=torch.float64, device="cpu"),
        LAST: solutions_PD,
        LAST_IS_NEW: torch.ones(len(solutions_PD), dtype=torch.bool, device=device),
        FINGERPRINTS: torch.zeros(NUM_GRIDS, 0, dtype=torch.int64, device=device),
    }


def handed_on(state: State) -> State:
    """Return the keys that one search leaves to the next."""
    keys = (SEED, NUM_RECORDS, EVALUATIONS, POOL, POOL_RESTART, ENDED, FINISHED, SECONDS)
    return {key: value for key, value in state.items() if key in keys or key.startswith((REJECTED, ARCHIVE))}


def after_telling(state: State, solutions_PD: Tensor, assessment: Assessment) -> State:
    """Return the keys that a generation changes and for which nothing needs to be read from the device.

    Fingerprints of candidates that fail a gate have room among the others until :func:`after_reading` removes it.
    """
    best = assessment.rank_P.argmin(dim=0, keepdim=True)  # one index in a tensor, which nobody has to read
    known_GN, keys_PG = tensor(state, FINGERPRINTS), assessment.gates.keys_PG
    return {
        GENERATION: integer(state, GENERATION) + 1,
        LAST: solutions_PD,
        LAST_IS_NEW: _is_new(solutions_PD, assessment),
        FINGERPRINTS: known_GN if keys_PG is None else merged(known_GN, keys_PG, assessment.gates.feasible_P),
        **_pooled(state, solutions_PD.index_select(0, best)),
    }


def after_reading(state: State, told: State, record: Record, num_new_keys: int) -> State:
    """Return the keys that follow from what a generation came to.

    Args:
        state: before the generation.
        told: after it, but for these keys.
        record: its line of the history.
        num_new_keys: how many fingerprints it added.
    """
    # Copies of losses found before are no sign that the gates cannot be passed: a search that converges makes them.
    has_copies = record["rejected"].get("duplicate", 0) > 0
    earlier = {key: value for key, value in state.items() if key.startswith(REJECTED)}
    rejected = earlier | {
        f"{REJECTED}{reason}": integer(state, f"{REJECTED}{reason}") + count
        for reason, count in record["rejected"].items()
    }
    num_keys = tensor(state, FINGERPRINTS).shape[1] + num_new_keys
    return {
        **rejected,
        NUM_RECORDS: integer(state, NUM_RECORDS) + 1,
        EVALUATIONS: record["evaluations"],
        FRUITLESS: 0 if record["num_feasible"] or has_copies else integer(state, FRUITLESS) + 1,
        BEST_FITNESS: _appended(tensor(state, BEST_FITNESS), _best_fitness(state, record, has_copies)),
        FINGERPRINTS: tensor(told, FINGERPRINTS)[:, :num_keys].contiguous(),
    }


def after_search(state: State, reason: StopReason) -> State:
    """Return the keys that the end of a search changes: its last population joins the pool, too."""
    num_solutions = len(tensor(state, LAST))
    end = num_solutions, integer(state, GENERATION), integer(state, EVALUATIONS), STOP_REASONS.index(reason)
    ended = tensor(state, ENDED)
    return {ENDED: torch.cat((ended, ended.new_tensor([end]))), **_pooled(state, tensor(state, LAST))}


def searches_ended(state: State) -> tuple[SearchEnd, ...]:
    """Return how the searches so far have ended."""
    return tuple(
        SearchEnd(restart, num_solutions, generations, evaluations, STOP_REASONS[reason])
        for restart, (num_solutions, generations, evaluations, reason) in enumerate(tensor(state, ENDED).tolist())
    )


def pool_of(state: State, restart: int) -> Tensor:
    """Return the solutions that the winner of a search is chosen from: its generation bests and last population."""
    pool_PD = tensor(state, POOL)[tensor(state, POOL_RESTART) == restart]
    if restart == integer(state, RESTART) and len(tensor(state, ENDED)) <= restart:  # it has not ended
        return torch.cat((pool_PD, tensor(state, LAST)))
    return pool_PD


def rejections(state: State) -> Mapping[str, int]:
    """Return how many candidates of the run were rejected, by reason."""
    return {key.removeprefix(REJECTED): integer(state, key) for key in state if key.startswith(REJECTED)}


def memory_of(state: State) -> Memory:
    """Return what the search has evaluated."""
    return Memory(tensor(state, FINGERPRINTS), tensor(state, LAST), tensor(state, LAST_IS_NEW))


def tensor(state: State, key: str) -> Tensor:
    """Return a tensor of the state."""
    value = state[key]
    assert isinstance(value, Tensor)
    return value


def integer(state: State, key: str) -> int:
    """Return an integer of the state; 0 where it is not there yet."""
    return int(state.get(key, 0))


def _best_fitness(state: State, record: Record, has_copies: bool) -> float:
    """Return the best feasible fitness of a generation; copies alone are worth what was found before them."""
    if record["num_feasible"]:
        return float(record["best_fitness"])
    before = tensor(state, BEST_FITNESS)
    return float(before[-1]) if has_copies and len(before) else math.inf


def _is_new(solutions_PD: Tensor, assessment: Assessment) -> Tensor:
    copied = assessment.gates.violations.get("duplicate")
    return solutions_PD.new_ones(len(solutions_PD), dtype=torch.bool) if copied is None else copied == 0


def _pooled(state: State, solutions_PD: Tensor) -> State:
    restart_P = tensor(state, POOL_RESTART)
    added = restart_P.new_full((len(solutions_PD),), integer(state, RESTART))
    return {POOL: torch.cat((tensor(state, POOL), solutions_PD)), POOL_RESTART: torch.cat((restart_P, added))}


def _appended(values: Tensor, value: float) -> Tensor:
    return torch.cat((values, values.new_tensor([value])))
