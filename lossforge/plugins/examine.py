"""Import entry points one after the other, in a process that may die of it."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lossforge import registry
from lossforge.blame import said
from lossforge.causes import causes
from lossforge.errors import PluginError
from lossforge.plugins.standing import status_of, summary_of
from lossforge.registry import Offer
from lossforge.signals import signals_seen
from lossforge.surroundings import surroundings_restored


def examine(offer: Offer) -> dict[str, Any]:
    """Import what an entry point offers and return the seconds that took; of a failure the traceback and what lacked.

    What is printed meanwhile stays where it is printed to.
    """
    seconds, started = 0.0, time.perf_counter()
    changes: list[str] = []
    with signals_seen() as signals:
        try:
            with surroundings_restored() as changes:
                importlib.import_module(offer.target.partition(":")[0].strip())
            seconds = time.perf_counter() - started
            text = summary_of(offer, registry.load(offer))
        except PluginError as error:
            return {"status": status_of(error), "seconds": seconds, "text": str(error), "changes": changes}
        except BaseException as cause:  # whatever the plugin raises is the finding
            if isinstance(cause, KeyboardInterrupt) and signals:
                raise
            seconds = time.perf_counter() - started
            return {"status": "failed", "seconds": seconds, **_failure(cause), "changes": changes}
    return {"status": "ok", "seconds": seconds, "text": text, "changes": changes}


def _failure(cause: BaseException) -> dict[str, Any]:
    missing = [each.name for each in causes(cause) if isinstance(each, ModuleNotFoundError) and each.name]
    return {
        "text": said(cause),
        "traceback": _traceback(cause),
        "missing": missing[0] if missing else None,
    }


def _traceback(error: BaseException) -> str:
    """Return the traceback from the plugin's own first line on."""
    told = traceback.TracebackException.from_exception(error)
    own = [frame for frame in told.stack if frame.filename != __file__ and not _is_of_import(frame.filename)]
    told.stack = traceback.StackSummary.from_list(own)
    return "".join(told.format())


def _is_of_import(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or Path(filename).parts[-2:] == ("importlib", "__init__.py")


REPORT, OUT, ERR = "report", "out", "err"
"""Files of a process: a JSON line as each import begins and one as it ends, and what was printed."""


def examine_into(folder: str, offers: Sequence[Offer], timeout: float, environment: dict[str, str]) -> NoReturn:
    """Examine entry points, tell of them in the files of ``folder``, and end this process.

    So whoever reads the report knows of which one the process died. One that takes longer than ``timeout`` seconds ends
    it, with a traceback of where it stood.
    """
    os.environ.clear()  # that of the server which this process is forked from may be older
    os.environ.update(environment)
    for name, descriptor in ((OUT, 1), (ERR, 2)):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    faulthandler.enable(file=2)
    importlib.import_module("lossforge.interfaces")  # torch takes seconds, which are not the plugin's
    with (Path(folder) / REPORT).open("w", encoding="utf-8") as file:
        for offer in offers:
            print(json.dumps({"begun": str(offer)}), file=file, flush=True)
            faulthandler.dump_traceback_later(timeout, exit=True, file=2)
            finding = examine(offer)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"finding": finding}), file=file, flush=True)
    with contextlib.suppress(ValueError):  # closed by a plugin
        sys.stdout.flush()
    os._exit(0)  # threads that a plugin has left running would keep the process
