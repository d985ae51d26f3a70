"""One thread for every test, and for the processes that tests start; and of plugins none but those a test installs.

Tensors are tiny here, so more threads only wait for each other, and far longer when other work shares the machine.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["LOSSFORGE_PLUGINS"] = ""
torch.set_num_threads(1)
# Where tests run in the background of a script, the shell has Ctrl-C ignored, also by processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def in_time() -> Iterator[None]:
    """Processes that wait for each other end as a failure, after two minutes."""

    def give_up(number: int, frame: Any) -> None:
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
