"""The entry points of what is installed: a distribution that cannot be read takes no other with it."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from lossforge.version import __version__

PREFIX = "lossforge."
"""Of the entry-point groups that are read."""

OWN = "lossforge"
"""What lossforge's own distribution is called."""

NAMELESS = "unknown distribution"
"""What a distribution is called whose metadata does not say."""


@dataclass(frozen=True)
class Unreadable:
    """A distribution that is left out, and why."""

    distribution: str
    text: str


@dataclass(frozen=True)
class Installed:
    """The entry points of lossforge's groups, and the distributions whose metadata cannot be read."""

    points: tuple[importlib.metadata.EntryPoint, ...]
    unreadable: tuple[Unreadable, ...]


@functools.cache
def installed() -> Installed:
    """Return what is installed; of two distributions with one name the first on ``sys.path``, whose modules are used.

    Of lossforge itself it is the one of the version that is running, so that what is left of another hides nothing. A
    distribution is read no further than to see that it has nothing for lossforge.
    """
    points: list[importlib.metadata.EntryPoint] = []
    unreadable: list[Unreadable] = []
    seen: set[str] = set()
    for distribution in itertools.chain(own()[:1], importlib.metadata.distributions()):
        name = NAMELESS
        try:
            name = _key(distribution)
            if name not in seen:
                seen.add(name)
                points += _points(distribution)
        except Exception as cause:  # noqa: BLE001  whatever is wrong with its files is the finding
            unreadable.append(_unreadable(distribution, name, cause))
    return Installed(tuple(points), tuple(unreadable))


def own() -> list[importlib.metadata.Distribution]:
    """Return the distributions called lossforge, first of the version that is running, and of those with components."""
    return sorted(importlib.metadata.distributions(name=OWN), key=_strangeness)


def ahead() -> list[importlib.metadata.Distribution]:
    """Return the distributions called lossforge that are found before the one that is running; none if that is not."""
    found = list(importlib.metadata.distributions(name=OWN))
    ours = min(found, key=_strangeness, default=None)
    return [] if ours is None or _version(ours) != __version__ else found[: found.index(ours)]


def _strangeness(distribution: importlib.metadata.Distribution) -> tuple[bool, bool]:
    return _version(distribution) != __version__, not _has_components(distribution)


def _has_components(distribution: importlib.metadata.Distribution) -> bool:
    with contextlib.suppress(Exception):  # told where its entry points are read
        return any(
            point.group.startswith(PREFIX) and point.value.startswith(PREFIX) for point in distribution.entry_points
        )
    return False


def _version(distribution: importlib.metadata.Distribution) -> str | None:
    with contextlib.suppress(Exception):  # told where its entry points are read
        return distribution.version
    return None


def place(distribution: importlib.metadata.Distribution) -> str:
    """Return the version of a distribution and the folder that it is in."""
    return f"{_version(distribution)} in {distribution.locate_file('')}"


def why_none_of_our_own() -> str:
    """Return why lossforge's own entry points are not there, and what mends it."""
    running = f"the components of this lossforge, {__version__} in {Path(__file__).parents[1]}, are not known"
    found = own()
    if not found:
        return f"{running}: no distribution lossforge is installed; install it with pip"
    return f"{running}: the distribution lossforge {place(found[0])} has none; remove that one"


def spoilers(error: BaseException) -> tuple[Unreadable, ...]:
    """Return the distributions for which ``importlib.metadata.entry_points()`` has raised ``error``; else none.

    It reads those of everything that is installed, so that one bad file is an error to all who call it.
    """
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any((code.co_filename, code.co_name) == (importlib.metadata.__file__, "entry_points") for code in codes):
        return ()
    found = []
    for distribution in importlib.metadata.distributions():
        try:
            distribution.entry_points  # noqa: B018  reads and parses them
        except Exception as cause:  # noqa: BLE001  as in installed()
            found.append(_unreadable(distribution, _key(distribution), cause))
    return tuple(found)


def _unreadable(distribution: importlib.metadata.Distribution, name: str, cause: Exception) -> Unreadable:
    text = f"its metadata in {distribution.locate_file('')} cannot be read: {type(cause).__name__}: {cause}"
    return Unreadable(normalise(name), text)


def _key(distribution: importlib.metadata.Distribution) -> str:
    """Return the name by which importlib.metadata.entry_points() tells distributions apart: that of its folder."""
    return str(getattr(distribution, "_normalized_name"))  # noqa: B009  unknown to the stubs


def _points(distribution: importlib.metadata.Distribution) -> list[importlib.metadata.EntryPoint]:
    if PREFIX not in (distribution.read_text("entry_points.txt") or ""):
        return []
    name_and_version(distribution)
    return [point for point in distribution.entry_points if point.group.startswith(PREFIX)]


@functools.cache  # every look at its name or version reads its metadata again
def name_and_version(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Return the name and the version in the metadata; ``?`` for a version that is not there."""
    # What is left of a half-removed installation can have entry points but no metadata.
    if distribution is None or not (distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")):
        return NAMELESS, "?"
    # The stubs say str, but what the metadata lacks is None.
    return distribution.name or NAMELESS, distribution.version or "?"


def normalise(name: str) -> str:
    """Return the one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def forget() -> None:
    """Have the next call read again."""
    installed.cache_clear()
    name_and_version.cache_clear()
