"""Calls in other processes, which end with the one that started them, and at once when that is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lossforge.errors import SearchError
from lossforge.search.worker_process import interrupts_blocked

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def call_all(
    function: Callable[..., Result],
    calls: Mapping[Key, tuple[Any, ...]],
    num_processes: int,
    store: Callable[[Key, Result], None],
    tell: Callable[[Key], None],
) -> None:
    """Call ``function`` with each of ``calls``, and store each result as it comes.

    After an interruption or an error nothing goes on in any process; what had ended by then is stored all the same.

    Raises:
        SearchError: a process was ended from outside.
    """
    context = multiprocessing.get_context("spawn")
    watched, held = context.Pipe(duplex=False)
    with ProcessPoolExecutor(num_processes, context, end_with_the_other_end, (watched,)) as pool:
        waiting: dict[Future[Result], Key] = {}
        try:
            with interrupts_blocked():
                waiting.update((pool.submit(function, *arguments), key) for key, arguments in calls.items())
            for future in as_completed(list(waiting)):
                result, key = future.result(), waiting[future]
                store(key, result)
                del waiting[future]
                tell(key)
        except BrokenProcessPool as cause:
            raise SearchError(
                "a search's process was ended from outside, by the system for want of memory, perhaps; what is "
                "finished is stored: give the same command again, with a smaller --jobs if memory is short (a script "
                "does this under: if __name__ == '__main__':)"
            ) from cause
        finally:
            held.close()
            pool.shutdown(cancel_futures=True)
            watched.close()
            for future, key in waiting.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    store(key, future.result())


def end_with_the_other_end(watched: Connection) -> None:
    """Have this process end as soon as the other end of a pipe is closed, as it is when the process there ends."""
    threading.Thread(target=_wait_and_end, args=(watched,), daemon=True).start()


def _wait_and_end(watched: Connection) -> None:
    watched.poll(None)
    os._exit(1)
