"""Being told how a run gets on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.evidence.observer import TrainingObserver

if TYPE_CHECKING:
    from lossforge.artifact import Artifact
    from lossforge.search.history import Record
    from lossforge.spec import RunSpec, TrainingSpec


class Observer(TrainingObserver):
    """Told of each step of a run, too: of its search first, then of its trainings."""

    def loading(self, training: TrainingSpec) -> None:
        """The images are about to be read."""

    def began(self, spec: RunSpec, path: Path) -> None:
        """The run directory ``path`` is ready and the search begins, or goes on."""

    def generation(self, record: Record, seconds: float) -> None:
        """A generation ended, with its line of the history."""

    def found(self, artifact: Artifact) -> None:
        """The search ended with this loss."""
