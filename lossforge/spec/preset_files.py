"""The files of the presets that come with lossforge: their names and texts."""

from __future__ import annotations

import difflib
import importlib.resources
from importlib.resources.abc import Traversable

from lossforge.errors import SpecError

_SUFFIX = ".yaml"


def names() -> tuple[str, ...]:
    """Return the sorted names of the presets."""
    files = (file.name for file in _folder().iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)))


def text(name: str) -> str:
    """Return a preset as it is written, comments included.

    Raises:
        SpecError: there is no such preset; the message names the nearest and all of them.
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise SpecError([f"unknown preset {name!r}{hint}; presets: {', '.join(known) or 'none'}"])
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def label(name: str) -> str:
    """Return how messages call a preset."""
    return f"preset {name}"


def _folder() -> Traversable:
    return importlib.resources.files("lossforge") / "presets"
