"""What the ``plugins`` commands print for people."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lossforge.plugins.description import Description, Group
    from lossforge.plugins.doctor import Examination, Finding
    from lossforge.plugins.standing import Standing
    from lossforge.registry import Offer

WIDTH = 100
"""Columns of text where there is no terminal, or a wider one."""


def tell_slow(offer: Offer) -> None:
    """Say which import takes so long."""
    click.echo(f"importing {offer.distribution} ({offer.target}) takes long ...", err=True)


def print_standings(found: Sequence[Standing]) -> None:
    """Print a table, a line a component; on a terminal lines are cut to its width."""
    rows = [("TYPE", "KIND", "DISTRIBUTION", "VERSION", "STATUS", "")]
    for each in found:
        offer, text = each.offer, " ".join(each.text.split())
        rows.append((offer.type, offer.kind, offer.distribution, offer.version, each.status, text))
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for index, line in enumerate(_aligned(rows)):
        if index == 0:
            click.secho(line[:limit], bold=True)
        else:
            click.secho(line[:limit], fg=None if rows[index][4] == "ok" else "red")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_description(of: Description) -> None:
    """Print what is known of a component."""
    from lossforge.plugins.example import Example

    click.secho(f"{of.type} ({of.kind})", bold=True)
    click.echo(f"{of.target}, {of.distribution} {of.version}\n")
    click.echo("\n".join(of.text))
    for group in of.groups:
        click.echo()
        _print_group(group)
    click.secho("\nSource", bold=True)
    click.echo(textwrap.indent("\n".join(of.source) or "not given", "  "))
    if isinstance(of.example, Example):
        click.secho("\nIn a spec", bold=True)
        click.echo(textwrap.indent(of.example.shortest, "  "))
        if of.groups[0].options:
            click.secho("With every option", bold=True)
            click.echo(textwrap.indent(of.example.complete, "  "), nl=False)
    else:
        click.echo(f"\n{of.example}")


def _print_group(group: Group) -> None:
    if group.name:
        click.secho(f"{group.name}: {group.summary}", bold=True)
    else:
        click.secho("Options" if group.options else "No options.", bold=True)
    indent = " " * 4
    for option in group.options:
        default = option.default if option.default == "required" else f"default {option.default}"
        click.echo(f"  {option.name}: {f'{option.values}; {default}'.replace('`', '')}")
        if option.text:
            click.echo(textwrap.fill(option.text, WIDTH, initial_indent=indent, subsequent_indent=indent))


def print_examinations(found: Sequence[Examination], hidden: Sequence[str]) -> None:
    """Print what is wrong with each distribution, and one line where nothing is."""
    from lossforge.registry import PLUGINS_VARIABLE

    for each in found:
        _print_examination(each)
    if hidden:
        click.echo(f"left out by {PLUGINS_VARIABLE}: {', '.join(hidden)}")
    broken = [each.distribution for each in found if not each.is_well]
    if broken:
        click.secho(f"{len(broken)} of {len(found)} distributions have problems: {', '.join(broken)}", fg="red")
    else:
        click.echo("all is well")


def _print_examination(of: Examination) -> None:
    numbers = {"component": len(of.findings)} | ({"preset": len(of.presets)} if of.presets else {})
    count = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for noun, number in numbers.items())
    seconds = sum(finding.seconds or 0 for finding in of.findings)
    state = click.style("ok", fg="green") if of.is_well else click.style("PROBLEMS", fg="red")
    click.echo(f"{click.style(f'{of.distribution} {of.version}', bold=True)}: {count}, {seconds:.2f} s, {state}")
    for problem in of.problems:
        click.echo(f"  {problem.text}\n    mend: {problem.remedy}")
    if of.extras:
        click.echo(f"  extras that are not installed: {', '.join(of.extras)}")
    if of.printed:
        click.echo(f"  prints to standard output while it is imported: {_start(of.printed)}")
    for finding in of.findings:
        if of.distribution != "lossforge" or finding.status != "ok":
            _print_finding(finding)


def _print_finding(finding: Finding) -> None:
    from lossforge.plugins.isolated import SLOW

    offer = finding.offer
    seconds = "" if finding.seconds is None else f", {finding.seconds:.2f} s"
    slow = ", slow to import" if (finding.seconds or 0) > SLOW else ""
    status = finding.status if finding.status == "ok" else click.style(finding.status, fg="red")
    click.echo(f"  {offer.kind} {offer.type} ({offer.target}): {status}{seconds}{slow}")
    if finding.changes:
        click.echo(f"    changes {' and '.join(finding.changes)} while it is imported, which lossforge undoes")
    if finding.status != "ok":
        click.echo(textwrap.indent(finding.traceback.rstrip() or finding.text, "    "))
        if finding.traceback and finding.text.partition(":")[0] not in finding.traceback:  # which ends with the error
            click.echo(f"    {finding.text}")
        click.echo(f"    mend: {finding.remedy}")


def _start(printed: str) -> str:
    line = printed.strip().partition("\n")[0]
    return repr(line if len(line) < 60 else f"{line[:57]}...")
