"""Kill real runs at random instants, resume them until they are done, and compare them with one that nobody killed.

``python tests/torture/kill_and_resume.py --kills 200,40,40 --signal KILL,TERM,INT --jobs 2``
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import processes

BEGUN = "tiny in run, seed 0"
"""On stderr from the moment on in which a run can be resumed."""

GO_ON_LINE = f"interrupted; go on with: {processes.GO_ON}"
INTERRUPTED = 130
NOT_UP_YET = re.compile("Failed to import the site module|init_sys_streams|Fatal Python error")
"""What CPython says where SIGINT meets its own start."""


@dataclass(frozen=True)
class Reference:
    """A run that nobody killed.

    Attributes:
        folder: where it was started.
        files: those that hold no times.
        seconds_to_directory: from the start of the process until its directory was there.
        seconds_of_work: from then on until its end.
    """

    folder: Path
    files: dict[str, bytes]
    seconds_to_directory: float
    seconds_of_work: float

    @property
    def num_generations(self) -> int:
        return self.files["history.jsonl"].count(b"\n")

    def seconds_left(self, run: Path) -> float:
        """Return how long a process should work on a run that has come so far."""
        timing = (self.folder / "run" / "timing.jsonl").read_text()
        entries = [json.loads(line) for line in timing.splitlines()]
        seconds = [entry["seconds"] for entry in entries if "seconds" in entry]  # choices have none
        generations, trainings = seconds[: self.num_generations], seconds[self.num_generations :]
        done = processes.num_lines(run / "history.jsonl"), len(list(run.glob("training/*/seed-*.json")))
        return self.seconds_of_work - sum(generations[: done[0]]) - sum(trainings[: done[1]])


@dataclass(frozen=True)
class Kill:
    """One signal, and what came of it."""

    signal: signal.Signals
    trial: int
    command: str
    seconds: float
    phase: str
    code: int
    half_done: tuple[str, ...]

    def line(self, number: int) -> str:
        left = f"; left {', '.join(self.half_done)}" if self.half_done else ""
        name = self.signal.name.removeprefix("SIG")
        return (
            f"{number:4d}  {name:4s}  trial {self.trial:3d}  {self.command:6s}  at {self.seconds:6.3f} s  "
            f"{self.phase:27s}  exit {self.code:3d}{left}"
        )


@dataclass
class Tally:
    """Signals that are yet to be sent, and what has happened; shared by all trials."""

    remaining: dict[signal.Signals, int]
    kills: list[Kill] = field(default_factory=list)
    trials: int = 0
    resumptions: int = 0
    flaws: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def next_trial(self) -> tuple[int, signal.Signals] | None:
        """Return number and signal of the next trial, or None if there is none to be done."""
        with self._lock:
            wanted = next((kind for kind, count in self.remaining.items() if count), None)
            if wanted is None:
                return None
            self.trials += 1
            return self.trials, wanted

    def take(self, kind: signal.Signals) -> bool:
        """Set a signal aside, if one is left."""
        with self._lock:
            taken = self.remaining[kind] > 0
            self.remaining[kind] -= taken
            return taken

    def give_back(self, kind: signal.Signals) -> None:
        """Have a signal sent another time: the process ended before."""
        with self._lock:
            self.remaining[kind] += 1

    def record(self, kill: Kill) -> None:
        with self._lock:
            self.kills.append(kill)
            print(kill.line(len(self.kills)), flush=True)

    def close(self, trial: int, num_kills: int, resumptions: int, flaws: Sequence[str]) -> None:
        with self._lock:
            self.resumptions += resumptions
            self.flaws += [f"trial {trial}: {flaw}" for flaw in flaws]
            verdict = "identical" if not flaws else "; ".join(flaws)
            print(f"      trial {trial}: {num_kills} kills, {resumptions} resumptions: {verdict}", flush=True)


class Life:
    """A process of a run, from its start to its end, and how far it has come as its files tell."""

    def __init__(self, folder: Path, args: Sequence[str], num_generations: int = 0) -> None:
        self.run = folder / "run"
        self._num_generations = num_generations
        self._log_size = self._size_of_log()
        self._began_ns = time.time_ns()
        self._began = time.monotonic()
        self.process = processes.start(folder, *args)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def at_work(self) -> bool:
        """Whether it has got through its imports and to its directory."""
        return self._size_of_log() > self._log_size

    def phase(self) -> str:
        if not self.at_work():
            return "starting"
        if self.has_written("report.html"):
            return "ending"
        if self.has_written("training/comparison.json"):
            return "reporting"
        if self.has_written("artifact/loss.json"):
            return "training"
        generations = processes.num_lines(self.run / "history.jsonl")
        return "choosing the winner" if generations == self._num_generations else f"searching, generation {generations}"

    def has_written(self, name: str) -> bool:
        """Whether a file is there, and not from an earlier process."""
        try:
            return (self.run / name).stat().st_mtime_ns >= self._began_ns
        except FileNotFoundError:
            return False

    def _size_of_log(self) -> int:
        log = self.run / "run.log"
        return log.stat().st_size if log.exists() else 0


class Trial:
    """A run that is killed and resumed until it is done."""

    def __init__(self, number: int, kind: signal.Signals, folder: Path, reference: Reference, seed: int) -> None:
        self.number, self.kind, self.folder, self.reference = number, kind, folder, reference
        self.random = random.Random(f"{seed}/{kind.name}/{number}")
        self.flaws: list[str] = []
        self.num_kills = self.resumptions = 0

    def carry_out(self, tally: Tally) -> None:
        prepare(self.folder, self.reference.folder / "spec.yaml")
        while not self._live(tally):
            pass
        self.flaws += processes.flaws(self.folder, self.reference.files)
        self.flaws += self._flaws_of_log()
        self.flaws += [f"process {pid} is still there" for pid in self._survivors()]
        if not self.flaws:
            shutil.rmtree(self.folder)

    def _live(self, tally: Tally) -> bool:
        """Start a process, and perhaps kill it; return whether it has come to its end, or will come to none."""
        resumes = (self.folder / "run" / "spec.yaml").exists()
        self.resumptions += resumes
        args = processes.RESUME if resumes else processes.RUN
        life = Life(self.folder, args, self.reference.num_generations)
        if tally.take(self.kind):
            if not self._dies_of_waiting(life):
                return self._strike(life, args[0], tally)
            tally.give_back(self.kind)
        out, err = life.process.communicate(timeout=processes.PATIENCE_SECONDS)
        if life.process.returncode != 0:
            self.flaws.append(f"'lossforge {args[0]}' ended with {life.process.returncode}:\n{out}{err}")
        return True

    def _dies_of_waiting(self, life: Life) -> bool:
        """Wait for the instant of the kill; return whether the process has ended before."""
        seconds = self.reference.seconds_left(life.run)
        # Most kills would go to imports otherwise.
        if self.random.random() < 2 / 3:
            processes.wait_until(life.at_work, life.process)
        else:
            seconds += self.reference.seconds_to_directory
        try:
            life.process.wait(self.random.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _strike(self, life: Life, command: str, tally: Tally) -> bool:
        seconds, phase, sent_ns = life.seconds, life.phase(), time.time_ns()
        life.process.send_signal(self.kind)
        try:
            out, err = life.process.communicate(timeout=processes.PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            life.process.kill()
            life.process.communicate()
            self.flaws.append(f"{self.kind.name} at {seconds:.3f} s, {phase}: lost, the process went on")
            return True
        code = life.process.returncode
        if self.kind == signal.SIGKILL and code == 0:
            tally.give_back(self.kind)
            return True
        if self.kind == signal.SIGKILL:
            phase = life.phase()  # what the next process meets
        half_done = tuple(str(path.relative_to(self.folder)) for path in sorted(self.folder.rglob(".*.tmp")))
        tally.record(Kill(self.kind, self.number, command, seconds, phase, code, half_done))
        self.num_kills += 1
        if self.kind != signal.SIGKILL:
            report = self.folder / "run" / "report.html"
            finished = life.has_written("report.html") and report.stat().st_mtime_ns <= sent_ns + 10**8
            flaw = flaw_of_ending(self.kind, code, out, err, finished)
            if flaw is not None:
                self.flaws.append(f"{self.kind.name} at {seconds:.3f} s, {phase}: {flaw}:\n{out}{err}")
        return code == 0

    def _flaws_of_log(self) -> list[str]:
        """Return what the log should have told."""
        if not self.resumptions:
            return []
        text = (self.folder / "run" / "run.log").read_text()
        return [] if f": {processes.GO_ON}\n" in text else ["run.log does not tell that the run was resumed"]

    def _survivors(self) -> list[int]:
        deadline = time.monotonic() + 10
        while (left := processes.at_work_in(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def flaw_of_ending(kind: signal.Signals, code: int, out: str, err: str, finished: bool) -> str | None:
    """Return what is wrong with the way in which a process ended that was asked to, or None."""
    begun = BEGUN in err
    if code == INTERRUPTED:
        return "the command to go on with is missing" if begun and err.splitlines()[-1] != GO_ON_LINE else None
    if code == 0:
        return None if finished else "the signal was lost"
    if code == -kind:
        return None if finished or not begun else "it died of the signal after its run had begun"
    if NOT_UP_YET.search(err):
        return None
    return f"it ended with {code}"


def prepare(folder: Path, spec: Path) -> None:
    folder.mkdir()
    shutil.copy(spec, folder / "spec.yaml")


def spec_text(workers: int, short: bool) -> str:
    spec = processes.SEARCH + f"  workers: {workers}\n" + processes.TRAINING
    return spec.replace("generations: 60", "generations: 25").replace("epochs: 4", "epochs: 1") if short else spec


def run_reference(folder: Path, spec: str) -> Reference:
    """Carry out the run that nobody kills; time it."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(spec)
    life = Life(folder, processes.RUN)
    processes.wait_until(life.at_work, life.process)
    seconds_to_directory = life.seconds
    out, err = life.process.communicate(timeout=processes.PATIENCE_SECONDS)
    if life.process.returncode != 0:
        raise SystemExit(f"the run that nobody killed ended with {life.process.returncode}:\n{out}{err}")
    files = processes.result_files(folder / "run")
    return Reference(folder, files, seconds_to_directory, life.seconds - seconds_to_directory)


