"""Tables for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_FIRST, _GAP = 8, 2
"""Width that is left to the first column, and between columns."""


class _Table(Table):
    """A table whose first column gives way to the others; where even that makes no room, all of them do."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        others = self.columns[1:]
        sizes = [
            max(Measurement.get(console, options, cell).maximum for cell in (column.header, *column.cells))
            for column in others
        ]
        has_room = _FIRST + sum(size + _GAP for size in sizes) <= options.max_width
        for column in others:  # rich would take all from the one column that wraps, down to nothing
            column.no_wrap = has_room
        return super().__rich_console__(console, options)


def table(title: str, first: str, *others: str) -> Table:
    """Return a table without rows: the first column to the left, the others to the right."""
    made = _Table(
        title=f"\n{title}",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="",
        caption_style="",
        caption_justify="left",
    )
    made.add_column(first, overflow="fold", min_width=_FIRST)
    for head in others:
        made.add_column(Text(head), justify="right", no_wrap=True)
    return made
