"""``schema``: what an editor checks and completes specs by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.options import json_option

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.command()
@click.option(
    "--kind",
    type=click.Choice(["run", "ablation", "train", "compare", "correlate"]),
    default="run",
    show_default=True,
    help="Sort of spec.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, or to replace where it is such a schema already.  [default: standard output]",
)
@json_option
def schema(kind: str, out: Path | None, as_json: bool) -> None:
    """Print the JSON schema of specs, with all components that are installed.

    Specs that lossforge writes name lossforge.schema.json, in their folder, to editors. Write it anew where plugins
    were installed since.
    """
    from lossforge import registry
    from lossforge.cli.plugin_text import tell_slow
    from lossforge.plugins.isolated import loader_of_survivors
    from lossforge.spec import AblationSpec, CompareSpec, CorrelateSpec, RunSpec, TrainSpec
    from lossforge.spec.schema import spec_schema

    models: dict[str, type[BaseModel]] = {
        "run": RunSpec,
        "ablation": AblationSpec,
        "train": TrainSpec,
        "compare": CompareSpec,
        "correlate": CorrelateSpec,
    }
    offers = [offer for each in registry.KINDS for offer in registry.offers(each)]
    described = spec_schema(models[kind], loader_of_survivors(offers, tell_slow))
    for problem in described.left_out:
        click.echo(f"warning: left out: {problem}", err=True)
    text = json.dumps(described.schema, indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text)
    if as_json:
        told = {"path": str(out), "kind": kind, "num_components": described.num_components}
        click.echo(json.dumps({**told, "left_out": described.left_out}, indent=2))
        return
    left_out = f", {len(described.left_out)} left out" if described.left_out else ""
    click.echo(f"{out}: the schema of {kind} specs with {described.num_components} components{left_out}")


def _write(path: Path, text: str) -> None:
    """Write a schema; of existing files only schemas are replaced."""
    from lossforge.cli.output import write_new
    from lossforge.errors import OutputError
    from lossforge.files import write_atomically
    from lossforge.spec.schema import WRITTEN_BY

    try:
        is_ours = path.is_file() and WRITTEN_BY.encode() in path.read_bytes()[:300]
        if is_ours:
            write_atomically(path, text)
    except OSError as cause:
        raise OutputError(f"{path}: cannot be written: {cause.strerror}") from cause
    if not is_ours:
        write_new(path, text)
