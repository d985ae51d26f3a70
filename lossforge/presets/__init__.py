"""Specs ready to run or to start from: lossforge's own, the ``*.yaml`` files of this package, and those of plugins."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.spec import RunSpec
from lossforge.spec.load import document_of_preset, validated
from lossforge.spec.preset_files import label, names, origin, text
from lossforge.spec.text import parse_mapping

__all__ = ["description", "load", "names", "origin", "text"]


def description(name: str) -> str:
    """Return what a preset says of itself, from its text alone: no component is looked up.

    Raises:
        SpecError: there is no such preset.
        PluginError: the plugin that offers it is at fault.
    """
    return str(parse_mapping(text(name), label(name)).data.get("description") or "").strip()


def load(name: str, overrides: Sequence[str] = ()) -> RunSpec:
    """Return a preset's spec, with ``a.b.0.c=value`` overrides on top.

    Raises:
        SpecError: there is no such preset, or an override is not valid.
        PluginError: an installed plugin that an override names is at fault.
    """
    return validated(RunSpec, document_of_preset(RunSpec, name, overrides))
