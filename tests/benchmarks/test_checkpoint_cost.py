"""What a checkpoint costs: seconds beside a generation of the same search, and bytes.

The state is that of the ``edl`` recipe after 150 generations, when its memory of fingerprints is largest: every
candidate is taken to have passed the gates. Bytes are in ``extra_info`` of the saved results, and printed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lossforge import presets
from lossforge.search import Search
from lossforge.search import progress as keys
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.types import State

GENERATIONS = 150


def search_of(population_size: int) -> Search:
    search = presets.load("edl").search
    strategy = search.strategy.grown(population_size / search.strategy.population_size)
    return Search(search.model_copy(update={"strategy": strategy}))


def late_state(search: Search) -> State:
    """The state of a search that has done one generation, with the memory that 150 of them would leave."""
    search.step()
    state, num_solutions = search.state_dict(), search.strategy.num_solutions
    pool = state[keys.POOL]
    assert isinstance(pool, torch.Tensor)
    return {
        **state,
        keys.POOL: pool.expand(GENERATIONS, -1).clone(),
        keys.POOL_RESTART: torch.zeros(GENERATIONS, dtype=torch.int64),
        keys.BEST_FITNESS: torch.zeros(GENERATIONS, dtype=torch.float64),
        keys.FINGERPRINTS: torch.randint(2**62, (2, GENERATIONS * num_solutions)).sort().values,
    }


@pytest.mark.parametrize("population_size", [64, 4096])
class TestCheckpoint:
    def test_saving(self, population_size, tmp_path: Path, benchmark):
        state, numbers = late_state(search_of(population_size)), iter(range(10**6))
        benchmark.group = f"P = {population_size}"
        benchmark.pedantic(lambda: save_checkpoint(tmp_path, next(numbers), state), rounds=20, warmup_rounds=1)
        newest = max(path for path in tmp_path.iterdir())
        sizes = {path.name: path.stat().st_size for path in newest.iterdir()}
        benchmark.extra_info.update(sizes)
        print(f"\nP = {population_size}: {sum(sizes.values()):,} bytes: {sizes}")

    def test_loading(self, population_size, tmp_path: Path, benchmark):
        state = late_state(search_of(population_size))
        save_checkpoint(tmp_path, 1, state)
        benchmark.group = f"P = {population_size}"
        restored = benchmark.pedantic(lambda: load_checkpoint(tmp_path), rounds=20, warmup_rounds=1)
        assert restored.keys() == state.keys()

    def test_a_generation_beside_it(self, population_size, benchmark):
        search = search_of(population_size)
        search.step()
        benchmark.group = f"P = {population_size}"
        benchmark.pedantic(search.step, rounds=10 if population_size < 1000 else 3, warmup_rounds=1)
