"""Bars that stay one line each in a terminal that is resized."""

from __future__ import annotations

import contextlib
import os

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import ControlType, Segment, Segments
from rich.table import Column, Table
from rich.text import Text

REFRESHES_PER_SECOND = 10
"""How often bars are drawn while nothing happens: how soon a resize is made good."""

# The list in each is what rich does instead on an old Windows console, which knows no escape codes.
# The screen is erased from the second column on, as some terminals take erasing all of it for clearing, and put what
# was there into the scrollback.
_ERASE = Segment("\r\x1b[2K\x1b[C\x1b[J\r", None, [(ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2)])
_WRAP_OFF = Segment("\x1b[?7l", None, [(ControlType.CARRIAGE_RETURN,)])
_WRAP_ON = Segment("\x1b[?7h", None, [(ControlType.CARRIAGE_RETURN,)])


class Bars:
    """A bar for each thing under way."""

    def __init__(self, console: Console) -> None:
        # By the terminal's width, not by what fits just now: columns that come and go with the text would flicker.
        self._least_widths: dict[ProgressColumn, int] = {
            _Shortened("{task.description}", markup=False): 0,
            BarColumn(bar_width=12): 70,
            MofNCompleteColumn(table_column=Column(no_wrap=True)): 0,
            _Shortened("{task.fields[text]}", markup=False): 30,
            TextColumn("ETA"): 40,
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)): 40,
        }
        self._tasks: dict[str, TaskID] = {}
        self.progress = Progress(*self._least_widths, console=console)
        self.progress.live = _FromTheStart(
            self, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True
        )

    def show(self, name: str, total: int, done: float, text: str | None = None) -> None:
        """Show how far a thing is; its bar appears when it is first shown. None: the text stays as it is."""
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=total, text="")
        self.progress.update(self._tasks[name], completed=done)
        if text is not None:
            self.progress.update(self._tasks[name], text=text)

    def finish(self, name: str) -> None:
        """Take a thing's bar away, if it has one."""
        if name in self._tasks:
            self.progress.remove_task(self._tasks.pop(name))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [column for column, least in self._least_widths.items() if options.max_width >= least]
        table = Table.grid(*(column.get_table_column().copy() for column in columns), padding=(0, 1))
        for task in self.progress.tasks:
            table.add_row(*(column(task) for column in columns))
        yield table


class _Shortened(TextColumn):
    """Text that is cut where the terminal is narrow."""

    def get_table_column(self) -> Column:
        return Column()  # one that may wrap, as a table makes these narrower before any other

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap = True
        return text


class _FromTheStart(Live):
    """Leaves the cursor at the start of what it draws, and erases from there to the end of the screen.

    Rich leaves it at the end, and goes up by as many rows as it drew. In a terminal made narrower since then that is
    too few or just right: terminals differ in whether they wrap what has become too long. In either, the start is where
    the cursor was left, and all that was drawn comes after it.
    """

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        drawn = [self] if self.is_started else []
        return [Segments([_ERASE]), *renderables, *drawn]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with contextlib.suppress(OSError, ValueError):  # where COLUMNS is set, rich does not see a resize
            columns = os.get_terminal_size(console.file.fileno()).columns
            options = options.update_width(min(options.max_width, columns or options.max_width))
        lines = console.render_lines(self.renderable, options, pad=False)[: options.size.height]
        yield _WRAP_OFF  # the terminal may have become narrower just now
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
        yield _WRAP_ON
        yield Control(ControlType.CARRIAGE_RETURN, *[(ControlType.CURSOR_UP, 1)] * (len(lines) - 1))
