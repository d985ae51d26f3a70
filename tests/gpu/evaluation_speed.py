"""How fast populations are evaluated on a CUDA device: ``python tests/gpu/evaluation_speed.py``.

Kernel evaluation is the comparison of every prediction with another, as in a search, on one batch that lies on the
device; a generation is a whole one: draw, ask, evaluate, tell. Each figure is the median of repeated timings. Without a
CUDA device, smaller sizes are timed on the CPU, by the compiled back end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from workloads import LOGIT_SCALE, LOGIT_SHIFT, NUM_CLASSES, WORKLOADS, search_options

from lossforge.comparisons import Comparisons
from lossforge.interfaces import stated_form
from lossforge.native import PerceptronKernel
from lossforge.native.perceptron_triton import TritonPerceptron
from lossforge.search import Search
from lossforge.search.backends import Kernel
from lossforge.spec import SearchSpec

SIZES = {"cuda": [(256, 4096), (1024, 1024), (4096, 65536)], "cpu": [(64, 256), (256, 4096)]}
QUICK_SIZES = [(16, 64)]
GENERATIONS = 16
"""Generations of a launch, after which a search reads what they came to."""
BACKENDS = {"cuda": "triton", "cpu": "compiled"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="one small size, once: whether it runs")
    quick = options.parse_args().quick
    device = "cuda" if torch.cuda.is_available() else "cpu"
    describe(device)
    for name in WORKLOADS:
        for size in QUICK_SIZES if quick else SIZES[device]:
            seconds = median_seconds(evaluation(name, size, device), device, repetitions(size, quick))
            rate = size[0] * size[1] / seconds / 1e6
            print(f"{name:12} P {size[0]:5} B {size[1]:6}: {rate:10.2f} million pair-evaluations/s in the kernel")
        size = QUICK_SIZES[0] if quick else (256, 4096)
        seconds = median_seconds(generation(name, size, device), device, 1 if quick else 20 if device == "cuda" else 3)
        rate = GENERATIONS / seconds
        print(f"{name:12} P {size[0]:5} B {size[1]:6}: {rate:10.2f} generations/s", flush=True)


def describe(device: str) -> None:
    if device == "cpu":
        print("no CUDA device: the compiled back end of the CPU, on", torch.get_num_threads(), "threads")
        print("torch", torch.__version__)
        return
    import triton

    properties = torch.cuda.get_device_properties(0)
    print(f"CUDA device {properties.name}, {properties.multi_processor_count} multiprocessors")
    print("torch", torch.__version__, "triton", triton.__version__, "CUDA", torch.version.cuda)


def repetitions(size: tuple[int, int], quick: bool) -> int:
    return 1 if quick else max(5, min(100, 200_000_000 // (size[0] * size[1])))


def median_seconds(work: Callable[[], object], device: str, number: int) -> float:
    """Return the median time of one call after three that do not count: compilation, and memory that is kept."""
    for _ in range(3):
        work()
    seconds = []
    for _ in range(number):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def spec_of(name: str, size: tuple[int, int], device: str) -> SearchSpec:
    return SearchSpec.model_validate({**search_options(name, *size), "backend": BACKENDS[device]})


def evaluation(name: str, size: tuple[int, int], device: str) -> Callable[[], object]:
    """Return what compares the losses of P candidates on B predictions, each with its neighbour on a random cycle."""
    num, num_rows = size
    parameterization = SearchSpec.model_validate(search_options(name, *size)).parameterization
    form = stated_form(parameterization)
    assert form is not None
    kernel: Kernel = (TritonPerceptron if device == "cuda" else PerceptronKernel)(form, NUM_CLASSES)
    generator = torch.Generator(device).manual_seed(0)
    labels_R = torch.randint(NUM_CLASSES, (num_rows,), generator=generator, device=device)
    logits_RC = LOGIT_SCALE * torch.randn(num_rows, NUM_CLASSES, generator=generator, device=device)
    log_probs_RC = torch.log_softmax(
        logits_RC + LOGIT_SHIFT * torch.nn.functional.one_hot(labels_R, NUM_CLASSES), dim=1
    )
    order = torch.randperm(num_rows, generator=generator, device=device)
    first_R = torch.empty_like(order).scatter_(0, order, order.roll(1))
    own_R = log_probs_RC.gather(1, labels_R[:, None])[:, 0]
    sign_R = torch.sign(own_R - own_R[first_R])
    comparisons = Comparisons(log_probs_RC, labels_R, first_R, sign_R, torch.zeros_like(first_R), 1)
    solutions_PD = parameterization.init(num, generator)
    return lambda: kernel.concordance(solutions_PD, comparisons)


def generation(name: str, size: tuple[int, int], device: str) -> Callable[[], object]:
    search = Search(spec_of(name, size, device), seed=0, device=device)
    return lambda: search.launch(GENERATIONS)


if __name__ == "__main__":
    main()
