"""Progress on stderr: bars in a terminal, plain occasional lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

if TYPE_CHECKING:
    from lossforge.artifact import Artifact
    from lossforge.evidence import Arm
    from lossforge.search.loop import Record
    from lossforge.spec import RunSpec, TrainingSpec
    from lossforge.training import EpochRecord

PLAIN_LINES = 10
"""Lines that a search prints where there is no terminal."""


class Display:
    """An observer for people; use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.path: Path | None = None
        self._bars = _Bars(self.console) if self.console.is_terminal else None
        self._generations = self._epochs = self._trainings = self._done = 0
        self._searching = _Pace()
        self._training = _Pace()

    def __enter__(self) -> Display:
        if self._bars:
            self._bars.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.progress.stop()

    def loading(self, training: TrainingSpec) -> None:
        """Say what is read, which may take a while."""
        self._plain(f"loading {training.dataset.label}")

    def began(self, spec: RunSpec, path: Path) -> None:
        """Say what is run, and where."""
        self.path = path
        self._generations = spec.search.generations
        if spec.training is not None and spec.evidence is not None:
            self._epochs = spec.training.epochs
            self._trainings = spec.evidence.seeds * (1 + len(spec.evidence.baselines))
        self.console.print(
            f"[bold]{spec.name}[/bold] in {escape(str(path))}, seed {spec.seed}, on {spec.device}",
            highlight=False,
            soft_wrap=True,
        )

    def generation(self, record: Record, seconds: float) -> None:
        """Show best fitness, gates and the time left."""
        done = record["generation"] + 1
        fitness = _fitness_text(record)
        left = self._searching.left_after(seconds, self._generations - done)
        if self._bars:
            feasible = record["num_feasible"] / record["num_solutions"]
            self._bars.show("search", self._generations, done, f"{fitness}, gates {feasible:.0%}")
        elif done == self._generations or done % max(1, self._generations // PLAIN_LINES) == 0:
            rates = ", ".join(f"{name} {rate:.0%}" for name, rate in record["pass_rates"].items())
            self._plain(f"search {done}/{self._generations}  {fitness}; gates passed: {rates}{left}")

    def found(self, artifact: Artifact) -> None:
        """Say how well the loss ranks predictions it has never seen."""
        accuracy = artifact.evidence["held_out"]["metrics"].get("ranking_accuracy")
        ranking = "" if accuracy is None else f", held-out ranking accuracy {accuracy:.4f}"
        if self._bars:
            self._bars.finish("search")
        violations = artifact.evidence["held_out"]["gate_violations"].items()
        gates = "".join(
            f", {name} violated on held-out pairs ({_size(size)})" for name, size in violations if size != 0
        )
        self._plain(f"found after {artifact.evidence['evaluations']} evaluations{ranking}{gates}")

    def epoch(self, loss: str, seed: int, record: EpochRecord) -> None:
        """Show a training's progress."""
        if self._bars:
            text = f"loss {record.train_loss:.3f}, accuracy {record.train_accuracy:.1%}"
            self._bars.show(_training_name(loss, seed), self._epochs, record.epoch, text)

    def trained(self, arm: Arm) -> None:
        """Say what a training came to."""
        self._done += 1
        name = _training_name(arm.loss, arm.seed_index)
        if self._bars:
            self._bars.finish(name)
        metrics = arm.result.metrics
        if metrics is None:
            outcome = f"diverged in epoch {arm.result.diverged_at_epoch}"
        else:
            outcome = f"test accuracy {metrics.accuracy:.2%}, NLL {metrics.nll:.3f}"
        source = " (read back)" if arm.restored else ""
        left = self._training.left_after(arm.result.seconds, self._trainings - self._done)
        self._plain(f"trained {self._done}/{self._trainings}  {name}: {outcome}{source}{left}")

    def _plain(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Pace:
    """The time left, by the mean of the steps done in this process."""

    def __init__(self) -> None:
        self._seconds, self._steps = 0.0, 0

    def left_after(self, seconds: float | None, num_left: int) -> str:
        """Return what to print after a step; None: it was done earlier and took no time now."""
        if seconds is not None:
            self._seconds, self._steps = self._seconds + seconds, self._steps + 1
        left = self._seconds / max(self._steps, 1) * num_left
        return f"; about {_duration(left)} left" if left >= 1 else ""


class _Bars:
    """A bar for each thing under way."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, total: int, done: int, text: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=total, text=text)
        self.progress.update(self._tasks[name], completed=done, text=text)

    def finish(self, name: str) -> None:
        if name in self._tasks:
            self.progress.remove_task(self._tasks.pop(name))


def _fitness_text(record: Record) -> str:
    if not record["num_feasible"]:
        return "none feasible yet"
    best = record["best_fitness"]
    return "best fitness not finite" if best is None else f"best fitness {best:.4g}"


def _size(violation: float | None) -> str:
    return "not finite" if violation is None else f"{violation:.1g}"


def _training_name(loss: str, seed_index: int) -> str:
    return f"{loss}, seed {seed_index}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
