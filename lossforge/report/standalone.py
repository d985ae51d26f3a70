"""A chart as an SVG file of its own: title, legend and note around it, colours for light and dark."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from markupsafe import Markup, escape

from lossforge.report.drawing import Line

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1d21",
    "muted": "#5a606a",
    "rule": "#e3e5e9",
    "series-0": "#1a5fb4",
    "series-1": "#b3520b",
}
DARK = {
    "paper": "#15171a",
    "ink": "#e7e9ec",
    "muted": "#a3a9b3",
    "rule": "#31353c",
    "series-0": "#7fb2f5",
    "series-1": "#f0a262",
}
"""Those of the report."""

MARGIN, LINE_HEIGHT, NOTE_HEIGHT = 14, 16, 13
LETTERS = 67
"""Letters of a line of the note."""


def standalone(
    title: str, chart: Markup, size: tuple[float, float], legend: Sequence[Line], note: str, description: str
) -> str:
    """Return a whole SVG file.

    Args:
        title: shown above.
        chart: an ``svg`` element with a view box, in variables of the page for colours.
        size: width and height of the chart in units.
        legend: lines to be told apart, a row each.
        note: shown below.
        description: for those who do not see it.
    """
    width = size[0] + 2 * MARGIN
    top: float = MARGIN + 12
    parts = [f'<text class="title" x="{MARGIN}" y="{top}">{escape(title)}</text>']
    for line in legend:
        top += LINE_HEIGHT
        dashes = f' stroke-dasharray="{" ".join(map(str, line.dashes))}"' if line.dashes else ""
        swatch = f'<path d="M{MARGIN} {top - 4}h24" stroke="var(--{line.variable})"{dashes}/>'
        parts.append(f'{swatch}<text x="{MARGIN + 31}" y="{top}">{escape(line.label)}</text>')
    top += 12
    placed = f'<svg x="{MARGIN}" y="{top}" width="{size[0]:g}" height="{size[1]:g}" overflow="visible" '
    parts.append(str(chart).replace("<svg ", placed, 1))
    top += size[1] + 4
    for text in textwrap.wrap(note, LETTERS):
        top += NOTE_HEIGHT
        parts.append(f'<text class="note" x="{MARGIN}" y="{top:g}">{escape(text)}</text>')
    height = top + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{1.6 * width:g}" '
        f'height="{1.6 * height:g}" role="img" aria-label="{escape(description)}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", '<rect width="100%" height="100%"/>', *parts, "</svg>"]) + "\n"


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


_STYLE = (
    f"svg {{ {_variables(LIGHT)} }} "
    f"@media (prefers-color-scheme: dark) {{ svg {{ {_variables(DARK)} }} }} "
    "svg { font-family: system-ui, sans-serif; } rect { fill: var(--paper); } path { fill: none; stroke-width: 1.6; } "
    "text { font-size: 10px; fill: var(--ink); } .title { font-size: 12px; font-weight: 600; } "
    ".note { fill: var(--muted); }"
)
