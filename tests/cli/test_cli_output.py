"""Output that cannot be written is an error of one line; progress that cannot is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lossforge.cli.display import Display

CODE = "from lossforge.cli import main; main()"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "error: standard output: No space left on device"),
        (">&-", "error: standard output: closed; send it to /dev/null if it is not wanted"),
    ],
)
def test_results_that_cannot_be_written_are_an_error_of_one_line(redirection, message, unbuffered):
    command = f"exec {sys.executable} -c '{CODE}' presets show edl {redirection}"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (1, [message])


def test_progress_that_cannot_be_written_ends_no_run(monkeypatch):
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        with Display() as display:
            display.warning("told to nobody")
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what waits to be written goes there
