"""Which plugin a run had a component from, for when that plugin is no longer installed."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from lossforge import registry
from lossforge.errors import SpecError


class Provider(BaseModel):
    """A distribution with plugins, as in a manifest; ``components``: the types that it offers of each kind."""

    distribution: str
    version: str
    components: dict[str, tuple[str, ...]] = {}


class _Manifest(BaseModel):
    plugins: tuple[Provider, ...] = ()


def providers() -> list[Provider]:
    """Return the third-party distributions that offer components now; imports nothing."""
    found: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for offer in (offer for kind in registry.KINDS for offer in registry.offers(kind) if not offer.is_builtin):
        components = found.setdefault((offer.distribution, offer.version), {})
        components[offer.kind] = (*components.get(offer.kind, ()), offer.type)
    return [Provider(distribution=name, version=at, components=all_) for (name, at), all_ in sorted(found.items())]


def lost(manifest: Path, text: str) -> list[str]:
    """Return a line for each component in a spec's ``text`` that a plugin had when ``manifest`` was written, not now.

    It says how to get it back. Empty where the manifest cannot be read.
    """
    try:
        before = _Manifest.model_validate(json.loads(manifest.read_bytes())).plugins
    except (OSError, ValueError):  # whoever asks has an error to tell already
        return []
    return [line for provider in before for line in _lost(provider, text)]


def _lost(provider: Provider, text: str) -> Iterator[str]:
    name, version = provider.distribution, provider.version
    if name in registry.hidden():
        return  # the error names the variable that leaves it out
    command = f"pip install {shlex.quote(f'{name}=={version}')}"
    for kind, types in provider.components.items():
        there = registry.types(kind) if kind in registry.KINDS else ()
        for each in types:
            if each not in there and re.search(rf"\b{re.escape(each)}\b", text):
                yield f"{kind} {each!r} came from {name} {version} when the run began; get it back with: {command}"
    if not provider.components and name not in {each.distribution for each in providers()}:
        yield f"when the run began there was {name} {version}, which may have had it; get it back with: {command}"


@contextlib.contextmanager
def naming_lost_plugins(spec: Path, manifest: Path) -> Iterator[None]:
    """Have an error in a stored spec name the plugins that the run had and that are gone."""
    try:
        yield
    except SpecError as error:
        if lines := lost(manifest, spec.read_text("utf-8", "replace")) if spec.is_file() else []:
            raise SpecError([*error.problems, *lines]) from error
        raise
