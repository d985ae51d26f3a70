"""Time whole generations of one library and workload, and print a line of JSON: ``measure.py LIBRARY W P B SECONDS``.

Run by ``table.py`` in the environment where the library is installed, on one core and with one thread.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from workloads import WORKLOADS, Workload, search_options


def lossforge(backend: str) -> Callable[[Workload, int, int], Callable[[], object]]:
    def build(workload: Workload, num_solutions: int, num_pairs: int) -> Callable[[], object]:
        from lossforge.search import Search
        from lossforge.spec import SearchSpec

        name = next(name for name, each in WORKLOADS.items() if each == workload)
        spec = SearchSpec.model_validate({**search_options(name, num_solutions, num_pairs), "backend": backend})
        return Search(spec, seed=0).step

    return build


def numpy_cmaes(*case) -> Callable[[], object]:
    from numpy_cmaes import NumpySearch

    return NumpySearch(*case).generation


def evosax(*case) -> Callable[[], object]:
    from evosax_jax import EvosaxSearch

    return EvosaxSearch(*case).generation


def evotorch(*case) -> Callable[[], object]:
    from evotorch_blocked import EvotorchSearch

    return EvotorchSearch(*case).generation


def nevergrad(*case) -> Callable[[], object]:
    from nevergrad_numpy import NevergradSearch

    return NevergradSearch(*case).generation


LIBRARIES = {
    "lossforge": (lossforge("compiled"), ("lossforge", "torch")),
    "lossforge eager": (lossforge("eager"), ("lossforge", "numpy")),
    "NumPy + cmaes": (numpy_cmaes, ("numpy", "cmaes")),
    "evosax": (evosax, ("evosax", "jax")),
    "EvoTorch": (evotorch, ("evotorch", "torch")),
    "nevergrad": (nevergrad, ("nevergrad", "numpy")),
}
"""Name to (what builds a generation, the distributions whose versions count)."""


def main() -> None:
    library, name, num_solutions, num_pairs, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), sys.argv[5]
    build, distributions = LIBRARIES[library]
    generation = build(WORKLOADS[name], num_solutions, num_pairs)
    generation()  # compilation, and what is made once
    generation()
    times, end = [], time.perf_counter() + float(seconds)
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        generation()
        times.append(time.perf_counter() - begin)
    result = {
        "pairs_per_second": num_solutions * num_pairs / statistics.median(times),
        "generations": len(times),
        "versions": {each: version(each) for each in distributions},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
