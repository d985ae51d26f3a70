"""Worker processes that take whole blocks; a worker that dies is replaced, and its block evaluated again.

A block evaluates to the same bits in any process, so a search does not depend on the number of workers.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection

import torch
from torch import Tensor

from lossforge import registry
from lossforge.errors import SpecError
from lossforge.interfaces import LossParameterization
from lossforge.search.blocks import Block, BlockEvaluator, BlockResult, InProcess, Quantity, assembled
from lossforge.search.worker_process import WorkerProcess
from lossforge.spec import SearchSpec

ATTEMPTS = 2
"""Workers that a block may cost before its candidates are evaluated one by one, and then each of them."""

_log = logging.getLogger(__name__)


def block_evaluator(spec: SearchSpec, device: torch.device) -> BlockEvaluator:
    """Return who evaluates the blocks of a search: this process, or workers, which start when they are first needed."""
    if spec.backend == "compiled":
        if spec.workers > 1:
            _log.info("search.workers: %d is of no use to the compiled back end, which has threads", spec.workers)
        return InProcess()
    check_workers(spec, device.type)
    return InProcess() if spec.workers == 1 else WorkerPool(spec.workers)


def check_workers(spec: SearchSpec, device: str) -> None:
    """Raise SpecError where workers are asked for and cannot serve."""
    if spec.workers == 1:
        return
    if device != "cpu":
        raise SpecError([f"search.workers: {spec.workers} processes would share one {device} device; use workers: 1"])
    family = spec.parameterization
    if not registry.is_registered(family):
        raise SpecError(
            [
                f"search.workers: parameterization {family.type!r} is a class that no installed package provides, so "
                "worker processes cannot load it; use workers: 1, or package it as a plugin"
            ]
        )


class WorkerPool:
    """Evaluates blocks in ``num_workers`` processes; they end with this one, whatever ends it."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._workers: list[WorkerProcess] = []
        self._family: LossParameterization | None = None

    def evaluate(
        self, parameterization: LossParameterization, quantity: Quantity, blocks: Iterable[Block]
    ) -> Iterator[BlockResult]:
        """Yield the results in the order of the blocks.

        Raises:
            SearchError: workers end before they are ready.
            RuntimeError: an evaluation failed; the message holds the worker's traceback.
        """
        yield from _Call(self, parameterization, quantity, list(blocks)).results()

    def close(self) -> None:
        """End the workers."""
        while self._workers:
            self._workers.pop().end()

    def complete(
        self, parameterization: LossParameterization, running: Collection[WorkerProcess], num_waiting: int
    ) -> list[WorkerProcess]:
        """Return the workers, after replacing those that cannot be given anything.

        Args:
            parameterization: the family that is evaluated; workers started for another one end.
            running: workers that have something to do, and are left alone.
            num_waiting: how much there is to do for others; no more are started than that.
        """
        if self._family != parameterization:
            self.close()
            self._family = parameterization
        for worker in [worker for worker in self._workers if worker not in running]:
            if not worker.is_alive:
                _log.warning("a worker process %s while it had nothing to do; another takes its place", worker.ending)
            if worker.is_busy or not worker.is_alive:  # busy with a start or a call that was interrupted
                self.bury(worker)
        wanted = min(self._num_workers, len(running) + num_waiting)
        self._start(wanted - len(self._workers), parameterization)
        return list(self._workers)

    def _start(self, num: int, parameterization: LossParameterization) -> None:
        # All are started before the first is waited for.
        started = [WorkerProcess(parameterization) for _ in range(num)]
        self._workers += started
        try:
            for worker in started:
                worker.wait_until_ready()
        except BaseException:  # an interrupt as well leaves workers that are not ready and nobody would wait for
            self.close()
            raise

    def bury(self, worker: WorkerProcess) -> None:
        """Take a worker out of service."""
        if worker in self._workers:  # not after close()
            self._workers.remove(worker)
        worker.end()


@dataclass(frozen=True)
class _Task:
    """A block to evaluate, or one row of it alone."""

    index: int
    block: Block
    row: int | None = None

    def by_rows(self) -> list[_Task]:
        return [_Task(self.index, self.block.of_row(row), row) for row in self.block.rows]


class _Call:
    """One call: blocks waiting, under way and done."""

    def __init__(
        self, pool: WorkerPool, parameterization: LossParameterization, quantity: Quantity, blocks: list[Block]
    ) -> None:
        self._pool, self._parameterization, self._quantity, self._blocks = pool, parameterization, quantity, blocks
        self._waiting = deque(_Task(index, block) for index, block in enumerate(blocks))
        self._running: dict[WorkerProcess, _Task] = {}
        self._deaths: Counter[tuple[int, int | None]] = Counter()
        self._rows: dict[int, dict[int, Tensor | None]] = {}
        self._sent: dict[WorkerProcess, tuple[Tensor, Tensor]] = {}
        self._done: dict[int, BlockResult] = {}

    def results(self) -> Iterator[BlockResult]:
        try:
            for index in range(len(self._blocks)):
                while index not in self._done:
                    self._advance()
                yield self._done.pop(index)
        finally:
            # After an interruption or an error an answer would come that nobody waits for.
            for worker in self._running:
                self._pool.bury(worker)

    def _advance(self) -> None:
        """Hand out what is waiting, and take in at least one answer."""
        for worker in self._pool.complete(self._parameterization, self._running, len(self._waiting)):
            if self._waiting and worker not in self._running:
                task = self._waiting.popleft()
                self._running[worker] = task
                self._send(worker, task.block)
        answers = connection.wait([worker.channel for worker in self._running])
        for worker in [worker for worker in self._running if worker.channel in answers]:
            task = self._running.pop(worker)
            result = worker.receive()
            if result is None:
                self._pool.bury(worker)
                self._after_death(worker, task)
            else:
                self._take_in(task, result)

    def _send(self, worker: WorkerProcess, block: Block) -> None:
        """Send a block; inputs and labels only if they are not those that this call has sent last."""
        inputs, known = (block.inputs_PBC, block.labels_B), self._sent.get(worker)
        self._sent[worker] = inputs
        worker.send(self._quantity, block, known is None or any(a is not b for a, b in zip(inputs, known, strict=True)))

    def _take_in(self, task: _Task, result: BlockResult) -> None:
        if task.row is None:
            self._done[task.index] = result
        else:
            self._take_in_row(task, None if bool(result.exhausted_P[0]) else result.values[0])

    def _take_in_row(self, task: _Task, value: Tensor | None) -> None:
        assert task.row is not None
        rows = self._rows.setdefault(task.index, {})
        rows[task.row] = value
        block = self._blocks[task.index]
        if len(rows) == len(block.rows):
            self._done[task.index] = assembled(self._quantity, block, [rows[row] for row in sorted(rows)])

    def _after_death(self, worker: WorkerProcess, task: _Task) -> None:
        """Have the task done again; if it has cost too many workers, its rows; if it is a row, do without it."""
        self._deaths[task.index, task.row] += 1
        _log.warning("a worker process %s while it evaluated a block; another takes its place", worker.ending)
        if self._deaths[task.index, task.row] < ATTEMPTS:
            self._waiting.append(task)
        elif task.row is None:
            _log.warning("this block has cost %d workers: its candidates are evaluated one by one", ATTEMPTS)
            self._waiting.extend(task.by_rows())
        else:
            _log.warning("a candidate has cost %d workers: it counts as out of memory", ATTEMPTS)
            self._take_in_row(task, None)
