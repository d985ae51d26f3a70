"""Print and write the side-by-side table of whole generations: ``table.py PEERS_PYTHON [--rounds N] [--seconds S]``.

Libraries take turns, round after round, each in a process of its own that is bound to one core; the figure of each is
the median over rounds of the median generation of a round. lossforge runs under this Python, the others under that of
the peers' environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from measures import rate_of  # noqa: E402  it stands beside this folder
from workloads import WORKLOADS  # noqa: E402

OURS = ("lossforge", "lossforge eager")
PEERS = ("NumPy + cmaes", "evosax", "EvoTorch", "nevergrad")
SIZES = [(64, 256), (256, 4096)]
ONE_THREAD = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")},
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def measured(python: str, library: str, name: str, size: tuple[int, int], seconds: float) -> dict:
    command = [python, str(HERE / "measure.py"), library, name, *map(str, size), str(seconds)]
    core = sorted(os.sched_getaffinity(0))[-1]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **ONE_THREAD},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", help="Python of the environment with the other libraries")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a library in a round")
    options = parser.parse_args()
    pythons = {**dict.fromkeys(OURS, sys.executable), **dict.fromkeys(PEERS, options.peers)}
    versions: dict[str, str] = {}
    print(f"FMA peak of a core: {rate_of('flop') / 1e9:.0f} GFLOP/s")
    for size in SIZES:
        print(f"\nP {size[0]}, B {size[1]}: million pair-evaluations/s, and as a multiple of NumPy + cmaes")
        for name, workload in WORKLOADS.items():
            # Other libraries have tanh; the rational one is held against their tanh.
            has_peers = workload.activation != "rational_tanh"
            rates: dict[str, list[float]] = {library: [] for library in pythons if has_peers or library in OURS}
            for _ in range(options.rounds):
                for library, found in rates.items():
                    result = measured(pythons[library], library, name, size, options.seconds)
                    found.append(result["pairs_per_second"])
                    versions |= result["versions"]
            medians = {library: statistics.median(found) for library, found in rates.items()}
            if has_peers:
                baseline = medians["NumPy + cmaes"]
            cells = [f"{library} {rate / 1e6:.2f} ({rate / baseline:.2f}x)" for library, rate in medians.items()]
            print(f"  {name}: " + ", ".join(cells), flush=True)
    print("\nversions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))


if __name__ == "__main__":
    main()
