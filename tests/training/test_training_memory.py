import os
import platform
import subprocess
import sys

import pytest
import torch

from lossforge.training import memory
from lossforge.training.memory import kept_memory

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


SCRIPT = """\
import resource
import torch
from lossforge.training.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        torch.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
with kept_memory(torch.device("cpu")):
    faults()
    print(faults())
"""


@on_glibc
def test_tensors_find_memory_that_is_there_already():
    """Pages that the system hands out while tensors of 1 MB, less than a huge page, come and go in a fresh process.

    Its mmap threshold is fixed at first: else glibc raises it by itself with what it frees.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    without, within = map(int, run.stdout.split())
    assert without >= 100 * 16  # pages of a tensor, if they are of 64 kB
    assert within < without / 10
