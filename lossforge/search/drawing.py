"""Batches of generations, each drawn while the generation before it is told and the strategy asked anew.

These go on in one thread, and where there are more, drawing costs nothing. What is drawn depends on the generation
alone, so it makes no difference to it when, or by whom, it is drawn, or whether in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lossforge.types import PredictionBatch

_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lossforge-drawing")


class DrawnAhead:
    """What ``draw`` makes of generations; that of the next one can be begun before it is wanted."""

    def __init__(self, draw: Callable[[int], PredictionBatch]) -> None:
        self._draw = draw
        self._begun: tuple[int, Future[PredictionBatch]] | None = None

    def of(self, generation: int) -> PredictionBatch:
        """Return the batch of a generation; an error is that of drawing it."""
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != generation:
            return self._draw(generation)
        return begun[1].result()

    def begin(self, generation: int) -> None:
        """Draw the batch of a generation in the background."""
        self._begun = generation, _executor.submit(self._draw, generation)
