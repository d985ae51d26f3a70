"""Being told how trainings get on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossforge.evidence.arms import Arm
    from lossforge.evidence.choices import Choices
    from lossforge.evidence.comparison import Comparison
    from lossforge.training import EpochRecord


class TrainingObserver:
    """Told of each step of a comparison, and says nothing; for classes that override what they want to hear.

    What it does cannot change the trainings.
    """

    def chosen(self, choices: Choices) -> None:
        """Before the first training, where it is settled now: what ``auto`` in the spec comes to, and why."""

    def under(self, condition: str) -> None:
        """Trainings under a condition begin."""

    def besides(self, what: str) -> None:
        """What a comparison is asked for besides itself begins."""

    def expect(self, num: int) -> None:
        """So many more trainings are wanted, some of which may be read back; told by comparisons that tune."""

    def step(self, loss: str, seed: int, epochs_done: float) -> None:
        """A training is within an epoch; told now and then, and not of trainings in processes of their own.

        Args:
            loss: its name.
            seed: seed index; the first of those that are trained as one computation.
            epochs_done: a fraction.
        """

    def epoch(self, loss: str, records: Mapping[int, EpochRecord]) -> None:
        """A training completed an epoch, or several that are one computation did; records by seed index."""

    def trained(self, arm: Arm) -> None:
        """A training ended; also told of those read back from an interrupted comparison."""

    def compared(self, comparison: Comparison) -> None:
        """All trainings have ended, with this comparison."""
