"""Sizes that no memory holds: refused before any work where they are known, told of where an allocation fails.

The least that a search needs is known beforehand: the numbers of one population, and of one batch. What its components
allocate besides is not, so that a search which passes may still be too large.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lossforge.component import Options
from lossforge.errors import NotEnoughMemoryError, SpecError
from lossforge.spec import SearchSpec

NOT_HELD = frozenset(
    {
        "schema_version",
        "seed",
        "split_seed",
        "generations",
        "restarts",
        "stop",
        "patience",
        "checkpoint_every",
        "epochs",
    }
)
"""Options whose numbers are no sizes of anything in memory."""

_TOLD = 3
"""How many of the largest sizes a message names."""

_FAILED = (
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "multiplication overflow",
)
"""What torch says in a plain RuntimeError of an allocation on the CPU: on Linux, on Windows, and beyond 2^63 bytes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is exhausted; on the CPU torch raises a plain RuntimeError then."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _FAILED)
    )


def refuse_beyond_memory(spec: SearchSpec) -> None:
    """Refuse a search of which a part alone is larger than the memory of this machine.

    Raises:
        SpecError: it is; the message says what asks for how much, and what to lower.
    """
    memory = physical_memory()
    if memory is None:
        return
    problems = [
        f"search: {what} take {_in_words(num_bytes)}, but this machine has {_in_words(memory)}; lower {remedy}"
        for what, num_bytes, remedy in _least_needs(spec)
        if num_bytes > memory
    ]
    if problems:
        raise SpecError(problems)


@contextmanager
def told_by_size(options: Options, place: str) -> Iterator[None]:
    """Turn a failed allocation into an error that names the largest sizes in ``options``, which stand at ``place``.

    Where one stands inside another, the outer one has the say.

    Raises:
        NotEnoughMemoryError: an allocation has failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sizes = sorted(_sizes(options.model_dump(mode="json"), place), key=lambda size: -size[1])[:_TOLD]
        told = ", ".join(f"{where} ({number:,})" for where, number in sizes)
        raise NotEnoughMemoryError(
            f"{place}: memory is not enough{_asked_for(error)}; lower what is too large: the largest sizes are {told}"
        ) from error


def _asked_for(error: BaseException) -> str:
    """Return how much was asked for, where torch says it."""
    while isinstance(error, NotEnoughMemoryError) and error.__cause__ is not None:
        error = error.__cause__
    if found := re.search(r"allocate (\d+) bytes", str(error)):
        return f", {_in_words(int(found[1]))} were asked for at once"
    found = re.search(r"allocate ([\d.]+ [KMGT]iB)", str(error))
    return f", {found[1]} were asked for at once" if found else ""


def physical_memory() -> int | None:
    """Return the bytes of memory that the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # on Windows there is no such function
        return None


def _least_needs(spec: SearchSpec) -> Iterator[tuple[str, int, str]]:
    """Yield what a search must hold at once, its bytes, and the options that make it so large."""
    stop = spec.stop
    may_end_before = any(each is not None for each in (stop.evaluations, stop.wall_time, stop.target_fitness))
    restart = 0 if may_end_before else spec.restarts - 1
    num, dim = spec.strategy_of(restart).num_solutions, spec.parameterization.num_parameters
    growth = ", search.restarts, search.population_growth" if restart and spec.population_growth > 1 else ""
    yield (
        f"{num:,} candidates of {dim:,} numbers",
        4 * num * dim,
        f"the population of search.strategy{growth}, or the sizes of search.parameterization",
    )
    for name in ("batch_size", "selection_batch_size"):
        pairs = getattr(spec, name)
        yield (
            f"{pairs:,} pairs of {spec.num_classes:,} classes",
            pairs * (4 * spec.num_classes + 16),  # two int64 beside the log-probabilities
            f"search.{name} or search.num_classes",
        )


def _sizes(value: Any, place: str) -> Iterator[tuple[str, int]]:
    """Yield the place and number of each size in plain values."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in NOT_HELD:
                yield from _sizes(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _sizes(inner, f"{place}.{index}")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place, value


def _in_words(num_bytes: int) -> str:
    return f"{num_bytes / 1e12:,.1f} TB" if num_bytes >= 1e12 else f"{num_bytes / 1e9:.1f} GB"
