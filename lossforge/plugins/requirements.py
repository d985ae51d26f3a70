"""What a distribution needs and does not find, and the pip command that mends it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Problem:
    """What is wrong, and a command or a step that mends it."""

    text: str
    remedy: str


def unmet(distribution: str) -> list[Problem]:
    """Return the requirements of an installed distribution that are not satisfied here; extras are not looked at."""
    found = []
    for text in importlib.metadata.requires(distribution) or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement as cause:
            found.append(
                Problem(f"requirement {text!r} cannot be read: {cause}", f"pip install --upgrade {distribution}")
            )
            continue
        problem = _problem(requirement)
        if _applies(requirement) and problem is not None:
            found.append(Problem(problem, pip_install(requirement)))
    return found


def extras_not_met(distribution: str) -> list[str]:
    """Return the extras of an installed distribution of which something is not satisfied here."""
    extras = importlib.metadata.metadata(distribution).get_all("Provides-Extra") or ()
    requirements = [each for each in _readable(distribution) if not _applies(each)]
    return [extra for extra in extras if any(_applies(each, extra) and _problem(each) for each in requirements)]


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _problem(requirement: Requirement, seen: frozenset[tuple[str, str]] = frozenset()) -> str | None:
    wanted = f"{requirement.name}{requirement.specifier}"
    if not _is_installed(requirement):
        return f"needs {wanted}, which is not installed"
    version = importlib.metadata.version(requirement.name)
    try:
        if requirement.specifier.contains(Version(version or ""), prereleases=True):
            return _problem_of_extras(requirement, seen)
    except InvalidVersion:
        return f"needs {wanted}; installed is one whose version is not known" if requirement.specifier else None
    return f"needs {wanted}; installed is {version}"


def _problem_of_extras(requirement: Requirement, seen: frozenset[tuple[str, str]]) -> str | None:
    """Return what an extra lacks that is asked for; extras of one distribution may ask for each other, in a circle."""
    asked = {(requirement.name, extra) for extra in requirement.extras} - seen
    for name, extra in sorted(asked):
        for each in _readable(name):
            of_extra = _applies(each, extra) and not _applies(each)
            if of_extra and (problem := _problem(each, seen | asked)) is not None:
                return f"needs {name}[{extra}], which {problem}"
    return None


def _is_installed(requirement: Requirement) -> bool:
    try:
        importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _extra_of(requirement: Requirement) -> str | None:
    extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker))
    return extra and extra[1]


def pip_install(requirement: Requirement) -> str:
    """Return the command that installs what is required."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    source = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    return f"pip install {shlex.quote(f'{requirement.name}{extras}{source}')}"


def remedy_of_missing(module: str, distribution: str) -> str:
    """Return how to mend a failed ``import module`` of a plugin of ``distribution``.

    A module of its own by installing it anew. Another by a requirement of that name, or by the extra that brings it;
    else by the requirements that are not installed, for a package and its module may differ in name. Where all are,
    nobody but the authors of the distribution knows which package it is in, and one that merely has that name may be
    anybody's.
    """
    top = canonicalize_name(module.partition(".")[0])
    if top == canonicalize_name(distribution):
        return f"pip install --force-reinstall {distribution}"
    absent = []
    for requirement in _readable(distribution):
        extra = _extra_of(requirement)
        if canonicalize_name(requirement.name) == top:
            return pip_install(requirement) if extra is None else f"pip install '{distribution}[{extra}]'"
        if _applies(requirement) and not _is_installed(requirement):
            absent.append(pip_install(requirement).removeprefix("pip install "))
    if absent:
        return f"pip install {' '.join(absent)}"
    return (
        f"{distribution} does not declare the package that has the module {module!r}; if it is called so: "
        f"pip install {shlex.quote(top)}"
    )


def _readable(distribution: str) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(distribution) or ():
        with contextlib.suppress(InvalidRequirement):  # told by unmet()
            yield Requirement(text)
