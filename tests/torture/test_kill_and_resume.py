"""The short form of kill_and_resume.py; ``make torture`` runs the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_and_resume.py")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def test_killed_terminated_and_interrupted_runs_go_on_to_the_same_bytes():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "2,1,1", "--signal", "KILL,TERM,INT", "--jobs", "2", "--short"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n4 kills in " in done.stdout
    assert "\nidentical: yes\n" in done.stdout
