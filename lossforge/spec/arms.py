"""The arms of an ablation: its base with the changes of a setting and of a variant, each a spec of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from lossforge.errors import SpecError
from lossforge.spec import load, preset_files
from lossforge.spec.changes import Change
from lossforge.spec.document import Document
from lossforge.spec.extends import why_no_file
from lossforge.spec.model import RunSpec
from lossforge.spec.problems import KeyPath, Problem, Source, printable, shorten

SETTINGS, VARIANTS = "settings", "variants"

ArmKey: TypeAlias = tuple[str, str]
"""A setting and a variant."""

_Changes: TypeAlias = Mapping[str, Mapping[str, Change]]

_AFTER = 1_000_000
"""By what ranks of the base come after all that an ablation itself says."""

_MOST_TITLES = 3


def read(ablation: Document, folder: Path) -> tuple[dict[ArmKey, RunSpec], list[Problem]]:
    """Return the spec of each setting and variant, and all that is wrong with them and with the base, each once.

    A problem of a change stands at its place in the ablation; one that is not in all arms of its setting, variant or
    base names those in which it is. What of the ablation cannot be used is passed over, for it is told elsewhere.

    Args:
        ablation: document of an :class:`lossforge.spec.ablation.AblationSpec`, which may be invalid.
        folder: what a relative path of the base is relative to.

    Raises:
        PluginError: an installed plugin that is named is at fault.
    """
    base, problems = _base(ablation, folder)
    if base is None:
        return {}, problems
    settings, variants = _changes(ablation, SETTINGS), _changes(ablation, VARIANTS)
    changes = {
        (setting, variant): [*{**outer, **inner}.values()]
        for setting, outer in settings.items()
        for variant, inner in variants.items()
    }
    arms = {key: _arm(base.copy(), of_key) for key, of_key in changes.items()}
    if any(wrong for _, wrong in arms.values()):
        of_base = {str(problem) for problem in _arm(base.copy(), ())[1]}
        found: dict[str, tuple[Problem, list[ArmKey]]] = {}
        for key, (_, wrong) in arms.items():
            placed = [each if str(each) in of_base else _moved(each, changes[key]) for each in wrong]
            for text, problem in {str(each): each for each in placed}.items():
                found.setdefault(text, (problem, []))[1].append(key)
        problems.extend(_told(problem, where, arms) for problem, where in found.values())
    return {key: spec for key, (spec, _) in arms.items() if spec is not None}, problems


def _base(ablation: Document, folder: Path) -> tuple[Document | None, list[Problem]]:
    """Return the base's document, or None where there is none, and why."""
    name = ablation.data.get("base")
    if not isinstance(name, str) or not name or ablation.base_problems is not None:
        return None, []
    path = folder / name
    try:
        if name in preset_files.names() and not path.is_file():
            base = load.document_of_preset(RunSpec, name)
        elif (wrong := why_no_file(path)) is not None:
            return None, [Problem(ablation.spot(("base",)).value, ("base",), wrong)]
        else:
            base = load.document_of_file(RunSpec, path)
    except SpecError as error:
        return None, _after(error.problems)
    return base, _after(base.base_problems or ())


def _after(messages: Sequence[str]) -> list[Problem]:
    place = Source("", _AFTER, has_lines=False).at(0, 0)
    return [Problem(place, (), message) for message in messages]


def _changes(ablation: Document, field: str) -> _Changes:
    """Return the changes by name and dotted key; where none are to be had, those of a ``base`` without any."""
    given = ablation.data.get(field)
    named = {name: each for name, each in given.items() if isinstance(each, dict)} if isinstance(given, dict) else {}
    return {
        name: {key: _change(ablation, field, name, key) for key in changes}
        for name, changes in (named or {"base": {}}).items()
    }


def _change(ablation: Document, field: str, name: str, key: str) -> Change:
    new = ablation.part((field, name, key), (field, name))
    return Change(tuple(key.strip().split(".")), new, new.spots[()].key, (key,))


def _arm(document: Document, changes: Iterable[Change]) -> tuple[RunSpec | None, list[Problem]]:
    """Return the spec that changes make of a base: a search alone, on one worker, without references."""
    for change in changes:
        if (message := _why_not(change.names)) is not None:
            document.problems.append(Problem(change.place, change.path, message))
        else:
            change.make(document)
    for name in ("training", "evidence"):
        document.data.pop(name, None)
    if isinstance(search := document.data.get("search"), dict):
        search.update(workers=1, references=[])
    spec, problems = load.checked(RunSpec, document)
    if spec is not None and spec.search.objective.fitness_is_relative:
        path = ("search", "objective")
        message = f"the fitness of {spec.search.objective.type!r} means nothing beside another run's"
        problems.append(Problem(document.spot(path).key, path, message))
    return spec, problems


def _why_not(names: tuple[str, ...]) -> str | None:
    """Return why an ablation changes no such field, or None."""
    if not all(names):
        return "expected a field of the spec, such as search.generations"
    if names == ("seed",):
        return "an ablation counts its seeds from 0 by itself; leave it out, and say seeds: n"
    if names[0] in ("training", "evidence", "trackers") or names[:2] in (
        ("search", "workers"),
        ("search", "references"),
    ):
        return "an ablation compares searches alone, on one worker each; leave it out"
    return None


def _moved(problem: Problem, changes: Sequence[Change]) -> Problem:
    """Return a problem of a whole, such as options that do not go together, at the last change that is part of it."""
    names = tuple(map(str, problem.path))
    parts = [] if problem.place.source.within else [each for each in changes if each.names[: len(names)] == names]
    return replace(problem, place=parts[-1].place) if parts else problem


def _told(problem: Problem, where: Sequence[ArmKey], arms: Iterable[ArmKey]) -> Problem:
    """Return a problem that names the arms it is in, where its place does not tell them."""
    place, owner = problem.place, problem.place.source.within
    is_general = len(where) == sum(_has(arm, owner) for arm in arms)
    titles = [shorten(printable(" / ".join(key))) for key in where[: 1 if is_general else _MOST_TITLES]]
    more = 0 if is_general else len(where) - len(titles)
    named = ", ".join(titles) + (f" and {more} more" if more else "")
    if not place.source.name:  # of an ablation made in Python
        return replace(problem, place=replace(place, source=Source(named, has_lines=False)))
    if not owner:
        problem = replace(problem, place=replace(place, rank=place.rank + _AFTER))
    return problem if is_general else replace(problem, message=f"{problem.message} (in {named})")


def _has(arm: ArmKey, owner: KeyPath) -> bool:
    """Return whether an arm is of a setting or a variant; all are of the base."""
    return not owner or owner in ((SETTINGS, arm[0]), (VARIANTS, arm[1]))
