"""Trainings in processes of their own, which end with the one that started them, and at once when it is interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import logging.handlers
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

import torch
import torch.multiprocessing  # images reach the processes through shared memory, not as copies
from torch import nn

from lossforge.errors import SearchError
from lossforge.evidence.processes import end_with_the_other_end
from lossforge.search.worker_process import interrupts_blocked
from lossforge.spec.training import Precision, TrainingSpec
from lossforge.training import (
    EpochRecord,
    Predictions,
    PreparedData,
    TrainingCheckpoint,
    TrainingResult,
    train_classifier,
)
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class PoolCall:
    """The arguments of a training; see :func:`lossforge.training.train_classifier`."""

    spec: TrainingSpec
    data: PreparedData
    loss: nn.Module
    seed: int
    checkpoint: TrainingCheckpoint | None


class TrainingPool:
    """A few processes, each of which trains one network at a time.

    Args:
        num_processes: at most that many at once.
        threads: of torch in each.
    """

    def __init__(self, num_processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._num_processes = num_processes
        self._told = context.SimpleQueue()
        self._watched, self._held = context.Pipe(duplex=False)
        arguments = (self._watched, self._told, context.Barrier(num_processes), threads)
        self._pool = ProcessPoolExecutor(num_processes, context, _begin, arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._held.close()  # ends what is still at work
        self._pool.shutdown(cancel_futures=True)
        self._held.close()
        self._watched.close()

    def train(
        self,
        calls: Mapping[int, PoolCall],
        store: Callable[[int, TrainingResult], None],
        on_epoch: Callable[[int, EpochRecord], None],
    ) -> None:
        """Carry out trainings; results are stored as they come, epochs told, and warnings logged here.

        Raises:
            SearchError: a process was ended from outside.
        """
        for call in calls.values():
            _share(call.data)
        with _ends_explained():
            with interrupts_blocked():
                waiting = {self._pool.submit(_train, key, call): key for key, call in calls.items()}
            while waiting:
                done, _ = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
                self._tell(on_epoch)
                for future in done:
                    store(waiting[future], _unshared(future.result()))
                    del waiting[future]

    def _tell(self, on_epoch: Callable[[int, EpochRecord], None] | None = None) -> None:
        while not self._told.empty():
            told = self._told.get()
            if isinstance(told, logging.LogRecord):
                logging.getLogger(told.name).handle(told)
            elif on_epoch is not None:
                on_epoch(*told)

    def step_seconds(self, spec: TrainingSpec, data: PreparedData, precision: Precision) -> float:
        """Return the seconds of a step while all processes train, the mean of their medians.

        Raises:
            SearchError: a process was ended from outside.
        """
        _share(data)
        with _ends_explained():
            with interrupts_blocked():
                measured: list[Future[float]] = [
                    self._pool.submit(_measure, spec, data, precision) for _ in range(self._num_processes)
                ]
            wait(measured)
            self._tell()
            errors = [error for future in measured if (error := future.exception()) is not None]
            if errors:  # that of a process whose barrier was broken by another comes second
                raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
            return sum(future.result() for future in measured) / len(measured)


def _share(data: PreparedData) -> None:
    """Move the images to shared memory, once.

    Raises:
        SearchError: there is too little of it.
    """
    try:
        for part in filter(None, (data.train, data.test, data.validation)):
            part.images_NCHW.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as cause:
        raise SearchError(
            f"the images do not fit the shared memory of this system ({cause}); set training.replication to in_turn, "
            "or give /dev/shm more"
        ) from cause


def _unshared(result: TrainingResult) -> TrainingResult:
    """Return a result whose tensors are copies: each in shared memory keeps a file open."""
    return dataclasses.replace(result, test=_copied(result.test), validation=_copied(result.validation))


def _copied(predictions: Predictions | None) -> Predictions | None:
    return predictions and Predictions(predictions.logits_NC.clone(), predictions.labels_N.clone())


@contextlib.contextmanager
def _ends_explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as cause:
        raise SearchError(
            "a training's process was ended from outside, by the system for want of memory, perhaps; finished epochs "
            "are stored: give the same command again, with a smaller training.stacked if memory is short (a script "
            "does this under: if __name__ == '__main__':)"
        ) from cause


_of_this_process: dict[str, Any] = {}
"""What a process of the pool was begun with; queues and barriers cannot be sent to it later."""


class _ToTheParent(logging.handlers.QueueHandler):
    """Has the process that started this one log what lossforge logs here."""

    queue: Any  # a SimpleQueue, which has only put

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put(record)


def _begin(watched: Connection, told: Any, barrier: Any, threads: int) -> None:
    end_with_the_other_end(watched)
    torch.set_num_threads(threads)
    logging.getLogger("lossforge").addHandler(_ToTheParent(told))
    _of_this_process.update(told=told, barrier=barrier)


def _train(key: int, call: PoolCall) -> TrainingResult:
    def told(record: EpochRecord) -> None:
        _of_this_process["told"].put((key, record))

    return train_classifier(call.spec, call.data, call.loss, call.seed, told, checkpoint=call.checkpoint)


def _measure(spec: TrainingSpec, data: PreparedData, precision: Precision) -> float:
    try:
        training = start(spec, data, nn.CrossEntropyLoss(), [0], precision)
        _of_this_process["barrier"].wait()
        return step_seconds([training])[0]
    except BaseException:
        _of_this_process["barrier"].abort()  # or the others would wait for this one for good
        raise
