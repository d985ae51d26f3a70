"""Time the back ends over families, shapes and sizes, and propose the rule that chooses between them.

    python tests/benchmarks/calibrate.py [--seconds S] [--device cuda]

Prints a line for each case, and at the end whether ``lossforge/search/backends.py`` chooses
the faster one everywhere, or which cases a better rule would decide otherwise. Nothing reads the result but people: a
search never times anything.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch

from lossforge.interfaces import LossParameterization, stated_form
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP, Power
from lossforge.samplers import LogitNormalSampler
from lossforge.search import ParameterPopulation
from lossforge.search.backends import Kernel, best_backend, kernel_of_family
from lossforge.search.blocked_perceptron import BlockedPerceptron
from lossforge.spec import Backend

FAMILIES = [
    family(hidden=hidden, activation=activation)
    for family in (PairwiseMLP, ClasswiseMLP)
    for hidden, activation in itertools.product(((4,), (16,), (16, 16), (128,), (64, 64)), ("tanh", "softsign", "silu"))
] + [Power()]
SIZES = [(1, 64), (16, 64), (64, 256), (256, 4096)]
NUM_CLASSES = (2, 10, 100)
MOST_UNITS = 50_000_000
"""Candidates x pairs x classes x hidden units: larger cases, of seconds a call in eager, are left out."""

CLEARLY = 1.1
"""Ratio from which a back end counts as faster: less is noise."""

FUSED: dict[str, Backend] = {"cpu": "compiled", "cuda": "triton"}


def seconds_of(
    family: LossParameterization,
    backend: Backend,
    size: tuple[int, int],
    num_classes: int,
    device: torch.device,
    limit: float,
) -> float:
    """Return the median time of losses and gradients on one batch."""
    generator = torch.Generator(device).manual_seed(0)
    batch = LogitNormalSampler().sample(size[1], num_classes, generator)
    form = stated_form(family)
    kernel: Kernel | None = None
    if backend != "eager":
        kernel = kernel_of_family(family, num_classes, backend)
    elif form is not None and device.type == "cpu":
        kernel = BlockedPerceptron(form)
    population = ParameterPopulation(family, family.init(size[0], generator), num_classes, kernel=kernel)
    times, end = [], time.perf_counter() + limit
    while len(times) < 4 or time.perf_counter() < end:
        begin = time.perf_counter()
        population.losses(batch.log_probs_BC[None], batch.labels_B)
        population.gradients(batch.log_probs_BC[None], batch.labels_B)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a back end in a case")
    parser.add_argument("--device", choices=FUSED, default="cpu")
    options = parser.parse_args()
    limit, device, fused = options.seconds, torch.device(options.device), FUSED[options.device]
    torch.set_num_threads(1)
    wrong = []
    for family, num_classes in itertools.product(FAMILIES, NUM_CLASSES):
        if best_backend(family, num_classes, device) == "eager":
            print(f"{family.label}, C {num_classes}: eager alone")
            continue
        for size in SIZES:
            form = stated_form(family)
            assert form is not None
            if size[0] * size[1] * num_classes * sum(form.hidden) > MOST_UNITS:
                continue
            seconds = {name: seconds_of(family, name, size, num_classes, device, limit) for name in (fused, "eager")}
            ratio = seconds["eager"] / seconds[fused]
            case = f"{family.label}, C {num_classes}, P {size[0]}, B {size[1]}"
            print(f"{case}: {fused} {ratio:.1f} times as fast as eager")
            if ratio < 1 / CLEARLY:
                wrong.append(f"{case}: eager, {1 / ratio:.1f} times as fast")
    print("\nThe rule chooses the faster back end in every case." if not wrong else "\nA better rule would choose:")
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
