"""From a component's name to its class, through stevedore; the only file that imports stevedore, and no torch.

Names are listed without importing anything, and one requested name loads one entry point, so a broken plugin is felt
only by those who ask for it. Stevedore's own discovery cache is bypassed: it packs modification times as float32 and
can hide a freshly installed plugin for minutes, and entry points it restores have lost their distribution.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.metadata
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from stevedore import DriverManager, ExtensionManager

from lossforge import installed
from lossforge.blame import blamed
from lossforge.component import API_VERSION, Component
from lossforge.contract import breach, is_of_other_api
from lossforge.errors import (
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginVersionError,
    UnknownComponentError,
)
from lossforge.exits import exit_raised
from lossforge.stdio import stdout_to_stderr
from lossforge.surroundings import surroundings_restored

_log = logging.getLogger(__name__)

KINDS = (
    "parameterizations",
    "samplers",
    "objectives",
    "mutations",
    "strategies",
    "losses",
    "datasets",
    "models",
    "trackers",
)
"""Kinds of components; the entry-point group of a kind is ``lossforge.<kind>``."""

PLUGINS_VARIABLE = "LOSSFORGE_PLUGINS"
"""Environment variable with a comma list of the third-party distributions to use; empty: none; unset: all."""

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Offer:
    """An entry point as seen without importing it."""

    kind: str
    type: str
    target: str
    distribution: str
    version: str

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with lossforge itself, whose names nobody else can take."""
        return self.distribution == installed.OWN and self.target.startswith("lossforge.")

    @property
    def is_imported(self) -> bool:
        """Whether its module has been imported already."""
        return self.target.partition(":")[0].strip() in sys.modules

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.target})"


def offers(kind: str) -> tuple[Offer, ...]:
    """Return what the installed distributions offer of a kind, sorted by type and distribution; imports nothing."""
    check_kind(kind)
    return tuple(map(_offer, _entry_points(kind)))


def types(kind: str) -> tuple[str, ...]:
    """Return the sorted names of the installed components of a kind; imports nothing."""
    return tuple(sorted({offer.type for offer in offers(kind)}))


def preset_offers() -> tuple[Offer, ...]:
    """Return the presets that installed distributions offer, sorted by name and distribution; imports nothing.

    The target of each is a package with no dot in its name, whose folder ``presets`` has the file ``<type>.yaml``.
    """
    return tuple(map(_offer, _entry_points("presets")))


def hidden() -> tuple[str, ...]:
    """Return the installed distributions with plugins that the environment variable leaves out."""
    groups = (*KINDS, "presets")
    found = {_offer(point).distribution for group in groups for point in _discover(group, None)}
    return tuple(sorted(found - {_offer(point).distribution for group in groups for point in _entry_points(group)}))


def get(kind: str, type_name: str) -> type[Component]:
    """Import and return the component class called ``type_name``; a name of lossforge's own is always lossforge's.

    Raises:
        UnknownComponentError: nothing installed provides it; the message names the nearest and all installed names.
        PluginConflictError: two distributions provide it.
        PluginLoadError: its import fails, or the object is not a component of this kind and name.
        PluginVersionError: it was written for another version of the plugin interface.
    """
    return load(chosen(kind, type_name))


def chosen(kind: str, type_name: str) -> Offer:
    """Return the entry point that :func:`get` loads; raises as it does where there is none, or more than one."""
    found = [offer for offer in offers(kind) if offer.type == type_name]
    if not found:
        raise UnknownComponentError(unknown_type_message(kind, type_name))
    if own := [offer for offer in found if offer.is_builtin]:
        for other in [offer for offer in found if not offer.is_builtin]:
            _warn_once(f"{kind} {type_name!r} is lossforge's own; that of plugin {other} is not used")
        found = own
    if len(found) > 1:
        raise PluginConflictError(
            f"{kind}: {type_name!r} is claimed by {' and by '.join(map(str, found))}; uninstall one of them, or "
            f"set {PLUGINS_VARIABLE} to the comma list of distributions to use"
        )
    return found[0]


