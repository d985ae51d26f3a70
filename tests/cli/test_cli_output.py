"""Output that cannot be written is an error of one line; progress that cannot is none."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from lossforge import cli, pipeline
from lossforge.cli import main
from lossforge.stdio import Results

CODE = "from lossforge.cli import main; main()"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "error: standard output: No space left on device"),
        (">&-", "error: standard output: closed; send it to /dev/null if it is not wanted"),
    ],
)
def test_results_that_cannot_be_written_are_an_error_of_one_line(redirection, message, unbuffered, encoding):
    """In ASCII click writes bytes."""
    command = f"exec {sys.executable} -c '{CODE}' presets show edl {redirection}"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": encoding}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (1, [message])


def full() -> TextIO:
    return Path("/dev/full").open("w", buffering=1)


def unread() -> TextIO:
    """Return a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w", buffering=1)


@pytest.fixture(params=[full, unread])
def stderr(request) -> Iterator[TextIO]:
    """A standard error that takes nothing."""
    stream = request.param()
    yield stream
    Results(stream).drop()
    stream.close()


@pytest.mark.parametrize("terminal", ["0", "1"])
def test_progress_that_cannot_be_written_ends_no_run(stderr, terminal, monkeypatch, search_spec):
    """Neither as lines nor as bars, nor do warnings of plugins or of Python."""
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setattr(pipeline, "run", warned(pipeline.run))
    out = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(out), pytest.raises(SystemExit) as left:
        main.main(["run", str(search_spec), "--out", "run"], prog_name="lossforge")
    assert left.value.code in (None, 0)
    assert "lossforge.load_loss('run')" in out.getvalue()
    assert Path("run/artifact/loss.json").is_file()
    with pytest.raises(OSError, match=r"No space left|Broken pipe"):
        stderr.write("x\n")


def warned(run: Callable[..., Any]) -> Callable[..., Any]:
    def call(spec: Any, out: Any, observer: Any) -> Any:
        assert (observer._bars is None) == (os.environ["TTY_COMPATIBLE"] == "0")
        observer.warning("told to nobody")
        print("nor is this", file=sys.stderr)
        return run(spec, out, observer)

    return call


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(("arguments", "code"), [(("validate", "nothing.yaml"), 2), (("validate",), 2), (("nope",), 2)])
def test_an_error_that_cannot_be_told_keeps_its_exit_code(stderr, arguments, code, encoding):
    stderr.reconfigure(encoding=encoding)
    with contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as left:
        main.main(list(arguments), prog_name="lossforge")
    assert left.value.code == code


def test_an_error_of_another_file_is_not_taken_for_one_of_standard_output(monkeypatch, capsys):
    """Though it has no name, and nothing is printed to find out."""

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli.LossforgeGroup, "get_command", no_space)
    with pytest.raises(OSError, match="No space left"):
        main.main(["presets", "list"], prog_name="lossforge")
    assert capsys.readouterr() == ("", "")


def test_an_error_of_standard_output_that_was_passed_over_is_told_where_it_matters_alone(monkeypatch, capsys):
    class Once(io.StringIO):
        """A standard output that fails at first."""

        def flush(self) -> None:
            monkeypatch.setattr(Once, "flush", io.StringIO.flush)
            raise OSError(errno.ENOSPC, "No space left on device")

    def passed_over(*_: Any) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        raise FileNotFoundError(errno.ENOENT, "not there")

    monkeypatch.setattr(cli.LossforgeGroup, "get_command", passed_over)
    with contextlib.redirect_stdout(Once()), pytest.raises(FileNotFoundError):
        main.main(["presets", "list"], prog_name="lossforge")
    assert capsys.readouterr() == ("", "")
