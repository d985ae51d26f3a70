"""Memory that a training on the CPU frees and takes again at each step."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_NEVER = 2**31 - 1


@contextlib.contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Have glibc keep freed memory instead of handing it back to the system at once.

    Else it gives memory at the top of the heap back whenever a step frees it, and the system fills each page with zeros
    when the next step writes to it. Afterwards the thresholds are those that glibc itself comes to once it has freed an
    array of 32 MiB, and what is free goes back. With another C library, or on another device, nothing happens.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)
