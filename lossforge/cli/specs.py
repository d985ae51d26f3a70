"""``validate`` and ``show``: what a spec says."""

from __future__ import annotations

import json

import click

from lossforge.cli.options import json_option, load_spec, spec_argument


@click.command()
@spec_argument
def validate(spec: str, overrides: tuple[str, ...]) -> None:
    """Check a spec and report every mistake with its place."""
    checked = load_spec(spec, overrides)
    click.echo(f"{spec}: valid ({checked.name}: {checked.search.generations} generations)")


@click.command()
@spec_argument
@json_option
def show(spec: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a spec with every default written out."""
    checked = load_spec(spec, overrides)
    if as_json:
        click.echo(json.dumps(checked.model_dump(mode="json"), indent=2))
    else:
        click.echo(checked.to_yaml(), nl=False)
