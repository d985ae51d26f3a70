"""Progress on stderr: bars in a terminal, plain occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from lossforge.cli.bars import Bars
from lossforge.cli.pace import EpochsLeft, Interval, Pace
from lossforge.observer import Observer
from lossforge.report.numbers import count

if TYPE_CHECKING:
    from lossforge.artifact import Artifact
    from lossforge.evidence import Arm, Choices
    from lossforge.evidence.judging import Judged
    from lossforge.search.history import Record
    from lossforge.spec import RunSpec, TrainingSpec, TrainSpec
    from lossforge.spec.compare import CompareSpec
    from lossforge.spec.correlate import CorrelateSpec
    from lossforge.training import EpochRecord, TrainingResult

STOPPED = {
    "target_fitness": "the target fitness is reached",
    "evaluations": "the budget of evaluations is spent",
    "wall_time": "the time is up",
    "no_feasible": "no candidate has passed the gates for too long",
    "stagnation": "the best fitness stagnates",
}
"""What is said of a search that stops before its generations are done."""

PLAIN_LINES = 10
"""Lines that a search prints where there is no terminal."""


PLAIN_SECONDS = 60.0
"""Seconds between lines on epochs where there is no terminal."""


class Display(Observer):
    """An observer for people; use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.path: Path | None = None
        self._bars = Bars(self.console) if self.console.is_terminal and self.console.is_interactive else None
        self._generations = self._epochs = self._trainings = self._done = 0
        self._restarts = 1
        self._searching = Pace()
        self._training = EpochsLeft(0, 0)
        self._epochs_told = Interval(PLAIN_SECONDS)

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
        self._restarts = spec.search.restarts
        if spec.training is not None and spec.evidence is not None:
            self._epochs = spec.training.epochs
            self._trainings = spec.evidence.seeds * (1 + len(spec.evidence.baselines)) if spec.evidence.is_plain else 0
            self._training = EpochsLeft(self._epochs, self._trainings)
        self._print(f"[bold]{spec.name}[/bold] in {escape(str(path))}, seed {spec.seed}, on {spec.device}", markup=True)

    def training(self, spec: TrainSpec, path: Path) -> None:
        """Say what is trained, and where, without a search before it."""
        self.path = path
        self._epochs = spec.training.epochs
        self._trainings = spec.seeds * (len(spec.published) + len(spec.found))
        self._training = EpochsLeft(self._epochs, self._trainings)
        names = f"{spec.training.model.label} on {spec.training.dataset.label}"
        amount = f"{count(self._trainings, 'training')} of {count(self._epochs, 'epoch')}"
        self._plain(f"{names} in {path}, seed {spec.seed}: {amount}")

    def searching(self, record: Record, seconds: float) -> None:
        """Show a generation of a search that a comparison begins with, now and then."""
        done = record["generation"] + 1
        if record["stopped"] or done % PLAIN_LINES == 0:
            self._plain(f"search: generation {done}, {_fitness_text(record)}")

    def comparing(self, spec: CompareSpec, path: Path) -> None:
        """Say what is compared, and where."""
        self.path = path
        self._epochs = spec.training.epochs
        self._training = EpochsLeft(self._epochs, 0)
        names = f"{spec.training.model.label} on {spec.training.dataset.label}"
        self._plain(f"{names} in {path}, seed {spec.seed}: {count(spec.evidence.seeds, 'seed')} of each loss")

    def correlating(self, spec: CorrelateSpec, path: Path) -> None:
        """Say what is correlated, and where."""
        self.path = path
        self._epochs = spec.training.epochs
        self._training = EpochsLeft(self._epochs, 0)
        names = f"{spec.training.model.label} on {spec.training.dataset.label}"
        amount = f"{spec.zoo.num_losses} losses, {count(len(spec.objectives), 'objective')}"
        self._plain(f"{names} in {path}, seed {spec.seed}: {amount}")

    def judged(self, judged: Judged) -> None:
        """Say what an objective has taken, before losses are trained with."""
        self._plain(f"judged by {judged.name}: {judged.seconds:.2g} s a loss and batch")
        self._training.begin()

    def chosen(self, choices: Choices) -> None:
        """Say what was chosen by timing, and why."""
        for name, reason in choices.reasons.items():
            if " ms" in reason:
                self._plain(f"{name} {getattr(choices, name)}: {reason}")
        self._training.begin()

    def under(self, condition: str) -> None:
        """Say what comes next."""
        self._plain(f"condition {condition}")

    def besides(self, what: str) -> None:
        """Say what comes after the comparison."""
        self._plain(f"besides: {what}")

    def expect(self, num: int) -> None:
        """Count on more trainings."""
        self._trainings += num
        self._training.expect(num)

    def generation(self, record: Record, seconds: float) -> None:
        """Show best fitness, gates and the time left."""
        done = record["generation"] + 1
        fitness = _fitness_text(record)
        left = self._searching.left_after(seconds, self._generations * (self._restarts - record["restart"]) - done)
        name = "search" if self._restarts == 1 else f"search {record['restart'] + 1} of {self._restarts}"
        if self._bars:
            feasible = record["num_feasible"] / record["num_solutions"]
            self._bars.show(name, self._generations, done, f"{fitness}, gates {feasible:.0%}")
        elif record["stopped"] or done % max(1, self._generations // PLAIN_LINES) == 0:
            rates = ", ".join(f"{name} {rate:.0%}" for name, rate in record["pass_rates"].items())
            self._plain(f"{name} {done}/{self._generations}  {fitness}; gates passed: {rates}{left}")
        if record["stopped"]:
            self._end_search(name, record["stopped"])

    def found(self, artifact: Artifact) -> None:
        """Say how well the loss ranks predictions it has never seen."""
        accuracy = artifact.evidence["held_out"]["metrics"].get("ranking_accuracy")
        ranking = "" if accuracy is None else f", held-out ranking accuracy {accuracy:.4f}"
        violations = artifact.evidence["held_out"]["gate_violations"].items()
        gates = "".join(
            f", {name} violated on held-out pairs ({_size(size)})" for name, size in violations if size != 0
        )
        self._plain(f"found after {artifact.evidence['evaluations']} evaluations{ranking}{gates}")
        self._training.begin()

    def _end_search(self, name: str, reason: str) -> None:
        """Take the bar away, and say why the search stopped, if not because its generations are done."""
        if self._bars:
            self._bars.finish(name)
        if reason != "generations":
            self._plain(f"{name} stopped: {STOPPED[reason]}")

    def warning(self, text: str) -> None:
        """Show what was logged as a warning."""
        self._plain(f"warning: {text}")

    def step(self, loss: str, seed: int, epochs_done: float) -> None:
        """Move a training's bar within an epoch."""
        if self._bars:
            self._bars.show(_training_name(loss, seed), self._epochs, epochs_done)

    def epoch(self, loss: str, records: Mapping[int, EpochRecord]) -> None:
        """Show the progress of a training, or of several at once."""
        named = {_training_name(loss, seed): record for seed, record in records.items()}
        left = self._training.left_at({name: record.epoch for name, record in named.items()})
        if self._bars:  # beside the bar there is little room in a terminal of 80 columns
            for name, each in named.items():
                text = f"loss {each.train_loss:.2f} acc {each.train_accuracy:.1%} {_rate(each)} img/s"
                self._bars.show(name, self._epochs, each.epoch, text)
        elif self._epochs_told.due():
            for name, each in named.items():
                text = f"loss {each.train_loss:.3f}, accuracy {each.train_accuracy:.1%}, {_rate(each)} images/s"
                self._plain(f"{name}: epoch {each.epoch}/{self._epochs}, {text}{left}")

    def trained(self, arm: Arm) -> None:
        """Say what a training came to."""
        self._done += 1
        name = _training_name(arm.loss, arm.seed_index)
        if self._bars:
            self._bars.finish(name)
        outcome = _outcome(arm.result)
        source = " (read back)" if arm.restored else ""
        left = self._training.left_after(name)
        self._plain(f"trained {self._done}/{self._trainings}  {name}: {outcome}{source}{left}")

    def _plain(self, text: str) -> None:
        self._print(text, markup=False)

    def _print(self, text: str, *, markup: bool) -> None:
        self.console.print(text, highlight=False, markup=markup, soft_wrap=True)


@contextlib.contextmanager
def warnings_to(display: Display) -> Iterator[None]:
    """Have the display show what lossforge logs as a warning."""
    handler = _Warnings(display)
    logger = logging.getLogger("lossforge")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Warnings(logging.Handler):
    def __init__(self, display: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        self._display.warning(record.getMessage())


def _outcome(result: TrainingResult) -> str:
    if result.diverged_at_epoch is not None:
        return f"diverged in epoch {result.diverged_at_epoch}"
    part, metrics = ("test", result.metrics) if result.metrics else ("held-out", result.validation_metrics)
    return "done" if metrics is None else f"{part} accuracy {metrics.accuracy:.2%}, NLL {metrics.nll:.3f}"


def _rate(record: EpochRecord) -> str:
    return "?" if record.images_per_second is None else f"{record.images_per_second:,.0f}"


def _fitness_text(record: Record) -> str:
    if not record["num_feasible"]:
        return "none feasible"
    best = record["best_fitness"]
    return "best fitness not finite" if best is None else f"best fitness {best:.4g}"


def _size(violation: float | None) -> str:
    return "not finite" if violation is None else f"{violation:.1g}"


def _training_name(loss: str, seed_index: int) -> str:
    return f"{loss}, seed {seed_index}"
