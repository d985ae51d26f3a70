"""How long what is under way will still take."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lossforge.cli.durations import duration


class Interval:
    """Something that is due once so many seconds have gone by."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        """Return whether it is; the seconds then count anew."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


class Pace:
    """The time left, by the mean of the steps done in this process."""

    def __init__(self) -> None:
        self._seconds, self._steps = 0.0, 0

    def left_after(self, seconds: float, num_left: int) -> str:
        """Return what to print after a step."""
        self._seconds, self._steps = self._seconds + seconds, self._steps + 1
        return _left(self._seconds / self._steps * num_left)


class EpochsLeft:
    """The time left, by how many epochs were completed since trainings began, however many train at once."""

    def __init__(self, num_epochs: int, num_trainings: int) -> None:
        self._num_epochs, self._num_left, self._num_done = num_epochs, num_epochs * num_trainings, 0
        self._reached: dict[str, int] = {}
        self.begin()

    def expect(self, num_trainings: int) -> None:
        """Count on more trainings."""
        self._num_left += self._num_epochs * num_trainings

    def begin(self) -> None:
        """Begin to count the time."""
        self._began = time.monotonic()

    def left_at(self, epochs: Mapping[str, int]) -> str:
        """Return what to print where trainings have completed an epoch; those before a training's first are no work."""
        self._num_done += len(epochs)
        return self._left_with(epochs)

    def left_after(self, training: str) -> str:
        """Return what to print after a training, which may have been read back, or have diverged."""
        return self._left_with({training: self._num_epochs})

    def _left_with(self, epochs: Mapping[str, int]) -> str:
        self._num_left -= sum(epoch - self._reached.get(training, 0) for training, epoch in epochs.items())
        self._reached.update(epochs)
        return _left((time.monotonic() - self._began) / self._num_done * self._num_left) if self._num_done else ""


def _left(seconds: float) -> str:
    return f"; about {duration(seconds)} left" if seconds >= 1 else ""
