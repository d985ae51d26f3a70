"""``presets``: specs to start from."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from lossforge.cli.options import json_option
from lossforge.cli.output import write_new


@click.group()
def presets() -> None:
    """List, show and copy the specs that come with lossforge."""


@presets.command("list")
@json_option
def list_presets(as_json: bool) -> None:
    """List the presets with a line on each."""
    from lossforge import presets as package

    rows = {name: package.description(name) for name in package.names()}
    if as_json:
        click.echo(json.dumps([{"name": name, "description": text} for name, text in rows.items()], indent=2))
        return
    width = max(map(len, rows))
    for name, text in rows.items():
        click.echo(f"{name:<{width}}  {text}")


@presets.command("show")
@click.argument("name")
def show_preset(name: str) -> None:
    """Print a preset's file."""
    from lossforge import presets as package

    click.echo(package.text(name), nl=False)


@presets.command("copy")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def copy_preset(name: str, path: Path) -> None:
    """Copy a preset's file to PATH, to be edited.

    An existing file is never overwritten.
    """
    from lossforge import presets as package
    from lossforge.spec import RunSpec
    from lossforge.spec.dump import SCHEMA_LINE

    write_new(path, f"{SCHEMA_LINE}{RunSpec.SCHEMA_FILE}\n{package.text(name)}")
    click.echo(f"{path}: a copy of {name}; run it with: {shlex.join(['lossforge', 'run', str(path)])}")
    schema = path.with_name(RunSpec.SCHEMA_FILE)
    if not schema.exists():
        command = shlex.join(["lossforge", "schema", "--out", str(schema)])
        click.echo(f"for an editor that checks and completes it: {command}")
