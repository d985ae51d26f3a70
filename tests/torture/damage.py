"""Damage real runs on purpose, show what ``lossforge`` says of it, mend them, and compare them with one left alone.

``python tests/torture/damage.py`` prints each damage with what the user sees, verbatim but for lines of progress.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import processes

REFUSED = 2
PROGRESS = re.compile(r"(search|trained) .*\d+/\d+ .*")
DAMAGED = r"run/checkpoint/\d+: the checkpoint is damaged \(.+\); it is now damaged-\d+"
HERE = Path(__file__).resolve()

CLOCK = '''\
"""A wall clock that jumps by years, back and forth, and a monotonic one that jumps ahead by hours."""

import itertools
import time

YEAR, HOUR = 365 * 86400, 3600


def _ahead(clock, offset, unit=1):
    calls = itertools.count()
    return lambda: clock() + offset(next(calls)) * unit


def _years(call):
    return (0, 7, -11, 23)[call % 4] * YEAR


time.time = _ahead(time.time, _years)
time.time_ns = _ahead(time.time_ns, _years, 10**9)
time.monotonic = _ahead(time.monotonic, lambda call: call // 5 * HOUR)
time.monotonic_ns = _ahead(time.monotonic_ns, lambda call: call // 5 * HOUR, 10**9)
'''


class Skipped(Exception):  # noqa: N818  nothing has gone wrong
    """A damage that cannot be done on this machine."""


@dataclass
class Account:
    """What was done to a run, what was seen, and what was wrong with it."""

    name: str
    title: str
    seen: list[str] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    skipped: str | None = None

    def text(self) -> str:
        head = f"== {self.title}"
        if self.skipped is not None:
            return f"{head}\nskipped: {self.skipped}\n"
        return "\n".join([head, *self.seen, *(f"FAILED: {flaw}" for flaw in self.flaws)]) + "\n"


@dataclass(frozen=True)
class Stock:
    """Runs that every damage may copy: one that was left alone, and one that was killed in the middle of its search."""

    folder: Path

    @property
    def expected(self) -> dict[str, bytes]:
        return processes.result_files(self.folder / "reference" / "run")

    @property
    def killed(self) -> Path:
        return self.folder / "killed" / "run"

    def make(self) -> None:
        for name in ("reference", "killed"):
            (self.folder / name).mkdir()
            (self.folder / name / "spec.yaml").write_text(processes.SEARCH)
        reference = processes.start(self.folder / "reference", *processes.RUN)
        killed = processes.start(self.folder / "killed", *processes.RUN)
        processes.wait_until(lambda: processes.num_lines(self.killed / "history.jsonl") >= 40, killed)
        killed.kill()
        killed.communicate()
        out, err = reference.communicate(timeout=processes.PATIENCE_SECONDS)
        if reference.returncode != 0:
            raise SystemExit(f"the run that was left alone ended with {reference.returncode}:\n{out}{err}")


class Case:
    """One damage: a folder of its own, and an account of what is done in it."""

    def __init__(self, account: Account, stock: Stock, forked: bool) -> None:
        self.account, self.stock, self._forked = account, stock, forked
        self.folder = stock.folder / account.name
        self.folder.mkdir()
        (self.folder / "spec.yaml").write_text(processes.SEARCH)
        self.prefix: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def take_killed_run(self) -> None:
        shutil.copytree(self.stock.killed, self.run, dirs_exist_ok=True)

    def says(self, text: str) -> None:
        self.account.seen += text.splitlines()

    def does(self, *command: str) -> None:
        """Carry out a command that does or mends the damage."""
        self.says(f"$ {' '.join(command)}")
        subprocess.run(command, cwd=self.folder, check=True)

    def start(self, *args: str, **more: str) -> processes.Process:
        # Only a fresh process looks at its environment for Python's sake.
        if self._forked and not more and not self.prefix:
            return processes.Forked(self.folder, *args)
        return processes.start(self.folder, *args, prefix=self.prefix, **more)

    def wait_for_generations(self, number: int, process: processes.Process) -> None:
        processes.wait_until(lambda: processes.num_lines(self.run / "history.jsonl") >= number, process)

    def see(self, process: processes.Process, args: Sequence[str], code: int, *lines: str) -> None:
        """Take down how a process ends; each of ``lines`` is a pattern that a line of its stderr must match.

        Warnings may be marked as such.
        """
        _, err = process.communicate(timeout=processes.PATIENCE_SECONDS)
        self.says(f"$ lossforge {' '.join(args)}\n{_without_progress(err)}\n[exit code {process.returncode}]")
        if process.returncode != code:
            self.account.flaws.append(f"exit code {process.returncode} instead of {code}")
        for pattern in lines:
            if not any(re.fullmatch(f"(warning: )?({pattern})", line) for line in err.splitlines()):
                self.account.flaws.append(f"no line of stderr is: {pattern}")

    def lossforge(self, args: Sequence[str], code: int, *lines: str, **more: str) -> None:
        """Call ``lossforge ARGS`` and take down how it ends."""
        self.see(self.start(*args, **more), args, code, *lines)

    def goes_on_to_the_same(self) -> None:
        self.lossforge(processes.RESUME, 0)
        self.is_the_same()

    def is_the_same(self) -> None:
        """Compare the finished run with the one that was left alone."""
        flaws = processes.flaws(self.folder, self.stock.expected)
        self.account.flaws += flaws
        self.says(f"all files as in a run that was left alone: {'no' if flaws else 'yes'}")

    def newest_checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted((self.run / "checkpoint").glob("[0-9]*"), reverse=True)


def _without_progress(err: str) -> str:
    """Return what was said, with one line of dots for the progress of the search."""
    kept: list[str] = []
    for line in err.splitlines():
        shown = "..." if PROGRESS.fullmatch(line) else line
        if shown != "..." or kept[-1:] != ["..."]:
            kept.append(shown)
    return "\n".join(kept)


def refused(file: str, reason: str) -> str:
    """Return the pattern of what is said of a file that cannot be written."""
    advice = "what was saved before is whole: once this is mended, go on with: lossforge resume run"
    return rf"error: (\S*/)?{file}: {reason}; {advice}"


def full_disk_in_search(case: Case) -> None:
    _full_disk(case, "64k", r"run/\S+")


def full_disk_in_report(case: Case) -> None:
    _full_disk(case, "200k", r"run/\.report\.html\.\d+\.tmp")


def _full_disk(case: Case, size: str, file: str) -> None:
    case.run.mkdir()
    case.does("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "run")
    case.lossforge(processes.RUN, REFUSED, refused(file, "No space left on device"))
    case.does("mount", "-o", "remount,size=4m", "run")
    case.goes_on_to_the_same()


def read_only_disk(case: Case) -> None:
    case.run.mkdir()
    case.does("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", "run")
    case.take_killed_run()
    case.does("mount", "-o", "remount,ro", "run")
    case.lossforge(processes.RESUME, REFUSED, refused(r"run/\S+", "Read-only file system"))
    case.does("mount", "-o", "remount,rw", "run")
    case.goes_on_to_the_same()


def write_protected_folder(case: Case) -> None:
    case.take_killed_run()
    if os.geteuid() == 0:
        case.prefix = _stopped_by_permissions()
    case.does("chmod", "-R", "a-w", "run")
    case.lossforge(processes.RESUME, REFUSED, refused(r"run/\S+", "Permission denied"))
    case.does("chmod", "-R", "u+w", "run")
    case.goes_on_to_the_same()


def _stopped_by_permissions() -> tuple[str, ...]:
    """Return the command prefix under which root obeys the permissions of files."""
    prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as cause:
        raise Skipped("permissions do not stop root, and setpriv cannot have them do so here") from cause
    return prefix


def truncated_tensors(case: Case) -> None:
    case.take_killed_run()
    _truncate(case, case.newest_checkpoints()[0] / "state.safetensors")
    _goes_on_from_the_one_before(case)


def truncated_scalars(case: Case) -> None:
    case.take_killed_run()
    _truncate(case, case.newest_checkpoints()[0] / "state.json")
    _goes_on_from_the_one_before(case)


def flipped_bit(case: Case) -> None:
    case.take_killed_run()
    path = case.newest_checkpoints()[0] / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    path.write_bytes(content)
    case.says(f"[one bit of {path.relative_to(case.folder)} is flipped]")
    _goes_on_from_the_one_before(case)


def missing_file(case: Case) -> None:
    case.take_killed_run()
    case.does("rm", str((case.newest_checkpoints()[0] / "state.json").relative_to(case.folder)))
    _goes_on_from_the_one_before(case)


def both_checkpoints(case: Case) -> None:
    case.take_killed_run()
    for checkpoint in case.newest_checkpoints():
        _truncate(case, checkpoint / "state.safetensors")
    case.lossforge(
        processes.RESUME,
        0,
        rf"{DAMAGED}; going on from \d+, the one before",
        rf"{DAMAGED}; there is none before it",
        "no checkpoint can be read: the search begins anew, and comes to the same",
    )
    case.is_the_same()


def _truncate(case: Case, path: Path) -> None:
    case.does("truncate", f"--size={path.stat().st_size // 2}", str(path.relative_to(case.folder)))


def _goes_on_from_the_one_before(case: Case) -> None:
    before = case.newest_checkpoints()[1]
    case.lossforge(
        processes.RESUME,
        0,
        rf"{DAMAGED}; going on from {before.name}, the one before",
    )
    case.is_the_same()


def jumping_clock(case: Case) -> None:
    clock = case.folder / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(clock), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = case.start(*processes.RUN, PYTHONPATH=path)
    case.wait_for_generations(40, process)
    process.kill()
    case.see(process, processes.RUN, -signal.SIGKILL)
    case.lossforge(processes.RESUME, 0, PYTHONPATH=path)
    log = (case.run / "run.log").read_text()
    case.says(f"$ cat run/run.log\n{log}")
    if len({line[:4] for line in log.splitlines()}) < 3:
        case.account.flaws.append("the clock has not jumped")
    case.is_the_same()


def changed_spec(case: Case) -> None:
    case.take_killed_run()
    case.does("sed", "-i.before", "s/batch_size: 32/batch_size: 48/", "run/spec.yaml")
    case.lossforge(
        processes.RESUME,
        REFUSED,
        "error: run: the spec is not the one that the run began with:",
        r"error:   search\.batch_size: 32 -> 48",
        r"error: nothing was done; .+",
    )
    case.does("mv", "run/spec.yaml.before", "run/spec.yaml")
    case.goes_on_to_the_same()


def two_processes(case: Case) -> None:
    first = case.start(*processes.RUN)
    case.wait_for_generations(10, first)
    first.send_signal(signal.SIGSTOP)
    case.says("[the run is in its search]")
    case.lossforge(
        processes.RESUME,
        REFUSED,
        "error: run: another process is at work in this run; wait for it, or stop it first",
    )
    case.lossforge(processes.RUN, REFUSED, "error: run: holds a run already; .+: lossforge resume run")
    first.send_signal(signal.SIGCONT)
    case.says("[the first process goes on]")
    case.see(first, processes.RUN, 0)
    case.is_the_same()


def killed_workers(case: Case) -> None:
    if not Path("/proc/self/stat").exists():
        raise Skipped("no /proc in which to find worker processes")
    (case.folder / "spec.yaml").write_text(processes.SEARCH + "  workers: 2\n")
    process = processes.start(case.folder, *processes.RUN)
    case.wait_for_generations(10, process)
    workers = _workers_of(process.pid)
    case.says(f"[the run has {len(workers)} workers; kill -9 of its own process]")
    process.kill()
    case.see(process, processes.RUN, -signal.SIGKILL)
    case.says(f"[after {_seconds_until_empty(case.folder):.1f} s no process of it is left]")

    process = processes.start(case.folder, *processes.RESUME)
    case.wait_for_generations(60, process)
    victim = _workers_of(process.pid)[0]
    os.kill(victim, signal.SIGSTOP)
    _wait_until_still(case.run / "history.jsonl")
    case.says(f"[worker {victim} of the process that goes on has a block, and is stopped; kill -9]")
    os.kill(victim, signal.SIGKILL)
    warning = "a worker process was ended by SIGKILL while it evaluated a block; another takes its place"
    case.see(process, processes.RESUME, 0, warning)
    _same_search(case)


def _workers_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if int(status.rpartition(")")[2].split()[1]) == parent and b"spawn_main" in command:
            found.append(int(entry.name))
    return found


def _wait_until_still(history: Path) -> None:
    """Wait until a search waits for its only worker: many times as long as a generation takes."""
    before = -1
    while (now := processes.num_lines(history)) > before:
        before = now
        time.sleep(2)


def _seconds_until_empty(folder: Path) -> float:
    began = time.monotonic()
    while left := processes.at_work_in(folder):
        if time.monotonic() - began > 10:
            raise AssertionError(f"10 s after the end of their parent, processes are left: {left}")
        time.sleep(0.02)
    return time.monotonic() - began


def _same_search(case: Case) -> None:
    """Compare history and artifact with those of a run without workers."""
    expected, found = (
        {name: content for name, content in files.items() if name.startswith(("history", "artifact"))}
        for files in (case.stock.expected, processes.result_files(case.run))
    )
    flaws = processes.differing(expected, found)
    case.account.flaws += flaws
    case.says(f"history and artifact as in a run without workers that was left alone: {'no' if flaws else 'yes'}")


@dataclass(frozen=True)
class Damage:
    """Something that may happen to a run."""

    title: str
    do: Callable[[Case], None]
    mounts: bool = False

    @property
    def name(self) -> str:
        return self.do.__name__


DAMAGES = (
    Damage("The disk is full: in the search", full_disk_in_search, mounts=True),
    Damage("The disk is full: at the report", full_disk_in_report, mounts=True),
    Damage("The disk is mounted read-only", read_only_disk, mounts=True),
    Damage("The folder is write-protected", write_protected_folder),
    Damage("The newest checkpoint is truncated: its tensors", truncated_tensors),
    Damage("The newest checkpoint is truncated: its scalars", truncated_scalars),
    Damage("A bit of the newest checkpoint is flipped", flipped_bit),
    Damage("A file of the newest checkpoint is missing", missing_file),
    Damage("Both checkpoints are truncated", both_checkpoints),
    Damage("The clock jumps", jumping_clock),
    Damage("The spec is changed", changed_spec),
    Damage("Two processes at once", two_processes),
    Damage("Processes of a run with workers are killed: all but the workers, then a worker", killed_workers),
)


def own_mounts(folder: Path) -> list[str]:
    """Return the command prefix under which file systems can be mounted, and vanish with the process.

    Raises:
        Skipped: there is none.
    """
    probe = folder / "probe"
    probe.mkdir(exist_ok=True)
    for prefix in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            subprocess.run([*prefix, "mount", "-t", "tmpfs", "tmpfs", probe], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return prefix
    raise Skipped("a small file system cannot be mounted here, neither by root nor in a user namespace of its own")


def account_of(damage: Damage, stock: Stock, forked: bool) -> Account:
    """Do a damage and return what came of it."""
    account = Account(damage.name, damage.title)
    try:
        damage.do(Case(account, stock, forked))
    except Skipped as reason:
        account.skipped = str(reason)
    except Exception:  # noqa: BLE001  one more damage that did not go as it should
        account.flaws.append(traceback.format_exc())
    return account


def accounts_from(prefix: Sequence[str], damages: Sequence[Damage], stock: Stock, forked: bool) -> list[Account]:
    """Do damages in a process of their own, with a command prefix."""
    command = [*prefix, sys.executable, str(HERE), "--inside", str(stock.folder), *["--forked"] * forked]
    command += [f"--only={damage.name}" for damage in damages]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=processes.environment())
    return [Account(**content) for content in json.loads(done.stdout)]


def accounts_of(damages: Sequence[Damage], stock: Stock, forked: bool) -> list[Account]:
    """Do damages, two at a time, and return what came of them."""
    mounting = [damage for damage in damages if damage.mounts]
    others = [damage for damage in damages if not damage.mounts]
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(accounts_from, (), group, stock, forked) for group in (others[::2], others[1::2]) if group
        ]
        try:
            prefix = own_mounts(stock.folder) if mounting else []
        except Skipped as reason:
            accounts = [Account(damage.name, damage.title, skipped=str(reason)) for damage in mounting]
        else:
            accounts = accounts_from(prefix, mounting, stock, forked) if mounting else []
        accounts += [account for future in futures for account in future.result()]
    order = [damage.name for damage in damages]
    return sorted(accounts, key=lambda account: order.index(account.name))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [damage.name for damage in DAMAGES]
    parser.add_argument("--only", choices=names, action="append", help="one of the damages; may be repeated")
    parser.add_argument("--forked", action="store_true", help="fork processes where that will do: twice as fast")
    parser.add_argument("--json", type=Path, help="also write what came of them to this file")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    chosen = [damage for damage in DAMAGES if options.only is None or damage.name in options.only]
    if options.inside is not None:
        processes.let_ctrl_c_reach_children()
        if options.forked:
            processes.warm_up()
        accounts = [account_of(damage, Stock(options.inside), options.forked) for damage in chosen]
        json.dump([dataclasses.asdict(account) for account in accounts], sys.stdout)
        return
    stock = Stock(Path(tempfile.mkdtemp(prefix="lossforge-damage-")).resolve())
    stock.make()
    accounts = accounts_of(chosen, stock, options.forked)
    for account in accounts:
        print(account.text(), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([dataclasses.asdict(account) for account in accounts]))
    sys.exit(conclude(accounts, stock))


def conclude(accounts: Sequence[Account], stock: Stock) -> int:
    failed = [account.name for account in accounts if account.flaws]
    skipped = [account.name for account in accounts if account.skipped is not None]
    print(f"{len(accounts)} damages, {len(skipped)} skipped, {len(failed)} not as they should be {failed or ''}")
    if failed:
        print(f"see {stock.folder}")
        return 1
    shutil.rmtree(stock.folder)
    return 0


if __name__ == "__main__":
    main()
