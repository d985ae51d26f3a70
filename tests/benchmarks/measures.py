"""What figures are held against: the FMA peak of a core, and the memory of a process."""

from __future__ import annotations

import ctypes
import functools
import gc
import re
import subprocess
import tempfile
from pathlib import Path

from lossforge.native import compiler


@functools.cache
def peak_flop_per_second() -> float:
    """Return what one core does in fused products and sums, measured here and now by ``fma_peak.cpp``."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma_peak.so"
        source = Path(__file__).with_name("fma_peak.cpp")
        subprocess.run(
            [
                *compiler.compiler(),
                *compiler.FLAGS,
                compiler.cpu_flag(),
                f"-I{compiler.SOURCES}",
                source,
                "-o",
                library,
            ],
            check=True,
        )
        probe = ctypes.CDLL(str(library)).flop_per_second
        probe.restype = ctypes.c_double
        return max(probe() for _ in range(3))


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
