"""The short form of crash_points.py: every so many-th point, others every day; ``make torture`` tries all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("crash_points.py")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to name open files")


def strike(part: str, stride: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, f"--part={part}", f"--stride={stride}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_a_run_struck_at_any_write_goes_on_to_the_same_bytes():
    done = strike("begun", 16)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nidentical: yes\n" in done.stdout
    counts = re.match(r"\d+ points: (.*)", done.stdout)
    assert counts is not None
    seen = {part.rpartition(" ")[0] for part in counts[1].split(", ")}
    assert seen >= {"create", "write", "half a write", "fsync", "rename", "remove", "mkdir"}


def test_a_run_struck_before_it_can_be_resumed_leaves_nothing_behind():
    done = strike("beginning", 18)
    assert done.returncode == 0, done.stdout + done.stderr
