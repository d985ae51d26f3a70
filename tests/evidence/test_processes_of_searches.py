"""Processes that end with the one that started them; what they had finished is kept."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from lossforge.errors import SearchError
from lossforge.evidence.processes import call_all

pytestmark = pytest.mark.usefixtures("in_time")


def test_results_are_stored_and_then_told():
    seen: list[object] = []
    call_all(abs, {"a": (-1,), "b": (2,)}, 2, lambda key, result: seen.append((key, result)), seen.append)
    assert sorted(each for each in seen if isinstance(each, tuple)) == [("a", 1), ("b", 2)]
    assert [each for each in seen if isinstance(each, str)] == [key for key, _ in seen[::2]]


def test_an_interruption_ends_what_is_under_way():
    def interrupted(key: str) -> None:
        raise KeyboardInterrupt

    stored: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        call_all(time.sleep, {"short": (0,), "long": (3600,)}, 2, lambda key, result: stored.append(key), interrupted)
    assert stored == ["short"]
    assert not multiprocessing.active_children()


def test_what_had_ended_is_stored_after_an_error():
    stored: list[int] = []

    def store(key: int, result: int) -> None:
        if not stored:
            time.sleep(1)  # the others end meanwhile
        stored.append(key)

    def wrong(key: int) -> None:
        raise ValueError(key)

    with pytest.raises(ValueError, match="0"):
        call_all(abs, {key: (key,) for key in range(3)}, 1, store, wrong)
    assert sorted(stored) == [0, 1, 2]


def test_a_process_that_is_ended_from_outside_is_told_with_a_remedy():
    with pytest.raises(SearchError, match=r"ended from outside.*smaller --jobs"):
        call_all(os._exit, {"a": (1,)}, 1, lambda key, result: None, lambda key: None)


def test_an_error_in_a_process_is_that_of_the_call():
    with pytest.raises(TypeError, match="bad operand"):
        call_all(abs, {"a": ("text",)}, 1, lambda key, result: None, lambda key: None)


SCRIPT = """\
import os, sys, time
from lossforge.evidence.processes import call_all

if __name__ == "__main__":
    started = lambda key: print(key, flush=True)
    call_all(time.sleep, {"started": (0,), "long": (3600,)}, 2, lambda key, result: None, started)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_no_process_outlives_the_one_that_started_it(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    assert len(children) >= 2
    process.kill()
    process.communicate()
    while any(map(_is_alive, children)):
        time.sleep(0.05)


def _is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
