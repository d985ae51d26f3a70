"""The files of presets, lossforge's own and those of plugins: their names and texts. No plugin is imported."""

from __future__ import annotations

import difflib
import importlib.resources
import importlib.util
import re
from importlib.machinery import ModuleSpec
from importlib.resources.abc import Traversable
from pathlib import Path

from lossforge import registry
from lossforge.errors import PluginConflictError, PluginLoadError, SpecError
from lossforge.registry import Offer

_SUFFIX = ".yaml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.yaml)(?<!\.yml)")
"""A preset's name: one that leads out of its folder, or reads as the path of a spec, is ignored."""


def names() -> tuple[str, ...]:
    """Return the sorted names of the presets."""
    return tuple(sorted({*_own(), *(offer.type for offer in offers())}))


def text(name: str) -> str:
    """Return a preset as it is written, comments included; a name of lossforge's own is always lossforge's.

    Raises:
        SpecError: there is no such preset; the message names the nearest and all of them.
        PluginConflictError: two plugins offer it.
        PluginLoadError: the plugin that offers it lacks its file, or it cannot be read.
    """
    if name in _own():
        return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = registry.hint_of_hidden("presets", name) or (f" (did you mean {near[0]!r}?)" if near else "")
        raise SpecError([f"unknown preset {name!r}{hint}; presets: {', '.join(known) or 'none'}"])
    return text_of(_offer(name))


def origin(name: str) -> str | None:
    """Return the distribution and version that a preset is from; None for lossforge's own."""
    if name in _own():
        return None
    return " and ".join(f"{offer.distribution} {offer.version}" for offer in _offers(name))


def label(name: str) -> str:
    """Return how messages call a preset."""
    return f"preset {name}"


def offers() -> tuple[Offer, ...]:
    """Return the presets that plugins offer under a name that a preset can have."""
    return tuple(offer for offer in registry.preset_offers() if _NAME.fullmatch(offer.type))


def _own() -> tuple[str, ...]:
    files = (file.name for file in _folder().iterdir())
    return tuple(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX))


def _folder() -> Traversable:
    return importlib.resources.files("lossforge") / "presets"


def _offers(name: str) -> list[Offer]:
    return [offer for offer in offers() if offer.type == name]


def _offer(name: str) -> Offer:
    offer, *others = _offers(name)
    if others:
        raise PluginConflictError(
            f"preset {name!r} is claimed by {' and by '.join(map(str, (offer, *others)))}; uninstall one of them, or "
            f"set {registry.PLUGINS_VARIABLE} to the comma list of distributions to use"
        )
    return offer


def text_of(offer: Offer) -> str:
    """Return the preset that a plugin offers, whoever else claims its name; raises PluginLoadError as :func:`text`."""
    # A package without a dot is found without importing anything.
    found = None if "." in offer.target else _spec_of(offer.target)
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder) / "presets" / f"{offer.type}{_SUFFIX}"
        try:
            if file.is_file():
                return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as cause:
            raise PluginLoadError(
                f"plugin {offer}: {file} cannot be read: {cause}; update or uninstall {offer.distribution}"
            ) from cause
    raise PluginLoadError(
        f"plugin {offer}: no package {offer.target!r} with presets/{offer.type}{_SUFFIX}; update or uninstall "
        f"{offer.distribution}"
    )


def _spec_of(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except ValueError:  # an empty name, or a module that was put into sys.modules by hand
        return None