def load(offer: Offer) -> type[Component]:
    """Import and return what an entry point offers, whoever else claims its name; raises as :func:`get` does."""
    group = f"lossforge.{offer.kind}"
    ExtensionManager.ENTRY_POINT_CACHE[group] = [each for each in _entry_points(offer.kind) if _offer(each) == offer]
    is_there = offer.is_builtin or offer.is_imported
    what = f"plugin {offer} failed to load as {offer.kind} {offer.type!r}"
    output = contextlib.nullcontext() if is_there else stdout_to_stderr()
    around = contextlib.nullcontext[list[str]]([]) if is_there else surroundings_restored()
    with blamed(what, f"mend or uninstall {offer.distribution}"), output as diverted, around as changed, exit_raised():
        manager: DriverManager[Any] = DriverManager(group, offer.type, on_load_failure_callback=_raise)
        loaded: Any = manager.driver
        refusal = _refusal(offer, loaded)
    if diverted is not None and diverted.used:
        _warn_once(f"plugin {offer} prints while it is imported; that went to standard error")
    if changed:
        _warn_once(f"plugin {offer} changes {' and '.join(changed)} while it is imported; that was undone")
    if refusal is not None:
        raise refusal
    return loaded  # type: ignore[no-any-return]


def is_registered(component: Component) -> bool:
    """Return whether a spec could name this component's class: its entry point leads back to the class itself."""
    if component.type not in types(component.kind):
        return False
    try:
        return get(component.kind, component.type) is type(component)
    except PluginError:
        return False  # a name that cannot be loaded leads nowhere


def unknown_type_message(kind: str, type_name: str) -> str:
    """Return a message for an unknown type, with the nearest match and all installed names."""
    known = types(kind)
    type_name = type_name if len(type_name) <= _LONGEST_NAME else f"{type_name[:_LONGEST_NAME]}..."
    near = difflib.get_close_matches(type_name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    hint = hint_of_hidden(kind, type_name) or hint
    return f"unknown type {type_name!r}{hint}; installed {kind}: {', '.join(known) or 'none'}"


def hint_of_hidden(kind: str, name: str) -> str:
    """Return a hint on who has what is unknown, a component of a kind or one of ``presets``; empty: nobody."""
    names = sorted({_offer(point).distribution for point in _discover(kind, None) if point.name == name})
    return f" (that of {' and '.join(names)} is left out by {PLUGINS_VARIABLE})" if names else ""


def check_kind(kind: str) -> None:
    """Raise ValueError for what is no kind."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; kinds: {', '.join(KINDS)}")


def _raise(_manager: object, _entry_point: object, error: BaseException) -> NoReturn:
    raise error


def _refusal(offer: Offer, loaded: Any) -> PluginLoadError | None:
    """Return the error for what is not what its entry point promises."""
    problem = breach(loaded, offer.kind, offer.type)
    if problem is None:
        return None
    if is_of_other_api(loaded):
        stale = offer.distribution if loaded.api_version < API_VERSION else "lossforge"
        message = f"plugin {offer}: {loaded!r} {problem}; pip install --upgrade {stale}"
        return PluginVersionError(message, loaded.api_version)
    return PluginLoadError(f"plugin {offer}: {loaded!r} {problem}; update or uninstall {offer.distribution}")


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


@functools.cache
def _discover(kind: str, plugins: str | None) -> tuple[importlib.metadata.EntryPoint, ...]:
    allowed = _allowed(plugins)
    points = installed.installed().points
    if kind in KINDS and not any(_offer(point).is_builtin for point in points):
        raise PluginLoadError(installed.why_none_of_our_own())
    unique = {}
    for point in points:
        name = installed.normalise(_offer(point).distribution)
        if point.group == f"lossforge.{kind}" and (allowed is None or _offer(point).is_builtin or name in allowed):
            unique[point.name, name, point.value] = point
    return tuple(point for _, point in sorted(unique.items()))


def _allowed(plugins: str | None) -> set[str] | None:
    return None if plugins is None else {installed.normalise(name) for name in plugins.split(",") if name.strip()}


def _offer(point: importlib.metadata.EntryPoint) -> Offer:
    kind = point.group.removeprefix("lossforge.")
    return Offer(kind, point.name, point.value, *installed.name_and_version(point.dist))


def _entry_points(kind: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    for each in unreadable():
        _warn_once(f"plugin {each.distribution} is left out, {each.text}; reinstall or remove it")
    return _discover(kind, os.environ.get(PLUGINS_VARIABLE))


def unreadable() -> tuple[installed.Unreadable, ...]:
    """Return the installed distributions, of those to use, that may have plugins and whose metadata cannot be read."""
    allowed = _allowed(os.environ.get(PLUGINS_VARIABLE))
    found = installed.installed().unreadable
    return tuple(each for each in found if allowed is None or each.distribution in allowed)


def refresh() -> None:
    """Forget what is installed, so that packages installed since are seen by this process."""
    _discover.cache_clear()
    installed.forget()
