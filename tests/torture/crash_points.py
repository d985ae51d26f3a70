"""Kill a small run at every single thing it does to a file, resume it, and compare it with one that nobody killed.

Where kill_and_resume.py draws instants, this goes through them: before each creation, write, half a write, truncation,
fsync, renaming and removal below the current folder. The same with a disk that is full from there on.

``python tests/torture/crash_points.py --twice``
"""

from __future__ import annotations

import argparse
import builtins
import datetime
import errno
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import processes

SPEC = """\
name: tiny
device: cpu
search:
  parameterization: {type: pairwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_comma_lambda, population_size: 6, num_parents: 2}
  mutation: chaotic
  generations: 3
  restarts: 2
  population_growth: 1.5
  batch_size: 16
  selection_batch_size: 16
  checkpoint_every: 2
  gates: {weight_band: null, signs: null}
"""
NEEDS_SPACE = ("create", "write", "half a write", "fsync", "rename", "mkdir")
FULL = os.strerror(errno.ENOSPC)
REFUSED = 2

Blow = Callable[[str, str], None]


@dataclass(frozen=True)
class Operation:
    """Something done to a file."""

    what: str
    path: str


@dataclass
class Operations:
    """Counts what this process does to files below a folder, and strikes at one of them.

    Attributes:
        folder: others do not count.
        strike_at: number of the operation before which the blow falls; 0: never.
        blow: what then happens; called for every later operation, too.
    """

    folder: str
    strike_at: int
    blow: Blow
    done: list[Operation] = field(default_factory=list)
    counting: bool = True

    def reach(self, what: str, path: str) -> None:
        """Count an operation that is about to happen."""
        if not self.counting:
            return
        self.done.append(Operation(what, os.path.relpath(path, self.folder)))
        if 0 < self.strike_at <= len(self.done):
            self.blow(what, path)

    def write(self, listed: Path) -> None:
        """Write down what was done."""
        self.counting = False
        listed.write_text("".join(f"{each.what}\t{each.path}\n" for each in self.done))

    def strikes_next(self) -> bool:
        return len(self.done) + 1 == self.strike_at

    def concerns(self, path: str) -> bool:
        return path.startswith(self.folder + os.sep)

    def watch(self) -> None:
        """See all that follows in this process; it cannot be undone."""
        sys.addaudithook(self._heed)
        fsync = os.fsync

        def fsynced(descriptor: int) -> None:
            path = _place(descriptor)
            if self.concerns(path):
                self.reach("fsync", path)
            fsync(descriptor)

        os.fsync = fsynced
        # Path.open looks it up in io, logging in builtins.
        io.open = builtins.open = self._opener(builtins.open)

    def _heed(self, event: str, args: tuple[Any, ...]) -> None:
        """Audit hook: told of what is about to be done."""
        seen = _SEEN.get(event)
        if seen is None:
            return
        what, (path, directory) = seen[0], (args[0], args[seen[1]] if seen[1] else -1)
        if event == "open":
            if isinstance(path, int) or not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            what = "open" if os.path.exists(path) else "create"
        place = _place(path, directory)
        if self.concerns(place):
            self.reach(what, place)

    def _opener(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+") or not self.concerns(_place(file)):
                return original(file, mode, *args, **options)
            binary = _File(file, mode.replace("b", "").replace("t", ""), self)
            buffered = io.BufferedRandom(binary) if "+" in mode else io.BufferedWriter(binary)
            if "b" in mode:
                return buffered
            named = dict(zip(("buffering", "encoding", "errors", "newline"), args, strict=False)) | options
            return io.TextIOWrapper(buffered, **{key: named.get(key) for key in ("encoding", "errors", "newline")})

        return opened


_SEEN = {
    "open": ("open", 0),
    "os.rename": ("rename", 2),
    "os.mkdir": ("mkdir", 2),
    "os.remove": ("remove", 1),
    "os.rmdir": ("rmdir", 1),
    "os.truncate": ("truncate", 0),
}
"""Audit events, their names here, and which of their arguments is the folder that a path is relative to."""


class _File(io.FileIO):
    """A file whose writes are operations, and may stop half-way."""

    def __init__(self, path: Any, mode: str, operations: Operations) -> None:
        super().__init__(path, mode)
        self._operations, self._place = operations, _place(path)

    def write(self, content: Any) -> int:
        self._operations.reach("write", self._place)
        if self._operations.strikes_next():
            super().write(memoryview(content)[: len(content) // 2])
        self._operations.reach("half a write", self._place)
        return super().write(content)

    def truncate(self, size: int | None = None) -> int:
        self._operations.reach("truncate", self._place)
        return super().truncate(size)


def _place(path: Any, directory: int = -1) -> str:
    """Return the absolute path of a name, or of a descriptor, relative to the folder of another descriptor."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    base = os.getcwd() if directory < 0 else os.readlink(f"/proc/self/fd/{directory}")
    return os.path.normpath(os.path.join(base, os.fsdecode(path)))


def kill(what: str, path: str) -> NoReturn:
    """Blow: the process is gone."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def fill_disk(what: str, path: str) -> None:
    """Blow: from here on the disk is full."""
    if what in NEEDS_SPACE:
        by_descriptor = what in ("write", "half a write", "fsync")
        raise OSError(errno.ENOSPC, FULL) if by_descriptor else OSError(errno.ENOSPC, FULL, os.path.relpath(path))


def nothing(what: str, path: str) -> None:
    """Blow: none."""


@dataclass(frozen=True)
class Ending:
    """How a forked process ended: its exit code, negative for a signal, and what it said on stderr."""

    code: int
    err: str
    operations: tuple[Operation, ...]

    @property
    def last_line(self) -> str:
        return _without_process_ids(["", *self.err.splitlines()][-1])

    def __str__(self) -> str:
        return f"{self.code}{', a traceback' if 'Traceback' in self.err else ''}: {self.last_line}"


def forked(folder: Path, args: tuple[str, ...], strike_at: int = 0, blow: Blow = nothing) -> Ending:
    """Call ``lossforge ARGS`` in a child of this process, which has done all imports."""
    operations = Operations(str(folder), strike_at, blow)
    listed = folder.parent / "operations"
    listed.unlink(missing_ok=True)
    process = processes.Forked(folder, *args, before=operations.watch, after=lambda: operations.write(listed))
    _, err = process.communicate()
    assert process.returncode is not None
    lines = listed.read_text().splitlines() if listed.exists() else []
    return Ending(process.returncode, err, tuple(Operation(*line.split("\t")) for line in lines))


class Points:
    """The crash points of a run, and what has come of those that were tried.

    ``into_folder``: of one that begins in an empty folder, such as a mounted disk.
    """

    def __init__(self, folder: Path, twice: bool, seed: int, into_folder: bool = False) -> None:
        self.folder, self.twice, self.random, self.into_folder = folder, twice, random.Random(seed), into_folder
        self.flaws: list[str] = []
        self.messages: Counter[str] = Counter()
        ending = self._anew(0, nothing)
        if ending.code != 0:
            raise SystemExit(f"the run that nobody killed ended with {ending.code}:\n{ending.err}")
        self.operations = ending.operations
        self.expected = processes.result_files(self._here / "run")

    @property
    def _here(self) -> Path:
        return self.folder / "here"

    def kill_before(self, point: int) -> None:
        """Kill a run at a point, go on, and compare."""
        ending = self._anew(point, kill)
        if ending.code != -signal.SIGKILL:
            self._note(point, f"not killed: it ended with {ending}")
            return
        if self.twice:
            self._again(self.random.randint(1, len(self.operations)), kill)
        self._finish(point)

    def fill_disk_at(self, point: int) -> None:
        """Let the disk be full from a point on, see what is said of it, make room, go on, and compare."""
        operation = self.operations[point - 1]
        if operation.what not in NEEDS_SPACE:
            return
        ending = self._anew(point, fill_disk)
        self._check_message(point, ending)
        if self.twice:
            again = self._again(self.random.randint(1, len(self.operations)), fill_disk)
            if again.code not in (0, REFUSED):
                self._note(point, f"the disk was full again, and the run ended with {again}")
        self._finish(point)

    @property
    def beginning(self) -> range:
        """Return the points up to the one at which the run can be resumed."""
        done = [index for index, each in enumerate(self.operations, start=1) if each.path == "run/run.log"]
        return range(1, done[0] + 1)

    def _check_message(self, point: int, ending: Ending) -> None:
        begun = (self._here / "run" / "spec.yaml").exists()
        operation = self.operations[point - 1]
        # A temporary file is named after the process.
        name = Path(_without_process_ids(operation.path)).name
        wanted = (name, FULL, processes.GO_ON) if begun else (FULL, "choose another with --out")
        if ending.code != REFUSED or not all(part in ending.last_line for part in wanted):
            self._note(point, f"a full disk ended the run with {ending}")
        self.messages[ending.last_line] += 1

    def _anew(self, point: int, blow: Blow) -> Ending:
        shutil.rmtree(self._here, ignore_errors=True)
        self._here.mkdir(parents=True)
        (self._here / "spec.yaml").write_text(SPEC)
        if self.into_folder:
            (self._here / "run").mkdir()
        return forked(self._here, processes.RUN, point, blow)

    def _again(self, point: int = 0, blow: Blow = nothing) -> Ending:
        begun = (self._here / "run" / "spec.yaml").exists()
        return forked(self._here, processes.RESUME if begun else processes.RUN, point, blow)

    def _finish(self, point: int) -> None:
        ending = self._again()
        if ending.code != 0:
            self._note(point, f"it could not be finished: {ending}")
            return
        for flaw in processes.flaws(self._here, self.expected):
            self._note(point, flaw)
        for damaged in sorted(self._here.glob("run/checkpoint/damaged-*")):
            self._note(point, f"{damaged.name}: a checkpoint was found damaged")

    def _note(self, point: int, flaw: str) -> None:
        operation = self.operations[point - 1]
        self.flaws.append(f"point {point}, {operation.what} {_without_process_ids(operation.path)}: {flaw}")
        processes.fail(self.flaws[-1])


def _without_process_ids(text: str) -> str:
    return re.sub(r"\.\d+\.tmp\b", ".PID.tmp", text)


def attempt(kind: str, points: Sequence[int], try_one: Callable[[int], None]) -> None:
    began = time.monotonic()
    for number, point in enumerate(points, start=1):
        try_one(point)
        if number % 50 == 0 or number == len(points):
            print(f"{kind}: {number}/{len(points)} points, {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stride", type=int, default=1, help="try every so many-th point only")
    parser.add_argument("--offset", type=int, help="the first of them  [default: another one every day]")
    parts = {"choices": ("all", "beginning", "begun"), "default": "all"}
    parser.add_argument("--part", **parts, help="points until the run can be resumed, those after, or all")
    parser.add_argument("--twice", action="store_true", help="strike the process that resumes, too, at a random point")
    parser.add_argument("--seed", type=int, default=0, help="of these")
    options = parser.parse_args()
    offset = datetime.date.today().toordinal() if options.offset is None else options.offset
    processes.warm_up()
    folder = Path(tempfile.mkdtemp(prefix="lossforge-points-")).resolve()
    points = Points(folder, options.twice, options.seed)
    counts = Counter(each.what for each in points.operations)
    print(
        f"{len(points.operations)} points: {', '.join(f'{what} {count}' for what, count in counts.items())}", flush=True
    )
    every = range(1, len(points.operations) + 1)
    chosen = {"all": every, "beginning": points.beginning, "begun": every[len(points.beginning) :]}[options.part]
    chosen = chosen[offset % options.stride :: options.stride]
    attempt("killed", chosen, points.kill_before)
    attempt("disk full", chosen, points.fill_disk_at)
    inside = Points(folder, options.twice, options.seed, into_folder=True)
    first = inside.beginning[offset % options.stride :: options.stride] if options.part != "begun" else ()
    attempt("killed, begun in an empty folder", first, inside.kill_before)
    attempt("disk full, begun in an empty folder", first, inside.fill_disk_at)
    points.messages += inside.messages
    points.flaws += inside.flaws
    print("what was said of the full disk:")
    print(processes.told("\n".join(f"{count:4d}x {text}" for text, count in sorted(points.messages.items()))))
    print(f"all files {processes.digest(points.expected)} ({len(points.expected)} files)")
    print(f"identical: {'no' if points.flaws else 'yes'}")
    shutil.rmtree(folder)
    sys.exit(bool(points.flaws))


if __name__ == "__main__":
    main()
