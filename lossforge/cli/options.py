"""Arguments that several commands share, and where a spec comes from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lossforge.spec import RunSpec, TracedSpec

_F = TypeVar("_F", bound=Callable[..., Any])


def spec_argument(function: _F) -> _F:
    """Add the SPEC argument and the --set option."""
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one value of the spec, as in --set search.strategy.sigma=0.2; may be repeated.",
    )(function)
    return click.argument("spec", metavar="SPEC")(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_spec(source: str, overrides: tuple[str, ...]) -> RunSpec:
    """Read the spec file called ``source``, or the preset of that name where there is no such file."""
    from lossforge import presets
    from lossforge.provenance import naming_lost_plugins_of
    from lossforge.spec import read_spec

    with naming_lost_plugins_of(Path(source)):
        return presets.load(source, overrides) if is_preset(source) else read_spec(Path(source), overrides)


def trace_spec(source: str, overrides: tuple[str, ...]) -> TracedSpec:
    """Read the spec that :func:`load_spec` reads, and tell where its values come from."""
    from lossforge import spec
    from lossforge.provenance import naming_lost_plugins_of

    with naming_lost_plugins_of(Path(source)):
        if is_preset(source):
            return spec.trace_preset(source, overrides)
        return spec.trace_spec(Path(source), overrides)


def is_preset(source: str) -> bool:
    """Return whether ``source`` is a preset, and not a file.

    Raises:
        SpecError: it is neither.
    """
    from lossforge import presets
    from lossforge.errors import SpecError

    names = presets.names()
    if source in names and not os.path.isfile(source):  # a folder may well be called like the preset it came from
        return True
    if os.path.exists(source):
        return False
    near = difflib.get_close_matches(source, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise SpecError([f"{source}: neither a file nor a preset{hint}; presets: {', '.join(names)}"])
