"""Arguments that several commands share, and where a spec comes from."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lossforge.spec import RunSpec

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
    from lossforge.errors import SpecError
    from lossforge.spec import read_spec

    path = Path(source)
    names = presets.names()
    if source in names and not path.is_file():  # a folder may well be called like the preset it came from
        return presets.load(source, overrides)
    if path.exists():
        return read_spec(path, overrides)
    near = difflib.get_close_matches(source, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise SpecError([f"{source}: neither a file nor a preset{hint}; presets: {', '.join(names)}"])
