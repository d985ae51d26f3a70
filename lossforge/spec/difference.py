"""What sets two specs apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML

from lossforge.spec.problems import KeyPath, dotted

_ABSENT = object()


def differences(before: str, now: str) -> list[str]:
    """Return the values in which two resolved specs differ, as ``search.strategy.sigma: 0.3 -> 0.2``.

    Args:
        before: YAML as :meth:`RunSpec.to_yaml` writes it.
        now: likewise.
    """
    old, new = (dict(leaves(YAML(typ="safe", pure=True).load(text))) for text in (before, now))
    return [
        f"{key}: {_shown(old.get(key, _ABSENT))} -> {_shown(new.get(key, _ABSENT))}"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values inside nested mappings and lists that hold no others, each with its dotted path."""
    return ((dotted(path), inner) for path, inner in located(value))


def located(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield what :func:`leaves` does, each with its path in parts."""
    items = dict(enumerate(value)) if isinstance(value, list) else value
    if not (isinstance(items, dict) and items):
        yield path, value
        return
    for key, item in items.items():
        yield from located(item, (*path, key))


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    return json.dumps(value)
