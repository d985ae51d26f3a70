"""``plugins``: what is installed."""

from __future__ import annotations

import dataclasses
import json

import click

from lossforge.cli.options import json_option


@click.group()
def plugins() -> None:
    """Show the components that are installed."""


@plugins.command("list")
@click.option("--kind", help="Only this kind, such as mutations.")
@json_option
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List every component: kind, type, distribution, and a line on it.

    A plugin that fails to load is listed with its error; the others are not affected.
    """
    from lossforge import registry

    if kind is not None and kind not in registry.KINDS:
        raise click.BadParameter(f"{kind!r} is not one of {', '.join(registry.KINDS)}", param_hint="--kind")
    rows = [
        {**dataclasses.asdict(offer), **_status(offer.kind, offer.type)}
        for each in registry.KINDS
        if kind in (None, each)
        for offer in registry.offers(each)
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(rows)


def _status(kind: str, type_name: str) -> dict[str, str]:
    from lossforge import registry
    from lossforge.errors import PluginError

    try:
        component = registry.get(kind, type_name)
    except PluginError as error:
        return {"status": "failed", "summary": str(error)}
    return {"status": "ok", "summary": (component.__doc__ or "").strip().partition("\n")[0]}


def _print(rows: list[dict[str, str]]) -> None:
    width = max((len(row["type"]) for row in rows), default=0)
    for index, row in enumerate(rows):
        if index == 0 or row["kind"] != rows[index - 1]["kind"]:
            click.echo(("\n" if index else "") + click.style(row["kind"], bold=True))
        origin = "" if row["distribution"] == "lossforge" else f"[{row['distribution']} {row['version']}] "
        failed = "" if row["status"] == "ok" else click.style("FAILED ", fg="red")
        click.echo(f"  {row['type']:<{width}}  {origin}{failed}{row['summary']}")
