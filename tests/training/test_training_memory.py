import ctypes
import platform

import pytest
import torch

from lossforge.training import memory
from lossforge.training.memory import kept_memory

resource = pytest.importorskip("resource")

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


class Library:
    """A C library that notes what is asked of it."""

    def __init__(self):
        self.calls = []

    def mallopt(self, option, value):
        self.calls.append((option, value))

    def malloc_trim(self, padding):
        self.calls.append(("trim", padding))


@pytest.fixture
def library(monkeypatch):
    fake = Library()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: fake)
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("glibc", "2.36"))
    return fake


def test_thresholds_are_raised_and_then_those_that_glibc_comes_to(library):
    with kept_memory(torch.device("cpu")):
        # M_MMAP_THRESHOLD (-3) to its largest value, M_TRIM_THRESHOLD (-1) to never.
        assert library.calls == [(-3, 32 * 1024 * 1024), (-1, 2**31 - 1)]
        library.calls.clear()
    # Once glibc has freed an array of 32 MiB that is its M_MMAP_THRESHOLD, and M_TRIM_THRESHOLD is twice as much.
    assert library.calls == [(-1, 64 * 1024 * 1024), ("trim", 0)]


def test_what_is_free_goes_back_after_an_error_too(library):
    with pytest.raises(ZeroDivisionError), kept_memory(torch.device("cpu")):
        raise ZeroDivisionError
    assert library.calls[-1] == ("trim", 0)


def test_nothing_happens_on_another_device_or_with_another_library(library, monkeypatch):
    with kept_memory(torch.device("meta")):
        pass
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    with kept_memory(torch.device("cpu")):
        pass
    assert library.calls == []


def faults():
    """Return how many pages the system has handed out while tensors of 8 MB came and went."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@on_glibc
def test_tensors_find_memory_that_is_there_already():
    libc = ctypes.CDLL(None)
    for option in (-3, -1):
        libc.mallopt(option, 128 * 1024)  # as in a fresh process
    without = faults()
    with kept_memory(torch.device("cpu")):
        faults()
        within = faults()
    assert without > 20 * 100  # of pages of 4 kB 2,000 a tensor, of those of 64 kB 128
    assert within < without / 10
