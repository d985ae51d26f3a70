"""``validate`` and ``show``: what a spec says."""

from __future__ import annotations

import json

import click

from lossforge.cli.options import json_option, load_spec, spec_argument, trace_spec
from lossforge.errors import LossforgeError


@click.command()
@spec_argument
@json_option
@click.pass_context
def validate(context: click.Context, spec: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a spec and report every mistake with its place."""
    try:
        checked = load_spec(spec, overrides)
    except LossforgeError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"spec": spec, "valid": False, "problems": str(error).splitlines()}, indent=2))
        context.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps({"spec": spec, "valid": True, "problems": [], "name": checked.name}, indent=2))
        return
    click.echo(f"{spec}: valid ({checked.name}: {checked.search.generations} generations)")


@click.command()
@spec_argument
@click.option(
    "--origins/--no-origins",
    "with_origins",
    default=None,
    help="Say where each value comes from, in comments; with --json, in 'origins' beside 'spec'.  "
    "[default: yes, but not in JSON]",
)
@json_option
def show(spec: str, overrides: tuple[str, ...], with_origins: bool | None, as_json: bool) -> None:
    """Print a spec with every default written out, and where each value comes from."""
    traced = trace_spec(spec, overrides)
    if not as_json:
        click.echo(traced.spec.to_yaml() if with_origins is False else traced.to_yaml(), nl=False)
        return
    content = traced.spec.model_dump(mode="json")
    if with_origins:
        content = {
            "spec": content,
            "origins": {".".join(map(str, path)): origin for path, origin in traced.origins.items()},
        }
    click.echo(json.dumps(content, indent=2))
