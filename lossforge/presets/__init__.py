"""Specs that come with lossforge, ready to run or to start from: the ``*.yaml`` files of this package."""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Sequence
from importlib.resources.abc import Traversable

from lossforge.errors import SpecError
from lossforge.spec import RunSpec, spec_from_text
from lossforge.spec.load import parse_mapping

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


def description(name: str) -> str:
    """Return what a preset says of itself, from its text alone: no component is looked up.

    Raises:
        SpecError: there is no such preset.
    """
    return str(parse_mapping(text(name), _source(name)).data.get("description") or "").strip()


def load(name: str, overrides: Sequence[str] = ()) -> RunSpec:
    """Return a preset's spec, with ``a.b.0.c=value`` overrides on top.

    Raises:
        SpecError: there is no such preset, or an override is not valid.
        PluginError: an installed plugin that an override names is at fault.
    """
    return spec_from_text(text(name), _source(name), overrides)


def _source(name: str) -> str:
    return f"preset {name}"


def _folder() -> Traversable:
    return importlib.resources.files(__name__)
