"""All there is to say of a component: what it is, its options, its source, and how a spec names it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from lossforge import registry
from lossforge.blame import blamed
from lossforge.errors import PluginError, UnknownComponentError
from lossforge.plugins.example import Example, example_of
from lossforge.plugins.wording import default_of, first_line, groups_in, source_of, text_of, values_of
from lossforge.registry import Offer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Option:
    """An option: its name, the values it takes, its default, and a line on it."""

    name: str
    values: str
    default: str
    text: str


@dataclass(frozen=True)
class Group:
    """Options that belong together; those of the component itself have no name."""

    name: str
    summary: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Description:
    """What is known of a component; ``example`` is a reason where there is none."""

    kind: str
    type: str
    distribution: str
    version: str
    target: str
    text: tuple[str, ...]
    groups: tuple[Group, ...]
    source: tuple[str, ...]
    example: Example | str


def describe(type_name: str, kind: str | None = None) -> tuple[Description, ...]:
    """Return what is known of the components called ``type_name``: of one kind, or of each that has one.

    Raises:
        UnknownComponentError: there is none; the message names the nearest.
        PluginError: its plugin is at fault; where another kind has one that is well, that is a warning.
    """
    kinds = [each for each in registry.KINDS if kind in (None, each) and type_name in registry.types(each)]
    if not kinds:
        raise UnknownComponentError(_unknown(type_name, kind))
    found, errors = [], []
    for each in kinds:
        try:
            found.append(_describe(registry.chosen(each, type_name)))
        except PluginError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    for each_error in errors:
        _log.warning("%s", each_error)
    return tuple(found)


def _unknown(type_name: str, kind: str | None) -> str:
    if kind is not None:
        return registry.unknown_type_message(kind, type_name)
    kinds = {name: each for each in registry.KINDS for name in registry.types(each)}
    near = difflib.get_close_matches(type_name, kinds, n=1)
    hint = f" (did you mean {near[0]!r} of {kinds[near[0]]}?)" if near else ""
    return f"unknown type {type_name!r}{hint}; 'lossforge plugins list' shows all"


def _describe(offer: Offer) -> Description:
    component = registry.load(offer)
    what = f"plugin {offer} cannot be described as {offer.kind} {offer.type!r}"
    with blamed(what, f"update or uninstall {offer.distribution}", but=(PluginError,)):
        return Description(
            kind=offer.kind,
            type=offer.type,
            distribution=offer.distribution,
            version=offer.version,
            target=offer.target,
            text=tuple(text_of(component.__doc__)),
            groups=tuple(option_groups(component)),
            source=tuple(source_of(component)),
            example=example_of(component),
        )


def option_groups(model: type[BaseModel]) -> Iterator[Group]:
    """Yield a model's own options, and then the groups of options in them, each once."""
    waiting, seen = [model], {model}
    for group in waiting:
        fields = {name: field for name, field in group.model_fields.items() if name != "type"}
        options = [
            Option(name, values_of(field), default_of(field), str(field.description or ""))
            for name, field in fields.items()
        ]
        yield Group("" if group is model else group.__name__, first_line(group), tuple(options))
        inner = [each for field in fields.values() for each in groups_in(field.annotation)]
        waiting += [each for each in dict.fromkeys(inner) if each not in seen]
        seen.update(inner)
