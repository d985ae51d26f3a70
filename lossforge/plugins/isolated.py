"""Entry points imported in processes apart: one whose import ends its process is known by it, and ends no other."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import PluginError, PluginLoadError
from lossforge.plugins import examine
from lossforge.plugins.examine import ERR, OUT, REPORT, examine_into
from lossforge.plugins.standing import contested
from lossforge.registry import Offer
from lossforge.signals import name_of

SLOW = 2.0
"""Seconds from which on an import is called slow."""

PATIENCE = 60.0
"""Seconds that an import may take where nothing else is said."""

START_SECONDS = 120.0
"""Seconds that a process may take for anything but the imports that it is for."""

_LOOK_AGAIN = 0.05


@dataclass(frozen=True)
class Outcome:
    """What came of an import.

    Attributes:
        status: as in ``plugins list``; ``crashed`` and ``hung`` where the process ended by it, or had to be.
        text: the summary of the component, or what is wrong.
        seconds: what the import took, torch's own apart; None where it never ended.
        traceback: of a failed import.
        missing: the module that was not there.
        changes: what it changed for all of the process.
    """

    status: str
    text: str
    seconds: float | None = None
    traceback: str = ""
    missing: str | None = None
    changes: tuple[str, ...] = ()


def imported(
    offers: Sequence[Offer], timeout: float, together: int = 1, slow: Callable[[Offer], None] = lambda offer: None
) -> tuple[list[Outcome], str]:
    """Import entry points and return what came of each, and all that they print to stdout.

    Args:
        offers: the entry points.
        timeout: seconds for each.
        together: how many are imported by one process, until it dies.
        slow: told of one whose import takes long.

    Raises:
        PluginError: no process could be started.
    """
    found: list[Outcome] = []
    printed = ""
    while len(found) < len(offers):  # a process that dies has told of some of them
        told, more = _by_one_process(offers[len(found) :][:together], timeout, slow)
        found += told
        printed += more
    return found, printed


def loader_of_survivors(offers: Sequence[Offer], slow: Callable[[Offer], None]) -> Callable[[Offer], type[Component]]:
    """Return :func:`lossforge.registry.load`, but for those of ``offers`` whose import ends or stops a process.

    For these it raises a PluginLoadError. All those of other distributions than lossforge that are used and not yet
    imported are tried for that, a process a distribution.
    """
    foreign = [each for each in offers if not (each.is_builtin or each.is_imported or contested(each))]
    deaths: dict[Offer, str] = {}
    for _, group in groupby(sorted(foreign, key=_of), _of):
        tried = list(group)
        outcomes, _ = imported(tried, PATIENCE, len(tried), slow)
        deaths |= {offer: each.text for offer, each in zip(tried, outcomes, strict=True) if each.seconds is None}

    def load(offer: Offer) -> type[Component]:
        if offer in deaths:
            what = f"plugin {offer} failed to load as {offer.kind} {offer.type!r}"
            raise PluginLoadError(f"{what}: {deaths[offer]}; mend or uninstall {offer.distribution}")
        return registry.load(offer)

    return load


def _of(offer: Offer) -> tuple[str, str]:
    return offer.distribution, offer.version


def _by_one_process(
    offers: Sequence[Offer], timeout: float, slow: Callable[[Offer], None]
) -> tuple[list[Outcome], str]:
    """Import entry points in one process; return what came of the first ones, and its stdout."""
    with tempfile.TemporaryDirectory() as folder:
        report, out, err = (Path(folder) / name for name in (REPORT, OUT, ERR))
        process = _context().Process(target=examine_into, args=(folder, offers, timeout, dict(os.environ)))
        process.start()
        _wait(process, report, offers, START_SECONDS + timeout * len(offers), slow)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        lines = [json.loads(line) for line in _lines(report)]
        if not lines:
            said = err.read_text("utf-8", "replace") if err.exists() else ""
            raise PluginError(f"a process that imports plugins could not start: exit code {code}\n{said}".rstrip())
        ended = [line["finding"] for line in lines if "finding" in line]
        found = [Outcome(**{**each, "changes": tuple(each["changes"])}) for each in ended]
        if len(found) < len(offers):
            found.append(_death(code, err.read_text("utf-8", "replace")))
        return found, out.read_text("utf-8", "replace")


def _wait(process: Any, report: Path, offers: Sequence[Offer], limit: float, slow: Callable[[Offer], None]) -> None:
    """Wait for a process to end, at most ``limit`` seconds."""
    began = since = time.monotonic()
    count, told = 0, 0
    while process.exitcode is None and time.monotonic() - began < limit:
        process.join(_LOOK_AGAIN)
        lines = len(_lines(report))
        if lines != count:
            count, since = lines, time.monotonic()
        is_importing = count % 2 == 1  # a line as it begins, and one as it ends
        if is_importing and count != told and time.monotonic() - since > SLOW:
            slow(offers[count // 2])
            told = count


def _lines(report: Path) -> list[str]:
    return report.read_text("utf-8").splitlines() if report.exists() else []


@functools.cache
def _context() -> Any:
    """Return what starts processes: where it can, from one that has imported torch, and no plugin."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["lossforge.interfaces", "lossforge.plugins.examine"])
    return context


def _death(code: int | None, err: str) -> Outcome:
    """Return what is known of the import that ended the process."""
    if code is None or "Timeout (" in err:
        status, text = "hung", "its import does not end"
    elif code < 0:
        status, text = "crashed", f"its import kills the process ({name_of(-code)})"
    else:
        status, text = "crashed", f"its import ends the process with exit code {code}"
    return Outcome(status, text, traceback=err.partition(f'  File "{examine.__file__}"')[0])  # on it stands the import
