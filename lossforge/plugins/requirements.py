"""What a distribution needs and does not find, and the pip command that mends it."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


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
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        problem = _problem(requirement)
        if problem is not None:
            found.append(Problem(problem, pip_install(requirement)))
    return found


def _problem(requirement: Requirement) -> str | None:
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"needs {wanted}, which is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"needs {wanted}; installed is {version}"


def pip_install(requirement: Requirement) -> str:
    """Return the command that installs what is required."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    source = f" @ {requirement.url}" if requirement.url else str(requirement.specifier)
    return f"pip install {shlex.quote(f'{requirement.name}{extras}{source}')}"


def remedy_of_missing(module: str, distribution: str) -> str:
    """Return how to mend a failed ``import module`` of a plugin of ``distribution``.

    By a requirement of that name, or by the extra that brings it; where the distribution declares none, nobody but its
    authors knows which package it is in, and one that merely has that name may be anybody's.
    """
    top = canonicalize_name(module.partition(".")[0])
    for text in importlib.metadata.requires(distribution) or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # told by unmet()
        if canonicalize_name(requirement.name) == top:
            extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker))
            return pip_install(requirement) if extra is None else f"pip install '{distribution}[{extra[1]}]'"
    return (
        f"{distribution} does not declare the package that has the module {module!r}; if it is called so: "
        f"pip install {shlex.quote(top)}"
    )
