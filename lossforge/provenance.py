"""Which plugin a run had a component from, for when that plugin is no longer installed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ValidationError

from lossforge import registry
from lossforge.errors import SpecError

_LARGEST_MANIFEST = 1_000_000


def _version(text: str) -> str:
    return str(Version(text))


def _distribution(text: str) -> str:
    canonicalize_name(text, validate=True)
    return text.strip()


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("no kind")
    return text


class Provider(BaseModel):
    """A distribution with plugins, as in a manifest; ``components``: the types that it offers of each kind."""

    distribution: str
    version: str
    components: dict[str, tuple[str, ...]] = {}


class _Named(Provider):
    """One that a command line may name, for it is such as pip knows: the file may come from anywhere."""

    distribution: Annotated[str, AfterValidator(_distribution)]
    version: Annotated[str, AfterValidator(_version)]
    components: dict[Annotated[str, AfterValidator(_identifier)], tuple[str, ...]] = {}


class _Manifest(BaseModel):
    plugins: tuple[Any, ...] = ()


def providers() -> list[Provider]:
    """Return the third-party distributions that offer components now; imports nothing."""
    found: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for offer in (offer for kind in registry.KINDS for offer in registry.offers(kind) if not offer.is_builtin):
        components = found.setdefault((offer.distribution, offer.version), {})
        components[offer.kind] = (*components.get(offer.kind, ()), offer.type)
    return [Provider(distribution=name, version=at, components=all_) for (name, at), all_ in sorted(found.items())]


def lost(manifest: Path, text: str) -> list[str]:
    """Return a line for each component in a spec's ``text`` that a plugin had when ``manifest`` was written, not now.

    It says how to get it back. Empty where the manifest cannot be read, or is no regular file of such a size.
    """
    try:
        before = _Manifest.model_validate(json.loads(_content(manifest))).plugins
    except (OSError, ValueError, RecursionError):  # whoever asks has an error to tell already
        return []
    return [line for entry in before for provider in _named(entry) for line in _lost(provider, text)]


def _content(manifest: Path) -> bytes:
    """Return what a manifest holds; opened so that neither a link is followed nor a pipe waited for."""
    with open(os.open(manifest, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST_MANIFEST:
            raise ValueError(f"{manifest}: no manifest")
        return file.read(_LARGEST_MANIFEST)


def _named(entry: object) -> Iterator[Provider]:
    """Yield the distribution that an entry names, where pip can know it."""
    with contextlib.suppress(ValidationError):
        yield _Named.model_validate(entry)


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


def naming_lost_plugins_of(spec: Path) -> contextlib.AbstractContextManager[None]:
    """Do as :func:`naming_lost_plugins` where ``spec`` is that of a run or of trainings, beside its manifest."""
    manifest = spec.parent / "manifest.json"
    is_stored = spec.name in ("spec.yaml", "training.yaml") and os.path.isfile(manifest)
    return naming_lost_plugins(spec, manifest) if is_stored else contextlib.nullcontext()


@contextlib.contextmanager
def naming_lost_plugins(spec: Path, manifest: Path) -> Iterator[None]:
    """Have an error in a stored spec name the plugins that the run had and that are gone."""
    try:
        yield
    except SpecError as error:
        lines: list[str] = []
        with contextlib.suppress(OSError):  # that it cannot be read is told already
            lines = lost(manifest, spec.read_text("utf-8", "replace")) if spec.is_file() else []
        if lines:
            raise SpecError([*error.problems, *lines]) from error
        raise