def torture(folder: Path, tally: Tally, reference: Reference, seed: int, jobs: int) -> None:
    """Do trials, ``jobs`` at a time, until every signal has been sent."""

    def work() -> None:
        while (drawn := tally.next_trial()) is not None:
            number, kind = drawn
            trial = Trial(number, kind, folder / f"trial-{number}", reference, seed)
            try:
                trial.carry_out(tally)
            except Exception as error:  # noqa: BLE001  one trial more that failed
                trial.flaws.append(repr(error))
            tally.close(number, trial.num_kills, trial.resumptions, trial.flaws)

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(work) for _ in range(jobs)]:
            future.result()


def print_summary(tally: Tally, reference: Reference, seconds: float) -> None:
    print(f"\n{len(tally.kills)} kills in {tally.trials} trials with {tally.resumptions} resumptions, {seconds:.0f} s")
    for kind in tally.remaining:
        phases = Counter(kill.phase.partition(",")[0] for kill in tally.kills if kill.signal == kind)
        codes = Counter(kill.code for kill in tally.kills if kill.signal == kind)
        print(
            f"  {kind.name}: {', '.join(f'{phase} {count}' for phase, count in phases.most_common())}; "
            f"exit codes {', '.join(f'{code}: {count}' for code, count in sorted(codes.items()))}"
        )
    print(f"  with something half written: {sum(bool(kill.half_done) for kill in tally.kills)}")
    artifact = {name: content for name, content in reference.files.items() if name.startswith("artifact/")}
    print(f"history   {processes.digest({'history.jsonl': reference.files['history.jsonl']})}")
    print(f"artifact  {processes.digest(artifact)}")
    print(f"all files {processes.digest(reference.files)} ({len(reference.files)} files)")
    print(f"identical: {'no' if tally.flaws else 'yes'}")
    for flaw in tally.flaws:
        processes.fail(flaw)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def signals(text: str) -> list[signal.Signals]:
    return [signal.Signals[f"SIG{part}"] for part in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=numbers, default=[200], help="how many; a comma list, one for each signal")
    parser.add_argument("--signal", type=signals, default="KILL", help="KILL, TERM or INT, or a comma list of them")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--workers", type=int, default=1, help="search.workers of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--short", action="store_true", help="a smaller run")
    options = parser.parse_args()
    if len(options.kills) != len(options.signal):
        parser.error("--kills and --signal: as many numbers as signals, please")
    return options


def main() -> None:
    options = parse()
    processes.let_ctrl_c_reach_children()
    folder = Path(tempfile.mkdtemp(prefix="lossforge-torture-"))
    began = time.monotonic()
    reference = run_reference(folder / "reference", spec_text(options.workers, options.short))
    print(
        f"the run that nobody kills: {reference.seconds_to_directory:.1f} s to its directory, "
        f"{reference.seconds_of_work:.1f} s from there to its end",
        flush=True,
    )
    tally = Tally(dict(zip(options.signal, options.kills, strict=True)))
    torture(folder, tally, reference, options.seed, options.jobs)
    print_summary(tally, reference, time.monotonic() - began)
    if tally.flaws:
        print(f"see {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
