"""Results computed again in a fresh process with another hash seed, to be compared byte by byte.

Nothing is pickled: a check sends components as JSON, which the process loads from the registry, and gets digests back.
On Linux a server that has imported torch, and no plugin, forks for every request, so that a check costs milliseconds
and every one begins with the modules as they are when imported; elsewhere each check starts an interpreter.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import LossforgeError
from lossforge.testing.randomness import seed_everything
from lossforge.testing.states import to_bytes

TIMEOUT_S = 300
FORKS = sys.platform == "linux"
"""Whether a server forks: elsewhere libraries of the system do not bear it."""
HASH_SEEDS = ("1", "2")
"""Of the fresh process: the one that this process does not have."""

Results = Callable[..., Mapping[str, object]]
"""A function at the top of a module: of components, and options as JSON, to named results, tensors or JSON."""


class FreshProcessError(LossforgeError):
    """A result could not be computed in a fresh process."""


def digests(results: Mapping[str, object]) -> dict[str, str]:
    """Return a short SHA-256 of each result: type, shape and bytes of a tensor, else its JSON."""
    return {name: hashlib.sha256(_content(value)).hexdigest()[:16] for name, value in results.items()}


HINT = (
    "results may depend on options and generators alone, not on the order of a set, the time, or what was called before"
)


def same_in_a_fresh_process(function: Results, *components: Component | None, hint: str = HINT, **options: Any) -> None:
    """Fail with the hint unless ``function(*components, **options)`` has the same bytes in a fresh process.

    Raises:
        FreshProcessError: it raised there, or did not end in time.
    """
    seed_everything(0)
    here = digests(function(*components, **options))
    there = digests_in_a_fresh_process(function, *components, **options)
    differ = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    assert not differ, f"{' and '.join(differ)} differ in a fresh process with another PYTHONHASHSEED; {hint}"


def digests_in_a_fresh_process(function: Results, *components: Component | None, **options: Any) -> dict[str, str]:
    """Return the digests of ``function(*components, **options)`` computed in a fresh process.

    Raises:
        FreshProcessError: it raised there, or did not end in time.
    """
    request = json.dumps(
        {
            "function": [function.__module__, function.__qualname__],
            "components": [each and [each.kind, json.loads(each.model_dump_json())] for each in components],
            "options": options,
            "path": sys.path,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "threads": torch.get_num_threads(),
        }
    )
    answer = json.loads(_server().ask(request) if FORKS else _ask_once(request))
    if "error" in answer:
        raise FreshProcessError(f"in a fresh process:\n{answer['error']}")
    return dict(answer["digests"])


class Server:
    """The process that forks; its answers are lines of JSON, in the order of the requests."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            _command(), env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.stop)

    def ask(self, request: str) -> str:
        """Return the answer.

        Raises:
            FreshProcessError: there is none in time.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(request.encode() + b"\n")
        requests.flush()
        if select.select([answers], [], [], TIMEOUT_S)[0] and (line := answers.readline()):
            return line.decode()
        self.stop()
        _server.cache_clear()
        raise FreshProcessError(f"no answer from a fresh process in {TIMEOUT_S} s, or it died; its messages are above")

    def stop(self) -> None:
        """End the server and what it has forked."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@functools.cache
def _server() -> Server:
    return Server()


def _ask_once(request: str) -> str:
    finished = subprocess.run(
        [*_command(), "--once"],
        env=_environment(),
        input=request + "\n",
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return finished.stdout


def _command() -> list[str]:
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve(sys.argv[1:] == ['--once'])"
    return [sys.executable, "-c", code]


def _environment() -> dict[str, str]:
    other = HASH_SEEDS[os.environ.get("PYTHONHASHSEED") == HASH_SEEDS[0]]
    return {**os.environ, "PYTHONHASHSEED": other, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def serve(once: bool) -> None:
    """Answer requests from standard input; what is printed meanwhile goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for request in sys.stdin:
        answers.write((_answer(request) if once else _forked(request)) + "\n")
        answers.flush()


def _forked(request: str) -> str:
    """Return the answer of a process that has ended: its threads write nothing any more."""
    with tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            answer.write(_answer(request))
            answer.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        return answer.read() if status == 0 else json.dumps({"error": f"it died with status {status}"})


def _answer(request: str) -> str:
    try:
        return json.dumps({"digests": _computed(json.loads(request))})
    except BaseException:  # noqa: BLE001 - sent to whoever asked, who raises it
        return json.dumps({"error": traceback.format_exc()})


def _computed(request: dict[str, Any]) -> dict[str, str]:
    sys.path[:] = request["path"]
    seed = os.environ["PYTHONHASHSEED"]
    os.environ.clear()
    os.environ.update(request["environment"], PYTHONHASHSEED=seed)
    os.chdir(request["folder"])
    torch.set_num_threads(request["threads"])
    importlib.invalidate_caches()
    registry.refresh()
    seed_everything(0)
    module, name = request["function"]
    function: Results = getattr(importlib.import_module(module), name)
    return digests(function(*map(_component, request["components"]), **request["options"]))


def _component(sent: tuple[str, dict[str, Any]] | None) -> Component | None:
    if sent is None:
        return None
    kind, options = sent
    return registry.get(kind, options["type"]).model_validate_json(json.dumps(options))


def _content(value: object) -> bytes:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} ".encode() + to_bytes(value)
    return json.dumps(value, sort_keys=True).encode()
