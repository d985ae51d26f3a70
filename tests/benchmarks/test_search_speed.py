"""What a search spends its time on; `make bench` runs it, and `pytest` passes it over.

Figures mean something only beside each other: compare rows of one group in one run.
"""

import pytest
import torch

from lossforge import presets
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, Search, apply_gates
from lossforge.spec import GateSpec

SIZES = [(48, 512), (256, 4096)]


def drawn(num_solutions, num_pairs):
    generator = torch.Generator().manual_seed(0)
    family = PairwiseMLP()
    batch = MixtureSampler().sample(num_pairs, 10, generator)
    return ParameterPopulation(family, family.init(num_solutions, generator), 10), batch


@pytest.mark.benchmark(group="losses of a population")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_population_in_blocks(benchmark, size):
    population, batch = drawn(*size)
    losses = benchmark(population.losses, batch.log_probs_BC[None], batch.labels_B)
    assert losses.shape == size


@pytest.mark.benchmark(group="losses of a population")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_candidates_one_by_one(benchmark, size):
    population, batch = drawn(*size)
    family, solutions_PD = population.parameterization, population.solutions_PD

    def one_by_one():
        with torch.no_grad():
            return [family.loss(solution[None], batch.log_probs_BC[None], batch.labels_B) for solution in solutions_PD]

    losses = benchmark(one_by_one)
    torch.testing.assert_close(torch.cat(losses), population.losses(batch.log_probs_BC[None], batch.labels_B))


@pytest.mark.benchmark(group="parts of a generation of edl")
def test_sampling(benchmark):
    generator = torch.Generator().manual_seed(0)
    batch = benchmark(lambda: MixtureSampler().sample(512, 10, generator))
    assert len(batch.labels_B) == 512


@pytest.mark.benchmark(group="parts of a generation of edl")
def test_gates(benchmark):
    population, _ = drawn(48, 512)
    batch = MixtureSampler().sample(256, 10, torch.Generator().manual_seed(1))
    result = benchmark(lambda: apply_gates(GateSpec(), population, batch))
    assert result.total_P.shape == (48,)


@pytest.mark.benchmark(group="parts of a generation of edl")
def test_whole_generation(benchmark):
    search = Search(presets.load("edl").search, seed=0)
    record = benchmark.pedantic(search.step, rounds=30, warmup_rounds=2)
    assert record["num_solutions"] == 48
