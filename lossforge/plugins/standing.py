"""How an entry point stands: whether its name is its own, and whether it loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lossforge import registry
from lossforge.blame import blamed
from lossforge.component import API_VERSION, Component
from lossforge.errors import PluginError, PluginVersionError
from lossforge.plugins.wording import first_line
from lossforge.registry import Offer

Status: TypeAlias = Literal["ok", "failed", "conflict", "shadowed", "old api", "new api"]


@dataclass(frozen=True)
class Standing:
    """An entry point, its status, and what there is to say: the summary of what it offers, or what is wrong."""

    offer: Offer
    status: Status
    text: str


def standings(kind: str, load: Callable[[Offer], type[Component]] = registry.load) -> list[Standing]:
    """Return how all entry points of a kind stand; imports those whose name is their own."""
    return [contested(offer) or _loaded(offer, load) for offer in registry.offers(kind)]


def contested(offer: Offer) -> Standing | None:
    """Return what is wrong with an entry point's claim to its name; imports nothing."""
    if offer.is_builtin:
        return None
    rivals = [each for each in registry.offers(offer.kind) if each.type == offer.type and each != offer]
    if any(each.is_builtin for each in rivals):
        return Standing(offer, "shadowed", "the name is lossforge's own, which is used; this one is never")
    if rivals:
        others = " and by ".join(map(str, rivals))
        text = f"also claimed by {others}; uninstall one, or set {registry.PLUGINS_VARIABLE} to those to use"
        return Standing(offer, "conflict", text)
    return None


def _loaded(offer: Offer, load: Callable[[Offer], type[Component]]) -> Standing:
    try:
        return Standing(offer, "ok", summary_of(offer, load(offer)))
    except PluginError as error:
        return Standing(offer, status_of(error), str(error))


def summary_of(offer: Offer, component: type[Component]) -> str:
    """Return the summary of what an entry point offers; PluginLoadError where there is none to be had."""
    with blamed(f"plugin {offer}: its docstring has no summary", f"update or uninstall {offer.distribution}"):
        return first_line(component)


def status_of(error: PluginError) -> Status:
    """Return the status of an entry point that failed with ``error``."""
    if not isinstance(error, PluginVersionError):
        return "failed"
    return "old api" if error.api_version < API_VERSION else "new api"
