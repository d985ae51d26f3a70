"""What figures are held against: what a core can do, and the memory of a process."""

from __future__ import annotations

import ctypes
import functools
import gc
import re
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

from workloads import NUM_CLASSES, Workload

from lossforge.native import compiler


@functools.cache
def rate_of(kind: str) -> float:
    """Return how many operations one core does in a second, measured here and now by ``core_rates.cpp``.

    Args:
        kind: ``flop``, in fused products and sums, or an activation.
    """
    probe = getattr(_probes(), f"{kind}_per_second")
    probe.restype = ctypes.c_double
    return max(probe() for _ in range(3))


def possible_rate(workload: Workload) -> float:
    """Return pair-evaluations a second of a core that does nothing but their activations, and then their products.

    These are the products that cannot be saved: the input that is 0 or 1 becomes part of a bias, and one hidden layer's
    output weights are applied to sums over classes.
    """
    first, last = workload.hidden[0], workload.hidden[-1]
    products_of_class = first + sum(n * m for n, m in pairwise(workload.hidden))
    outputs = last if len(workload.hidden) == 1 else last * NUM_CLASSES
    seconds_of_activations = NUM_CLASSES * sum(workload.hidden) / rate_of(workload.activation)
    return 1 / (seconds_of_activations + 2 * (NUM_CLASSES * products_of_class + outputs) / rate_of("flop"))


@functools.cache
def _probes() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "core_rates.so"
        source = Path(__file__).with_name("core_rates.cpp")
        command = [*compiler.compiler(), *compiler.FLAGS, compiler.cpu_flag(), f"-I{compiler.SOURCES}"]
        subprocess.run([*command, source, "-o", library], check=True)
        return ctypes.CDLL(str(library))


class PeakMemory:
    """Bytes of memory that a stretch of code had resident at most, beyond what was there before; Linux with glibc."""

    def __enter__(self) -> PeakMemory:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system, or it would be used unseen
        Path("/proc/self/clear_refs").write_text("5")  # from here on, the peak is that of what follows
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = _status("VmHWM") - self._before


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])
