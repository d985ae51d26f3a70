"""``os._exit`` is raised where a plugin is imported, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from lossforge.exits import exit_raised

KEPT = """
from lossforge.exits import exit_raised
with exit_raised():
    from os import _exit as kept
kept(7)
"""


def test_it_is_raised_inside_and_itself_afterwards():
    before = os._exit
    with pytest.raises(SystemExit, match=r"^os\._exit\(3\)$"), exit_raised():
        os._exit(3)
    with exit_raised(), exit_raised(), pytest.raises(SystemExit, match=r"^os\._exit\(4\)$"):
        os._exit(4)
    assert os._exit is before


def test_what_was_kept_of_it_ends_the_process_afterwards():
    assert subprocess.run([sys.executable, "-c", KEPT], check=False).returncode == 7


def test_a_forked_process_and_another_thread_end_by_it(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with exit_raised():
        thread = threading.Thread(target=os._exit, args=(5,))
        thread.start()
        thread.join()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        os._exit(6)
    assert ended == [5, 6]


def test_a_plugin_that_has_put_its_own_in_place_keeps_it(monkeypatch):
    monkeypatch.setattr(os, "_exit", os._exit)
    with exit_raised():
        os._exit = own = lambda status: None
    assert os._exit is own
