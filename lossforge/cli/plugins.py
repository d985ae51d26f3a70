"""``plugins``: what is installed, what is wrong with it, and how to write another."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click

from lossforge.cli.options import json_option


class KindType(click.ParamType[str]):
    """A kind of components."""

    name = "kind"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a kind that there is."""
        from lossforge import registry

        if value not in registry.KINDS:
            self.fail(f"{value!r} is not one of {', '.join(registry.KINDS)}", param, ctx)
        return value


@click.group()
def plugins() -> None:
    """Show what is installed, find what is wrong with it, begin a plugin."""


@plugins.command("list")
@click.option("--kind", type=KindType(), help="Only this kind, such as mutations.")
@json_option
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List every component and how it stands.

    That is type, kind, distribution, version, status, and a line on it. A plugin that fails to load is listed with its
    error, also where it would end the command; the others are not affected. STATUS is ok, failed, conflict (two
    distributions claim the name), shadowed (the name is lossforge's own), old api or new api (written for another
    version of the plugin interface). Presets of plugins are in 'lossforge presets list'.
    """
    from lossforge import registry
    from lossforge.cli.plugin_text import print_standings, tell_slow
    from lossforge.plugins.isolated import loader_of_survivors
    from lossforge.plugins.standing import standings

    kinds = registry.KINDS if kind is None else (kind,)
    load = loader_of_survivors([offer for each in kinds for offer in registry.offers(each)], tell_slow)
    found = [standing for each in kinds for standing in standings(each, load)]
    if as_json:
        rows = [
            {**dataclasses.asdict(each.offer), "status": each.status, "summary": each.text.strip()} for each in found
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        print_standings(found)


@plugins.command()
@click.argument("type_name", metavar="TYPE")
@click.option("--kind", type=KindType(), help="Where several kinds have this type: only this one.")
@json_option
def describe(type_name: str, kind: str | None, as_json: bool) -> None:
    """Describe a component and its options.

    With its source, and how a spec names it.
    """
    from lossforge.cli.plugin_text import print_description
    from lossforge.plugins.description import describe

    found = describe(type_name, kind)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
        return
    for index, each in enumerate(found):
        if index:
            click.echo("\n" + "-" * 8 + "\n")
        print_description(each)


@plugins.command()
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds for each import."
)
@json_option
@click.pass_context
def doctor(context: click.Context, timeout: float, as_json: bool) -> None:
    """Find what is wrong with plugins.

    Each is imported in a process of its own. Told are tracebacks, names claimed twice or lossforge's own, other
    versions of the plugin interface, and requirements that are not met, each with what mends it. Exits with 3 if
    something is broken.
    """
    from lossforge import registry
    from lossforge.cli.plugin_text import print_examinations
    from lossforge.plugins.doctor import examine_all

    found, hidden = examine_all(timeout), registry.hidden()
    if as_json:
        rows = [{**dataclasses.asdict(each), "is_well": each.is_well} for each in found]
        click.echo(json.dumps({"distributions": rows, "hidden": hidden}, indent=2))
    else:
        print_examinations(found, hidden)
    context.exit(0 if all(each.is_well for each in found) else 3)


@plugins.command()
@click.argument("name", metavar="NAME")
@click.option("--kind", type=KindType(), required=True, help="What it adds, such as mutations.")
@click.option("--type", "type_name", help="Its name in a spec.  [default: NAME, without lossforge-]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write, new or empty.  [default: lossforge-NAME]"
)
@json_option
def new(name: str, kind: str, type_name: str | None, out: Path | None, as_json: bool) -> None:
    """Write a new plugin that works.

    It is the distribution lossforge-NAME, with its test and CI, and holds a small component of the kind, to change into
    yours.
    """
    from lossforge.plugins.scaffold import Project, write

    project = Project.named(name, kind, type_name)
    folder = out or Path(project.distribution)
    written = [str(path) for path in write(project, folder)]
    if as_json:
        told = {"path": str(folder), "distribution": project.distribution, "type": project.type, "files": written}
        click.echo(json.dumps(told, indent=2))
        return
    for path in written:
        click.echo(path)
    click.echo(f"\nNext:\n  cd {shlex.quote(str(folder))}\n  pip install -e '.[test]'\n  python -m pytest")
    click.echo(f"  lossforge plugins describe {project.type}")
