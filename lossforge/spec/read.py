"""From YAML to a run's spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lossforge.spec import load
from lossforge.spec.model import RunSpec


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
