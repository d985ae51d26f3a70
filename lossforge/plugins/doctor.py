"""What is wrong with the plugins that are installed, and how to mend it: each imported in a process apart."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

from lossforge import registry
from lossforge.errors import PluginError, SpecError
from lossforge.installed import NAMELESS, Unreadable, ahead, place
from lossforge.plugins.isolated import Outcome, imported
from lossforge.plugins.requirements import Problem, extras_not_met, remedy_of_missing, unmet
from lossforge.plugins.standing import contested
from lossforge.registry import Offer
from lossforge.spec import preset_files
from lossforge.spec.problems import spec_error
from lossforge.spec.text import parse_mapping

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
    """A distribution: its components and presets, what it lacks, unmet extras, and what its import prints to stdout."""

    distribution: str
    version: str
    findings: tuple[Finding, ...]
    problems: tuple[Problem, ...] = ()
    printed: str = ""
    extras: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()

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
    outcomes, printed = imported(components, timeout, together)
    findings = map(_finding, components, outcomes)
    try:
        problems = unmet(name)
        extras = [] if offers[0].is_builtin else extras_not_met(name)
    except importlib.metadata.PackageNotFoundError:
        text = "its metadata is gone, as after an uninstallation that was cut off, or does not name it"
        problems = [Problem(text, LEFT_OVER)]
        extras = []
    if offers[0].is_builtin:
        problems += [_namesake(each) for each in ahead()]
    presets = [offer for offer in offers if offer.kind == "presets"]
    problems += [each for offer in presets for each in _preset_problems(offer)]
    names = tuple(offer.type for offer in presets)
    return Examination(name, version, tuple(findings), tuple(problems), printed, tuple(extras), names)


def _namesake(distribution: importlib.metadata.Distribution) -> Problem:
    return Problem(f"another distribution of this name is found before it, {place(distribution)}", "remove it")


def _preset_problems(offer: Offer) -> list[Problem]:
    """Return what keeps a preset from being one, by its text and name alone: no component is looked up."""
    name = preset_files.label(offer.type)
    rivals = [each for each in preset_files.offers() if each.type == offer.type and each != offer]
    if preset_files.origin(offer.type) is None:
        return [Problem(f"{name}: the name is lossforge's own, which is used", _remedy(offer, "shadowed"))]
    found = [Problem(f"{name}: also claimed by {each}", _remedy(offer, "conflict")) for each in rivals]
    try:
        document = parse_mapping(preset_files.text_of(offer), name)
        wrong = spec_error(document.problems).problems if document.problems else ()
    except PluginError as error:
        return [*found, Problem(f"{name}: {error}", _remedy(offer, "failed"))]
    except SpecError as error:
        wrong = error.problems
    return found + [Problem(f"{text}; of plugin {offer}", _remedy(offer, "failed")) for text in wrong]


def _unreadable(what: Unreadable) -> Examination:
    return Examination(what.distribution, "?", (), (Problem(what.text, "reinstall or remove it"),))


def _finding(offer: Offer, outcome: Outcome) -> Finding:
    status, text, claim = outcome.status, outcome.text, contested(offer)
    if status == "ok" and claim is not None:
        status, text = claim.status, claim.text
    remedy = _remedy(offer, status) if outcome.missing is None else _remedy_of_missing(outcome.missing, offer)
    return Finding(offer, status, text, outcome.seconds, outcome.traceback, remedy, outcome.changes)


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
