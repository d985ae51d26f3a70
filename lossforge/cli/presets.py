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
    """List, show and copy the specs that come with lossforge and with plugins."""


@presets.command("list")
@json_option
def list_presets(as_json: bool) -> None:
    """List the presets with a line on each."""
    from lossforge import presets as package

    rows = [{"name": name, "plugin": package.origin(name), **_said_of(name)} for name in package.names()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        plugin = "" if row["plugin"] is None else f"[{row['plugin']}] "
        click.echo(f"{row['name']:<{width}}  {plugin}{row['description'] or row['problem']}")


def _said_of(name: str) -> dict[str, str | None]:
    """Return what a preset says of itself, or what is wrong with it: one bad plugin hides no other preset."""
    from lossforge import presets as package
    from lossforge.errors import LossforgeError

    try:
        return {"description": package.description(name), "problem": None}
    except LossforgeError as error:
        return {"description": None, "problem": f"FAILED: {error}"}


@presets.command("show")
@click.argument("name")
@json_option
def show_preset(name: str, as_json: bool) -> None:
    """Print a preset's file."""
    from lossforge import presets as package

    if as_json:
        click.echo(json.dumps({"name": name, "plugin": package.origin(name), "text": package.text(name)}, indent=2))
    else:
        click.echo(package.text(name), nl=False)


@presets.command("copy")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def copy_preset(name: str, path: Path, as_json: bool) -> None:
    """Copy a preset's file to PATH, to be edited.

    An existing file is never overwritten.
    """
    from lossforge import presets as package
    from lossforge.spec import RunSpec
    from lossforge.spec.dump import SCHEMA_LINE

    write_new(path, f"{SCHEMA_LINE}{RunSpec.SCHEMA_FILE}\n{package.text(name)}")
    if as_json:
        click.echo(json.dumps({"path": str(path), "preset": name}))
        return
    click.echo(f"{path}: a copy of {name}; run it with: {shlex.join(['lossforge', 'run', str(path)])}")
    schema = path.with_name(RunSpec.SCHEMA_FILE)
    if not schema.exists():
        command = shlex.join(["lossforge", "schema", "--out", str(schema)])
        click.echo(f"for an editor that checks and completes it: {command}")
