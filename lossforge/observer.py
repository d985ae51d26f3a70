"""Being told how a run gets on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lossforge.artifact import Artifact
    from lossforge.evidence import Arm, Choices
    from lossforge.search.history import Record
    from lossforge.spec import RunSpec, TrainingSpec
    from lossforge.training import EpochRecord


class Observer(Protocol):
    """Told of each step of a run, in this order; what it does cannot change the run."""

    def loading(self, training: TrainingSpec) -> None:
        """The images are about to be read."""

    def began(self, spec: RunSpec, path: Path) -> None:
        """The run directory ``path`` is ready and the search begins, or goes on."""

    def generation(self, record: Record, seconds: float) -> None:
        """A generation ended, with its line of the history."""

    def found(self, artifact: Artifact) -> None:
        """The search ended with this loss."""

    def chosen(self, choices: Choices) -> None:
        """Before a new run begins: what ``auto`` in its training comes to, and why."""

    def step(self, loss: str, seed: int, epochs_done: float) -> None:
        """A training is within an epoch; told now and then."""

    def epoch(self, loss: str, seed: int, record: EpochRecord) -> None:
        """A training completed an epoch."""

    def trained(self, arm: Arm) -> None:
        """A training ended; also told of those read back from an interrupted run."""


class Silent:
    """An observer that says nothing."""

    def loading(self, training: TrainingSpec) -> None:
        """Say nothing."""

    def began(self, spec: RunSpec, path: Path) -> None:
        """Say nothing."""

    def generation(self, record: Record, seconds: float) -> None:
        """Say nothing."""

    def found(self, artifact: Artifact) -> None:
        """Say nothing."""

    def chosen(self, choices: Choices) -> None:
        """Say nothing."""

    def step(self, loss: str, seed: int, epochs_done: float) -> None:
        """Say nothing."""

    def epoch(self, loss: str, seed: int, record: EpochRecord) -> None:
        """Say nothing."""

    def trained(self, arm: Arm) -> None:
        """Say nothing."""
