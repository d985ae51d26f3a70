"""How fast populations are evaluated, and what a generation spends besides: pair-evaluations a second, on one thread.

``make bench`` runs it. Each figure is printed with the share of this core's FMA peak, which is measured in the same run
and counts the products of the networks alone, and with the peak of the memory that it took.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from measures import PeakMemory, peak_flop_per_second
from workloads import NUM_CLASSES, SIZES, WORKLOADS, search_options

from lossforge.objectives import RankingConsistency
from lossforge.samplers import LogitNormalSampler, MixtureSampler
from lossforge.search import Search
from lossforge.spec import SearchSpec

CASES = [
    pytest.param(name, size, "compiled", id=f"{name}-{size[0]}x{size[1]}-compiled")
    for name, size in itertools.product(WORKLOADS, SIZES)
] + [
    pytest.param(name, size, "eager", id=f"{name}-{size[0]}x{size[1]}-eager")
    for name, size in itertools.product(WORKLOADS, SIZES[:2])
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def search_of(name: str, size: tuple[int, int], backend: str = "compiled") -> Search:
    return Search(SearchSpec.model_validate({**search_options(name, *size), "backend": backend}), seed=0)


def rounds_for(size: tuple[int, int]) -> int:
    return max(1, min(50, 10_000_000 // (size[0] * size[1])))


def report(benchmark, name: str, size: tuple[int, int], memory: int | None = None) -> None:
    """Print and keep pair-evaluations a second, the share of the FMA peak, and the memory."""
    rate = size[0] * size[1] / benchmark.stats.stats.median
    share = rate * WORKLOADS[name].flop / peak_flop_per_second()
    benchmark.extra_info |= {"pair_evaluations_per_second": rate, "share_of_fma_peak": share, "peak_bytes": memory}
    beside = "" if memory is None else f", {memory / 1e6:.0f} MB at most"
    print(f"\n{benchmark.name}: {rate / 1e6:.2f} million pair-evaluations/s, {share:.1%} of the FMA peak{beside}")


@pytest.mark.parametrize(("name", "size", "backend"), CASES)
class TestPopulations:
    def test_evaluation(self, benchmark, name, size, backend):
        """Losses and comparisons of one population on one batch."""
        benchmark.group = f"evaluation {name} {size}"
        search = search_of(name, size, backend)
        population = search.evaluator.population(search.ask())
        batch = search.evaluator.in_generation  # the same batch in every round
        solutions_PD = population.solutions_PD

        def evaluate() -> None:
            batch(solutions_PD, 0)

        with PeakMemory() as memory:
            evaluate()
        benchmark.pedantic(evaluate, rounds=rounds_for(size))
        report(benchmark, name, size, memory.bytes)

    def test_generation(self, benchmark, name, size, backend):
        """Draw, ask, evaluate, tell."""
        benchmark.group = f"generation {name} {size}"
        search = search_of(name, size, backend)
        search.step()
        with PeakMemory() as memory:
            search.step()
        benchmark.pedantic(search.step, rounds=rounds_for(size))
        report(benchmark, name, size, memory.bytes)


@pytest.mark.parametrize("size", SIZES, ids=str)
class TestBesideEvaluation:
    """What the parts of a generation cost that do not depend on the network; its solutions are those of W2."""

    @pytest.mark.parametrize("sampler", [MixtureSampler(), LogitNormalSampler()], ids=lambda sampler: sampler.type)
    def test_sampling(self, benchmark, size, sampler):
        benchmark.group = f"beside evaluation {size}"
        generator = torch.Generator().manual_seed(0)
        benchmark.pedantic(sampler.sample, args=(size[1], NUM_CLASSES, generator), rounds=20, warmup_rounds=1)

    def test_drawing_comparisons(self, benchmark, size):
        benchmark.group = f"beside evaluation {size}"
        generator = torch.Generator().manual_seed(0)
        batch = MixtureSampler().sample(size[1], NUM_CLASSES, generator)
        benchmark.pedantic(RankingConsistency()._draw_pairs, args=(batch, generator), rounds=20, warmup_rounds=1)

    def test_ask(self, benchmark, size):
        benchmark.group = f"beside evaluation {size}"
        search = search_of("W2", size)
        search.step()
        benchmark.pedantic(search.ask, rounds=20, warmup_rounds=1)

    def test_tell(self, benchmark, size):
        benchmark.group = f"beside evaluation {size}"
        search = search_of("W2", (size[0], 256))
        solutions_PD = search.ask()
        assessment = search.evaluate(solutions_PD)
        benchmark.pedantic(search.tell, args=(solutions_PD, assessment), rounds=20, warmup_rounds=1)


@pytest.mark.parametrize("name", ["W1", "W2", "W3"])
def test_whole_search(benchmark, name):
    """150 generations at P 64, B 256, and the choice of the winner."""
    benchmark.group = "whole search"
    spec = SearchSpec.model_validate({**search_options(name, 64, 256), "generations": 150})
    benchmark.pedantic(lambda: Search(spec, seed=0).run(), rounds=3)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("name", ["W1", "W2", "W3"])
def test_threads(benchmark, name, num_threads):
    """A generation at P 256, B 4096 on one core and on two."""
    benchmark.group = f"threads {name}"
    torch.set_num_threads(num_threads)
    search = search_of(name, (256, 4096))
    search.step()
    benchmark.pedantic(search.step, rounds=20)
    report(benchmark, name, (256, 4096))
