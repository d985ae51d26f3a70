"""One worker process: this end of the channel to it, and what it does at the other."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from lossforge.errors import LossforgeError, SearchError
from lossforge.fields import AnyParameterization
from lossforge.interfaces import LossParameterization
from lossforge.search.blocks import Block, BlockResult, Quantity, evaluate_block
from lossforge.signals import name_of

_ADAPTER: TypeAdapter[LossParameterization] = TypeAdapter(AnyParameterization)


class WorkerProcess:
    """A process, and this end of the channel to it."""

    def __init__(self, parameterization: LossParameterization) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe()
        family = _ADAPTER.dump_json(parameterization)
        self._process = context.Process(target=serve, args=(theirs, family), daemon=True)
        self.is_busy = True  # until it is ready
        with interrupts_blocked():
            self._process.start()
        theirs.close()  # so that this end meets the end of the file when the process ends

    def wait_until_ready(self) -> None:
        """Wait for the process to have loaded its family of losses.

        Raises:
            SearchError: it ended before.
        """
        try:
            self.channel.recv()
            self.is_busy = False
        except (EOFError, OSError) as cause:
            self._process.join()
            raise SearchError(
                f"a worker process {self.ending} before it was ready, see above; a script that starts a search with "
                "workers does so under: if __name__ == '__main__':"
            ) from cause

    def send(self, quantity: Quantity, block: Block, with_inputs: bool) -> None:
        """Send a block; without inputs and labels, they are those of the last one."""
        self.is_busy = True
        inputs = block.inputs_PBC, block.labels_B
        arrays = tuple(tensor.detach().numpy() for tensor in inputs) if with_inputs else None
        with contextlib.suppress(OSError):  # it has died: receive() tells
            self.channel.send((quantity, block.solutions_PD.detach().numpy(), block.num_padding, arrays))

    def receive(self) -> BlockResult | None:
        """Return the answer, or None if the process has ended.

        Raises:
            RuntimeError: the evaluation failed there; an error of lossforge comes over as it is.
        """
        try:
            answer = self.channel.recv()
        except (EOFError, OSError):
            self._process.join()
            return None
        self.is_busy = False
        if isinstance(answer, LossforgeError):
            raise answer
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
        return f"was ended by {name_of(-code)}" if code is not None and code < 0 else f"ended with {code}"


def serve(channel: Connection, family: bytes) -> None:
    """Evaluate blocks until the other end of the channel is closed: the life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
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
    except Exception as error:  # noqa: BLE001  whatever a plugin raises is told to the search, which raises it
        is_ours = type(error).__module__ == LossforgeError.__module__  # another's may not be what pickle can carry
        return error if is_ours else traceback.format_exc()
    return result.values.numpy(), result.exhausted_P.numpy()


def _tensor(array: Any) -> Tensor:
    """Return a tensor in memory of torch's own, aligned as in the search's process: BLAS rounding depends on it."""
    return torch.from_numpy(array).clone()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Have processes that are started here never see Ctrl-C, which a terminal sends to all of them."""
    resource_tracker.ensure_running()  # the first process would start it, which unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
