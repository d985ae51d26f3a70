"""What is wrong with the plugins that are installed, and how to mend it: each imported in a process apart."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import multiprocessing
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossforge import registry
from lossforge.errors import PluginError
from lossforge.installed import NAMELESS, Unreadable, ahead, place
from lossforge.plugins import examine
from lossforge.plugins.examine import ERR, OUT, REPORT, examine_into
from lossforge.plugins.requirements import Problem, extras_not_met, remedy_of_missing, unmet
from lossforge.plugins.standing import contested
from lossforge.registry import Offer
from lossforge.spec import preset_files

SLOW = 2.0
"""Seconds from which on an import is called slow."""

START_SECONDS = 120.0
"""Seconds that a process may take for anything but the imports that it is for."""

LEFT_OVER = "remove what is left of it from site-packages"
"""What mends a distribution that cannot be named to pip."""


@dataclass(frozen=True)
class Finding:
    """What came of an entry point.

    Attributes:
        offer: the entry point.
        status: ``ok`` or what is wrong, as in ``plugins list``; ``crashed`` and ``hung`` besides.
        text: the summary of the component, or what is wrong.
        seconds: what the import took, torch's own apart; None where it never ended.
        traceback: of a failed import.
        remedy: what mends it.
        changes: what its import changes for all of the process, which lossforge puts back.
    """

    offer: Offer
    status: str
    text: str
    seconds: float | None = None
    traceback: str = ""
    remedy: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examination:
    """A distribution: its entry points, unmet requirements, unmet extras, and what its import prints to stdout."""

    distribution: str
    version: str
    findings: tuple[Finding, ...]
    problems: tuple[Problem, ...] = ()
    printed: str = ""
    extras: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether everything of it can be used."""
        return not self.problems and all(finding.status == "ok" for finding in self.findings)


def examine_all(timeout: float) -> list[Examination]:
    """Examine every distribution with plugins, lossforge's own first; an import has ``timeout`` seconds."""
    offers = [offer for kind in registry.KINDS for offer in registry.offers(kind)]
    groups: dict[tuple[str, str], list[Offer]] = {}
    for offer in sorted([*offers, *preset_files.offers()], key=lambda each: (not each.is_builtin, each.distribution)):
        groups.setdefault((offer.distribution, offer.version), []).append(offer)
    found = [_examine(name, version, group, timeout) for (name, version), group in groups.items()]
    return found + [_unreadable(each) for each in registry.unreadable()]


def _examine(name: str, version: str, offers: Sequence[Offer], timeout: float) -> Examination:
    components = [offer for offer in offers if offer.kind in registry.KINDS]
    together = len(components) if offers[0].is_builtin else 1
    findings: list[Finding] = []
    printed = ""
    while len(findings) < len(components):  # a process that dies has told of some of them
        told, more = _imported(components[len(findings) :][:together], timeout)
        findings += told
        printed += more
    try:
        problems = unmet(name)
        extras = [] if offers[0].is_builtin else extras_not_met(name)
    except importlib.metadata.PackageNotFoundError:
        text = "its metadata is gone, as after an uninstallation that was cut off, or does not name it"
        problems = [Problem(text, LEFT_OVER)]
        extras = []
    if offers[0].is_builtin:
        problems += [_namesake(each) for each in ahead()]
    problems += [each for offer in offers if offer.kind == "presets" for each in _preset_problems(offer)]
    return Examination(name, version, tuple(findings), tuple(problems), printed, tuple(extras))


def _namesake(distribution: importlib.metadata.Distribution) -> Problem:
    return Problem(f"another distribution of this name is found before it, {place(distribution)}", "remove it")


def _preset_problems(offer: Offer) -> list[Problem]:
    try:
        preset_files.text_of(offer)
    except PluginError as error:
        return [Problem(f"preset {offer.type}: {error}", _remedy(offer, "failed"))]
    return []


def _unreadable(what: Unreadable) -> Examination:
    return Examination(what.distribution, "?", (), (Problem(what.text, "reinstall or remove it"),))


def _imported(offers: Sequence[Offer], timeout: float) -> tuple[list[Finding], str]:
    """Import entry points in a process of their own; return what came of the first ones, and its stdout."""
    with tempfile.TemporaryDirectory() as folder:
        report, out, err = (Path(folder) / name for name in (REPORT, OUT, ERR))
        process = _context().Process(target=examine_into, args=(folder, offers, timeout))
        process.start()
        process.join(START_SECONDS + timeout * len(offers))
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.exists() else []
        if not lines:
            said = err.read_text("utf-8", "replace") if err.exists() else ""
            raise PluginError(f"a process that imports plugins could not start: exit code {code}\n{said}".rstrip())
        ended = [line["finding"] for line in lines if "finding" in line]
        findings = [_finding(offer, finding) for offer, finding in zip(offers, ended, strict=False)]
        if len(findings) < len(offers):
            findings.append(_death(offers[len(findings)], code, err.read_text("utf-8", "replace")))
        return findings, out.read_text("utf-8", "replace")


@functools.cache
def _context() -> Any:
    """Return what starts processes: where it can, from one that has imported torch, and no plugin."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["lossforge.interfaces", "lossforge.plugins.examine"])
    return context


def _finding(offer: Offer, told: dict[str, Any]) -> Finding:
    missing, told["changes"] = told.pop("missing", None), tuple(told["changes"])
    claim = contested(offer)
    if missing is not None:
        return Finding(offer, **told, remedy=_remedy_of_missing(missing, offer))
    if told["status"] == "ok" and claim is not None:
        told |= {"status": claim.status, "text": claim.text}
    return Finding(offer, **told, remedy=_remedy(offer, told["status"]))


def _remedy_of_missing(module: str, offer: Offer) -> str:
    try:
        return remedy_of_missing(module, offer.distribution)
    except importlib.metadata.PackageNotFoundError:
        return _remedy(offer, "failed")


def _remedy(offer: Offer, status: str) -> str:
    if status != "ok" and offer.distribution == NAMELESS:
        return LEFT_OVER
    upgrade, uninstall = f"pip install --upgrade {offer.distribution}", f"pip uninstall {offer.distribution}"
    return {
        "ok": "",
        "new api": "pip install --upgrade lossforge",
        "conflict": f"export {registry.PLUGINS_VARIABLE}={offer.distribution} to use this one, or {uninstall}",
        "shadowed": f"ask its authors for another name; {uninstall} removes it",
    }.get(status, f"{upgrade} or {uninstall}")


def _death(offer: Offer, code: int | None, err: str) -> Finding:
    """Return what is known of the entry point whose import ended the process."""
    if code is None or "Timeout (" in err:
        status, text = "hung", "its import does not end"
    elif code < 0:
        status, text = "crashed", f"its import kills the process ({signal.Signals(-code).name})"
    else:
        status, text = "crashed", f"its import ends the process with exit code {code}"
    err = err.partition(f'  File "{examine.__file__}"')[0]  # on it stands what imported the plugin
    return Finding(offer, status, text, traceback=err, remedy=_remedy(offer, status))
