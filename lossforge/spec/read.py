"""From YAML to a run's spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lossforge.spec import dump, load
from lossforge.spec.document import Document
from lossforge.spec.model import RunSpec
from lossforge.spec.origins import Origins, origins


def read_spec(path: Path, overrides: Sequence[str] = ()) -> RunSpec:
    """Read a spec file, with ``a.b.0.c=value`` overrides on top.

    Raises:
        SpecError: the file or an override cannot be read or is not valid; every problem is told with its place, as
            ``spec.yaml:5:3: search.strategy.sgima: unknown field (did you mean 'sigma'?)``.
        PluginError: an installed plugin that the spec names is at fault.
    """
    return load.from_file(RunSpec, path, overrides)


def spec_from_text(text: str, source: str = "<string>", overrides: Sequence[str] = ()) -> RunSpec:
    """Read a spec from YAML text that messages call ``source``; see :func:`read_spec`."""
    return load.from_text(RunSpec, text, source, overrides)


@dataclass(frozen=True)
class TracedSpec:
    """A spec, and where each of its values comes from."""

    spec: RunSpec
    origins: Origins

    def to_yaml(self) -> str:
        """Return the spec as YAML with the origin of each value as a comment; it reads back as an equal spec."""
        return dump.to_yaml(self.spec, self.spec.SCHEMA_FILE, self.origins)


def trace_spec(path: Path, overrides: Sequence[str] = ()) -> TracedSpec:
    """Read a spec file and tell where its values come from; see :func:`read_spec`."""
    return _traced(load.document_of_file(RunSpec, path, overrides))


def trace_preset(name: str, overrides: Sequence[str] = ()) -> TracedSpec:
    """Read a preset and tell where its values come from; see :func:`read_spec`."""
    return _traced(load.document_of_preset(RunSpec, name, overrides))


def _traced(document: Document) -> TracedSpec:
    spec = load.validated(RunSpec, document)
    return TracedSpec(spec, origins(spec, document))
