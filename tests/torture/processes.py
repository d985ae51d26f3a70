"""What the scripts of this folder share: real ``lossforge`` processes, and what must be the same in the end.

The scripts import it as a neighbour, so tests run them as processes of their own.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOSSFORGE = Path(sysconfig.get_path("scripts")) / "lossforge"
RUN = ("run", "spec.yaml", "--out", "run")
RESUME = ("resume", "run")
GO_ON = "lossforge resume run"

SEARCH = """\
name: tiny
device: cpu
search:
  parameterization: {type: pairwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_comma_lambda, population_size: 8, num_parents: 2}
  mutation: chaotic
  generations: 60
  restarts: 2
  population_growth: 1.5
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 3
  gates: {weight_band: null, signs: null}
  backend: eager  # the one that worker processes serve
"""
TRAINING = """\
training:
  dataset: {type: fake, num_train: 64, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 4
  precision: float32
  batch_size: 16
  crop_padding: 1
evidence: {seeds: 2}
"""

TIMED = ("timing.jsonl", "run.log", ".lock")
"""Files that hold times, or nothing."""

PATIENCE_SECONDS = 300.0
"""After which a process that neither ends nor gets on is taken for lost; generous, for machines that others use too."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of every process that is started here."""
    # One thread: the number of them is part of what determines a training's last bits.
    ours = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **more}
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        ours.pop(name, None)
    return ours


def start(folder: Path, *args: str, prefix: Sequence[str] = (), **more: str) -> subprocess.Popen[str]:
    """Start ``PREFIX lossforge ARGS`` in ``folder``, with ``more`` in its environment."""
    return subprocess.Popen(
        [*prefix, str(LOSSFORGE), *args],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Forked:
    """``lossforge ARGS`` in a child of this process, which has done the imports: sooner there, and otherwise the same.

    It stands in for what :func:`start` returns.
    """

    def __init__(
        self,
        folder: Path,
        *args: str,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self.returncode: int | None = None
        self._streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  open until it has ended
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                for descriptor, stream in enumerate(self._streams, start=1):
                    os.dup2(stream.fileno(), descriptor)
                os.chdir(folder)
                code = _call(args, before)
                after()
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, kind: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, kind)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = PATIENCE_SECONDS) -> tuple[str, str]:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("lossforge", timeout)
            time.sleep(0.002)
        texts = []
        for stream in self._streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read().decode())
        return texts[0], texts[1]


def _call(args: Sequence[str], before: Callable[[], None]) -> int:
    """Return the exit code of ``lossforge ARGS`` in this process, which has printed what it prints."""
    from lossforge.cli import main

    sys.argv = ["lossforge", *args]
    before()
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001  as the interpreter would
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def warm_up() -> None:
    """Import what a run imports, so that children need not."""
    os.environ.update(environment())
    import lossforge.cli.display
    import lossforge.cli.run
    import lossforge.cli.summary
    import lossforge.pipeline
    import lossforge.spec

    lossforge.spec.spec_from_text(SEARCH)
    tasks = Path("/proc/self/task")
    assert not tasks.exists() or len(list(tasks.iterdir())) == 1, "a process with threads cannot be forked safely"


Process = subprocess.Popen[str] | Forked


def let_ctrl_c_reach_children() -> None:
    """Have children end on SIGINT even where this process was started with it ignored, as in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(ready: Callable[[], bool], process: Process) -> bool:
    """Wait until ``ready()`` or until the process has ended; return whether it is ready."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if process.poll() is not None:
            return ready()
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"waited {PATIENCE_SECONDS:.0f} seconds for process {process.pid}")
        time.sleep(0.002)
    return True


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def result_files(run: Path) -> dict[str, bytes]:
    """Return the files of a finished run that hold no times, with the newest checkpoint under a name of its own."""
    contents = {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.relative_to(run).parts[0] != "checkpoint" and path.name not in TIMED
    }
    newest = sorted((run / "checkpoint").glob("[0-9]*"))[-1:]
    for path in [file for folder in newest for file in sorted(folder.iterdir())]:
        contents[f"checkpoint/newest/{path.name}"] = path.read_bytes()
    return contents


def differing(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """Return a line for each file that is not as expected."""
    return [
        f"{name} is {'missing' if name not in found else 'not expected' if name not in expected else 'different'}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]


def flaws(folder: Path, expected: Mapping[str, bytes]) -> list[str]:
    """Return what is wrong with the finished run in ``folder``: different files, leftovers, a broken checkpoint."""
    from lossforge.search.checkpoint import load_checkpoint  # imports torch, which reads the environment then

    run = folder / "run"
    found = differing(expected, result_files(run))
    found += [f"{path.relative_to(folder)} was left behind" for path in sorted(folder.rglob(".*.tmp"))]
    try:
        if load_checkpoint(run / "checkpoint") is None:
            found.append("no checkpoint can be read")
    except Exception as error:  # noqa: BLE001  whatever it is, it is reported
        found.append(f"the checkpoint cannot be read: {error}")
    return found


def digest(contents: Mapping[str, bytes]) -> str:
    """Return a SHA-256 of files and their names."""
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def at_work_in(folder: Path) -> list[int]:
    """Return the processes whose current folder is ``folder``; none where there is no /proc to tell."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd") == str(folder.resolve()):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return [pid for pid in found if pid != os.getpid()]


def told(out: str) -> str:
    """Return what a process printed, as a note shows it."""
    return "".join(f"    {line}\n" for line in out.splitlines())


def fail(message: str) -> None:
    """Say on stderr what went wrong."""
    print(f"FAILED: {message}", file=sys.stderr, flush=True)
