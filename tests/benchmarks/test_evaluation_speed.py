"""How fast populations are evaluated, and what a generation spends besides: pair-evaluations a second, on one thread.

``make bench`` runs it. Each figure is printed with the share of this core's FMA peak, which counts the products of the
networks alone, with the share of what the core could do if products and activations were all there is, both measured in
the same run, and with the peak of the memory that it took.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from measures import PeakMemory, possible_rate, rate_of
from workloads import NUM_CLASSES, SIZES, WORKLOADS, search_options

from lossforge.objectives import RankingConsistency
from lossforge.samplers import LogitNormalSampler, MixtureSampler
from lossforge.search import Search
from lossforge.search.generation import asked, assessed
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
    return max(2, min(50, 10_000_000 // (size[0] * size[1])))


def report(benchmark, name: str, size: tuple[int, int], memory: int | None = None) -> None:
    """Print and keep pair-evaluations a second, their shares of what the core can do, and the memory."""
    rate = size[0] * size[1] / benchmark.stats.stats.median
    share, of_possible = rate * WORKLOADS[name].flop / rate_of("flop"), rate / possible_rate(WORKLOADS[name])
    benchmark.extra_info |= {
        "pair_evaluations_per_second": rate,
        "share_of_fma_peak": share,
        "share_of_possible_rate": of_possible,
        "peak_bytes": memory,
    }
    beside = "" if memory is None else f", {memory / 1e6:.0f} MB at most"
    print(
        f"\n{benchmark.name}: {rate / 1e6:.2f} million pair-evaluations/s (median of {benchmark.stats.stats.rounds}), "
        f"{share:.1%} of the FMA peak, "
        f"{of_possible:.0%} of what its arithmetic allows{beside}"
    )


@pytest.mark.parametrize(("name", "size", "backend"), CASES)
class TestPopulations:
    def test_evaluation(self, benchmark, name, size, backend):
        """Losses and comparisons of one population, on pairs that were drawn before."""
        benchmark.group = f"evaluation {name} {size}"
        search = search_of(name, size, backend)
        population, generator = search.evaluator.population(search.ask()), torch.Generator().manual_seed(0)
        batch = search.spec.sampler.sample(size[1], NUM_CLASSES, generator)
        comparisons = RankingConsistency(same_prediction_share=0)._draw_pairs(batch, generator).comparisons
        with PeakMemory() as memory:
            population.concordance(comparisons)
        benchmark.pedantic(population.concordance, args=(comparisons,), rounds=rounds_for(size))
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


@pytest.mark.parametrize("name", WORKLOADS)
def test_shares(benchmark, name):
    """What the parts beside the evaluation take of a generation at P 256, B 4096; all in turns.

    They are drawing predictions with labels, drawing which of them are compared, the strategy's ask and tell, and the
    rest of telling: what is kept of the generation, and the history.
    """
    benchmark.group = "shares of a generation"
    size = 256, 4096
    search = search_of(name, size)
    search.step()
    seconds: dict[str, list[float]] = {"predictions": [], "comparisons": [], "ask and tell": [], "all of telling": []}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        seconds[part].append(time.perf_counter() - began)
        return result

    def generation() -> None:
        evaluator, state, generation = search.evaluator, search.state, search.generation
        generator = evaluator.generator("x", generation)
        batch = timed("predictions", lambda: evaluator.spec.sampler.sample(size[1], NUM_CLASSES, generator))
        timed("comparisons", lambda: evaluator.spec.objective._draw_pairs(batch, generator))
        solutions_PD, state = timed("ask and tell", lambda: asked(state, evaluator))
        assessment = assessed(state, evaluator, solutions_PD)
        rank_P = assessment.rank_P
        timed("ask and tell", lambda: search.strategy.tell(state, solutions_PD, rank_P))
        timed("all of telling", lambda: search.tell(solutions_PD, assessment))

    for _ in range(20):
        generation()
    benchmark.pedantic(search.step, rounds=20)
    whole = benchmark.stats.stats.median
    medians = {part: statistics.median(each) for part, each in seconds.items()}
    medians["ask and tell"] = sum(statistics.median(seconds["ask and tell"][first::2]) for first in (0, 1))
    benchmark.extra_info |= {f"share_of_{part}": median / whole for part, median in medians.items()}
    told = ", ".join(f"{part} {1e3 * median:.2f} ms ({median / whole:.1%})" for part, median in medians.items())
    print(f"\n{benchmark.name}: of {1e3 * whole:.1f} ms, {told}")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", WORKLOADS)
def test_whole_search(benchmark, name, size):
    """150 generations, at the largest size 2, and the choice of the winner."""
    benchmark.group = f"whole search {size}"
    generations = 2 if size == SIZES[-1] else 150
    spec = SearchSpec.model_validate({**search_options(name, *size), "generations": generations})
    benchmark.pedantic(lambda: Search(spec, seed=0).run(), rounds=3 if size == SIZES[0] else 1)
    seconds = benchmark.stats.stats.median
    print(f"\n{benchmark.name}: {generations} generations in {seconds:.2f} s")


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
