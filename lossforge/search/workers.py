"""Worker processes that take whole blocks; a worker that dies is replaced, and its block evaluated again.

A block evaluates to the same bits in any process, so a search does not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import traceback
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from lossforge import registry
from lossforge.errors import SearchError, SpecError
from lossforge.interfaces import LossParameterization
from lossforge.search.blocks import Block, BlockEvaluator, BlockResult, InProcess, Quantity, assembled, evaluate_block
from lossforge.spec import SearchSpec
from lossforge.spec.model import AnyParameterization

ATTEMPTS = 2
"""Workers that a block may cost before its candidates are evaluated one by one, and then each of them."""

_ADAPTER: TypeAdapter[LossParameterization] = TypeAdapter(AnyParameterization)
_log = logging.getLogger(__name__)


def block_evaluator(spec: SearchSpec, device: torch.device) -> BlockEvaluator:
    """Return who evaluates the blocks of a search: this process, or workers, which start when they are first needed."""
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
        self._workers: list[_Worker] = []
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

    def complete(self, parameterization: LossParameterization, running: Collection[_Worker]) -> list[_Worker]:
        """Return the workers, after replacing those that cannot be given anything.

        Args:
            parameterization: the family that is evaluated; workers started for another one end.
            running: workers that have something to do, and are left alone.
        """
        if self._family != parameterization:
            self.close()
            self._family = parameterization
        for worker in [worker for worker in self._workers if worker not in running]:
            if not worker.is_alive:
                _log.warning("a worker process %s while it had nothing to do; another takes its place", worker.ending)
            if worker.is_busy or not worker.is_alive:  # busy with a call that was interrupted
                self.bury(worker)
        self._start(self._num_workers - len(self._workers), parameterization)
        return list(self._workers)

    def _start(self, num: int, parameterization: LossParameterization) -> None:
        num_threads = max(1, torch.get_num_threads() // self._num_workers)
        # All are started before the first is waited for.
        started = [_Worker(parameterization, num_threads) for _ in range(num)]
        self._workers += started
        try:
            for worker in started:
                worker.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def bury(self, worker: _Worker) -> None:
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
        self._running: dict[_Worker, _Task] = {}
        self._deaths: Counter[tuple[int, int | None]] = Counter()
        self._rows: dict[int, dict[int, Tensor | None]] = {}
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
        for worker in self._pool.complete(self._parameterization, self._running):
            if self._waiting and worker not in self._running:
                task = self._waiting.popleft()
                self._running[worker] = task
                worker.send(self._quantity, task.block)
        answers = connection.wait([worker.channel for worker in self._running])
        for worker in [worker for worker in self._running if worker.channel in answers]:
            result, task = worker.receive(), self._running.pop(worker)
            if result is None:
                self._pool.bury(worker)
                self._after_death(worker, task)
            else:
                self._take_in(task, result)

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

    def _after_death(self, worker: _Worker, task: _Task) -> None:
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


class _Worker:
    """A process, and this end of the channel to it."""

    def __init__(self, parameterization: LossParameterization, num_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe()
        family = _ADAPTER.dump_json(parameterization)
        self._process = context.Process(target=serve, args=(theirs, family, num_threads), daemon=True)
        self._inputs: tuple[Tensor, ...] = ()
        self._versions: tuple[int, ...] = ()
        self.is_busy = False
        with _interrupts_blocked():
            self._process.start()
        theirs.close()  # so that this end meets the end of the file when the process ends

    def wait_until_ready(self) -> None:
        """Wait for the process to have loaded its family of losses.

        Raises:
            SearchError: it ended before.
        """
        try:
            self.channel.recv()
        except (EOFError, OSError) as cause:
            self._process.join()
            raise SearchError(
                f"a worker process {self.ending} before it was ready, see above; a script that starts a search with "
                "workers does so under: if __name__ == '__main__':"
            ) from cause

    def send(self, quantity: Quantity, block: Block) -> None:
        """Send a block; inputs and labels only if they are not those of the last one."""
        inputs = block.inputs_PBC, block.labels_B
        versions = tuple(tensor._version for tensor in inputs)  # counts changes in place
        known = versions == self._versions and all(a is b for a, b in zip(inputs, self._inputs, strict=True))
        self._inputs, self._versions, self.is_busy = inputs, versions, True
        arrays = None if known else tuple(tensor.detach().numpy() for tensor in inputs)
        with contextlib.suppress(OSError):  # it has died: receive() tells
            self.channel.send((quantity, block.solutions_PD.detach().numpy(), block.num_padding, arrays))

    def receive(self) -> BlockResult | None:
        """Return the answer, or None if the process has ended.

        Raises:
            RuntimeError: the evaluation failed there.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):
            self._process.join()
            return None
        self.is_busy = False
        if isinstance(answer, str):
            raise RuntimeError(f"evaluating a block failed in a worker process:\n{answer}")
        values, exhausted = answer
        return BlockResult(torch.from_numpy(values), torch.from_numpy(exhausted))

    def end(self) -> None:
        """End the process, if it has not ended."""
        self.channel.close()
        self._process.kill()
        self._process.join()

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._process.exitcode
        return f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"


def serve(channel: Connection, family: bytes, num_threads: int) -> None:
    """Evaluate blocks until the other end of the channel is closed: the life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(num_threads)
    parameterization = _ADAPTER.validate_json(family)
    with contextlib.suppress(OSError, EOFError):  # the search has ended
        channel.send("ready")
        inputs: tuple[Tensor, Tensor] | None = None
        while True:
            quantity, solutions, num_padding, arrays = channel.recv()
            inputs = inputs if arrays is None else (_tensor(arrays[0]), _tensor(arrays[1]))
            assert inputs is not None
            channel.send(_answer(parameterization, quantity, Block(_tensor(solutions), *inputs, num_padding)))


def _answer(parameterization: LossParameterization, quantity: Quantity, block: Block) -> Any:
    try:
        result = evaluate_block(parameterization, quantity, block)
    except Exception:  # noqa: BLE001  whatever a plugin raises is told to the search, which raises it
        return traceback.format_exc()
    return result.values.numpy(), result.exhausted_P.numpy()


def _tensor(array: Any) -> Tensor:
    """Return a tensor in memory of torch's own, aligned as in the search's process: BLAS rounding depends on it."""
    return torch.from_numpy(array).clone()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Have processes that are started here never see Ctrl-C, which a terminal sends to all of them."""
    resource_tracker.ensure_running()  # the first process would start it, which unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
