"""Bars in terminals that are narrow, or resized while something runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from rich.cells import cell_len
from rich.console import Console

from lossforge.cli.bars import Bars
from lossforge.cli.display import Display
from lossforge.evidence import Arm
from lossforge.training.result import TrainingResult

BEGAN = "a loss of my own in runs/one, seed 0, on cpu"
TRAINED = "trained {}/6  focal(gamma=2), seed 0: test accuracy 50.00%, NLL 1.000"
DONE = "\x1b]0;done\x07"
CHILD = """
import json, pathlib, sys, types
from lossforge.cli.display import Display

new = types.SimpleNamespace
spec = new(
    name="a loss of my own", seed=0, device="cpu", search=new(generations=150, restarts=1), training=new(epochs=12),
    evidence=new(seeds=3, baselines=["cross_entropy"], is_plain=True),
)
arm = new(
    loss="focal(gamma=2)", seed_index=0, restored=False,
    result=new(seconds=None, metrics=new(accuracy=0.5, nll=1.0), diverged_at_epoch=None),
)
steps = {
    "began": lambda display: display.began(spec, pathlib.Path("runs/one")),
    "generation": lambda display, record: display.generation(record, 0.1),
    "epoch": lambda display, n: display.epoch(
        arm.loss, {0: new(epoch=n, train_loss=0.25, train_accuracy=0.75, images_per_second=1234.5)}
    ),
    "trained": lambda display: display.trained(arm),
    "refresh": lambda display: None,
}
lines = map(json.loads, sys.stdin)
for _ in lines:
    with Display() as display:
        for name, *arguments in lines:
            if name == "end":
                break
            steps[name](display, *arguments)
            display._bars.progress.refresh()
            display.console.set_window_title("done")
    print("summary", flush=True)
    display.console.set_window_title("done")
"""


@dataclass
class Row:
    """A row of a terminal, and whether the next one goes on with it."""

    text: str = ""
    goes_on: bool = False


class Terminal:
    """What people see: a terminal with scrollback that knows the codes that bars use.

    Made narrower, it wraps all rows that are now too long (``wraps`` is ``"all"``, as in most terminals), all but the
    line with the cursor (``"others"``, as in VS Code), or none (``"none"``, as in xterm). It cuts the others.
    """

    def __init__(self, width: int, height: int, wraps: str = "all") -> None:
        self.width, self.height, self.wraps = width, height, wraps
        self.rows = [Row()]
        self.x = self.y = self.top = 0
        self.autowrap = True

    @property
    def lines(self) -> list[str]:
        """The lines of scrollback and screen, each with what it was wrapped to."""
        return [text.rstrip() for group in self._groups() if (text := "".join(self.rows[i].text for i in group))]

    def feed(self, text: str) -> None:
        """Do what a program writes."""
        for control, character in re.findall(r"(\x1b\][^\x07]*\x07|\x1b\[[^a-zA-Z]*[a-zA-Z]|[\r\n])|([^\x1b])", text):
            if character:
                self._put(character)
            else:
                self._obey(control)

    def resize(self, width: int, height: int) -> None:
        """Become wider, narrower, taller or shorter."""
        while self.y < len(self.rows) - 1 and not self.rows[-1].text:
            self.rows.pop()
        rows: list[Row] = []
        for group in self._groups():
            start, here = len(rows), self.y in group
            if self.wraps == "all" or (self.wraps == "others" and not here):
                text = "".join(self.rows[i].text for i in group)
                pieces = [text[at : at + width] for at in range(0, len(text), width)] or [""]
                rows += [Row(piece, goes_on=True) for piece in pieces[:-1]] + [Row(pieces[-1])]
                offset = self.x + (self.y - group[0]) * self.width
                place = min(offset // width, len(pieces) - 1)
                new = start + place, min(offset - place * width, width)
            else:
                rows += [Row(self.rows[i].text[:width], self.rows[i].goes_on) for i in group]
                new = start + self.y - group[0], min(self.x, width)
            if here:
                cursor = new
        self.rows, (self.y, self.x), self.width, self.height = rows, cursor, width, height
        self.top = max(0, len(rows) - height)

    def _groups(self) -> list[range]:
        ends = [i + 1 for i, row in enumerate(self.rows) if not row.goes_on]
        return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def _put(self, character: str) -> None:
        if self.x == self.width and self.autowrap:
            self.rows[self.y].goes_on = True
            self._down()
            self.x = 0
        self.x = min(self.x, self.width - 1)
        text = self.rows[self.y].text.ljust(self.x)
        self.rows[self.y].text = text[: self.x] + character + text[self.x + 1 :]
        self.x += 1

    def _down(self) -> None:
        self.y += 1
        if self.y == len(self.rows):
            self.rows.append(Row())
        self.top = max(self.top, self.y - self.height + 1)

    def _obey(self, control: str) -> None:
        if control == "\r":
            self.x = 0
        elif control == "\n":
            self._down()
        elif control in ("\x1b[?7h", "\x1b[?7l"):
            self.autowrap = control.endswith("h")
        elif control == "\x1b[1A":
            self.y = max(self.y - 1, self.top)
        elif control == "\x1b[C":
            self.x = min(self.x + 1, self.width - 1)
        elif control == "\x1b[2K":
            self.rows[self.y] = Row()
        elif control == "\x1b[J" and (self.x, self.y) == (0, self.top):  # some keep a cleared screen as scrollback
            self.rows.append(Row())
            self.y = self.top = len(self.rows) - 1
        elif control == "\x1b[J":
            self.rows[self.y :] = [Row(self.rows[self.y].text[: self.x])]
        elif not (control.endswith("m") or control in (DONE, "\x1b[?25l", "\x1b[?25h")):
            raise ValueError(f"unknown: {control!r}")


class Program:
    """A process with a terminal of its own that shows one display after another."""

    def __init__(self, **variables: str) -> None:
        pty = pytest.importorskip("pty")
        self._read = b""
        self._ours, theirs = pty.openpty()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TTY_", "FORCE_"))}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            inherited.pop(name, None)
        command = [sys.executable, "-W", "error", "-c", CHILD]
        environment = {**inherited, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **variables}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment, text=True
        )
        os.close(theirs)

    def do(self, step: str, *arguments: object) -> None:
        self._child.stdin.write(json.dumps([step, *arguments]) + "\n")
        self._child.stdin.flush()

    def wrote(self) -> str:
        """Wait for the end of a step; return what it wrote."""
        while DONE.encode() not in self._read:
            assert select.select([self._ours], [], [], 60)[0], f"nothing more after {self._read!r}"
            try:
                self._read += os.read(self._ours, 1 << 16)
            except OSError as error:  # the display ended, and says why
                raise AssertionError(self._read.decode()) from error
        written, self._read = self._read.split(DONE.encode(), 1)
        return written.decode()

    def tell_size(self, terminal: Terminal) -> None:
        import fcntl
        import termios

        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", terminal.height, terminal.width, 0, 0))

    def close(self) -> None:
        """Let the process end, and end it where a test failed and it goes on."""
        self._child.stdin.close()
        try:
            assert self._child.wait(60) == 0
        finally:
            self._child.kill()
            self._child.wait()
            os.close(self._ours)


class Session:
    """A display of a program, and the terminal it is shown in."""

    def __init__(self, program: Program, terminal: Terminal) -> None:
        self.program, self.terminal, self.has_ended = program, terminal, False
        program.tell_size(terminal)
        program.do("start")

    def do(self, step: str, *arguments: object) -> None:
        """Do a step there, and wait until the terminal shows what comes of it."""
        self.program.do(step, *arguments)
        self.terminal.feed(self.program.wrote())

    def resize(self, width: int, height: int) -> None:
        """Resize, then let the display draw."""
        self.terminal.resize(width, height)
        self.program.tell_size(self.terminal)
        self.do("refresh")

    def end(self) -> None:
        """Let the display end, and the program print."""
        self.has_ended = True
        self.do("end")


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with contextlib.closing(Program()) as program:
        yield program


@pytest.fixture
def start(program) -> Iterator[Callable[[Terminal], Session]]:
    sessions: list[Session] = []

    def started(terminal: Terminal) -> Session:
        sessions.append(Session(program, terminal))
        return sessions[0]

    yield started
    if not sessions[0].has_ended:
        sessions[0].end()


def record(generation: int) -> dict:
    return {
        "generation": generation - 1,
        "num_solutions": 8,
        "num_feasible": 4,
        "best_fitness": 0.0125,
        "pass_rates": {},
        "restart": 0,
        "stopped": None,
    }


def assert_only(terminal: Terminal, lines: list[str], bar: str | None = None) -> None:
    """The lines, each perhaps cut, then the bar in one row, and nothing else."""
    shown = terminal.lines
    assert [line[:16] for line in shown[: len(lines)]] == [line[:16] for line in lines]
    assert len(shown) == len(lines) + (bar is not None), shown
    if bar is not None:
        assert bar in terminal.rows[-1].text
        assert shown[-1] == terminal.rows[-1].text.rstrip()


every_terminal = pytest.mark.parametrize("wraps", ["all", "others", "none"])


class TestResized:
    @every_terminal
    def test_there_is_one_bar_in_one_line_and_nothing_left_over(self, start, wraps):
        session = start(terminal := Terminal(120, 24, wraps))
        session.do("began")
        session.do("generation", record(1))
        assert_only(terminal, [BEGAN], "search ━━━━━━━━━━━━   1/150 best fitness 0.0125, gates 50% ETA")
        for done, width in enumerate((60, 30, 60, 120, 20, 70, 120), 2):
            session.resize(width, 24)
            assert_only(terminal, [BEGAN], f" {done - 1}/150")
            session.do("generation", record(done))
            assert_only(terminal, [BEGAN], f" {done}/150")
        assert "ETA" in terminal.lines[-1]

    @every_terminal
    def test_trainings_in_a_small_terminal_with_scrollback(self, start, wraps):
        session = start(terminal := Terminal(80, 4, wraps))
        session.do("began")
        lines = [BEGAN]
        for number, size in enumerate([(40, 4), (20, 4), (20, 3), (80, 3), (30, 3), (80, 24)], 1):
            session.do("epoch", number)
            session.resize(*size)
            assert_only(terminal, lines, f" {number}/12")
            session.do("trained")
            lines.append(TRAINED.format(number))
            assert_only(terminal, lines)

    @every_terminal
    def test_what_is_printed_next_comes_right_after_the_last_line(self, start, wraps):
        session = start(terminal := Terminal(80, 24, wraps))
        session.do("began")
        session.do("generation", record(1))
        terminal.resize(30, 24)
        session.end()
        assert_only(terminal, [BEGAN, "summary"])

    def test_where_columns_is_set_and_no_longer_true(self):
        with contextlib.closing(Program(COLUMNS="120")) as program:
            session = Session(program, terminal := Terminal(120, 24))
            session.do("began")
            session.do("generation", record(1))
            session.resize(60, 24)
        assert terminal.lines == [BEGAN, "search   1/150 best fitness 0.0125, gates 50% ETA --:--"]

    def test_after_a_look_at_the_size_and_before_drawing(self):
        terminal = Terminal(30, 24)
        bars = Bars(console(120))
        with bars.progress:
            for done in (1, 2):
                bars.show("search", 150, done, "best fitness 0.0125")
                bars.progress.refresh()
            terminal.feed(written(bars.progress.console))
        assert_only(terminal, [], "search ━━━━━━━━━━━━   2/150")


class TestDrawn:
    def test_several_bars_at_the_top_of_the_screen(self):
        bars = Bars(console(80))
        with bars.progress:
            for done in (1, 2):
                for name in ("one", "two", "three"):
                    bars.show(name, 12, done, "loss 0.25")
                    bars.progress.refresh()
            drawn = written(bars.progress.console)
        terminal = Terminal(80, 24)
        terminal.feed(drawn)
        assert_only(terminal, ["one   ━━╺━━━━━━━━━  2/12", "two   ━━╺━━━━━━━━━  2/12"], "three ━━╺━━━━━━━━━  2/12")
        terminal.feed(written(bars.progress.console).removeprefix(drawn))
        assert terminal.lines == []

    def test_as_many_bars_as_the_screen_has_rows(self):
        bars = Bars(console(80, height=2))
        with bars.progress:
            for done in (1, 2):
                for name in ("one", "two", "three"):
                    bars.show(name, 12, done, "loss 0.25")
                bars.progress.refresh()
            terminal = Terminal(80, 2)
            terminal.feed(written(bars.progress.console))
        assert_only(terminal, ["one   ━━╺━━━━━━━━━  2/12"], "two   ━━╺━━━━━━━━━  2/12")

    def test_nothing_where_the_cursor_cannot_be_moved(self, monkeypatch):
        monkeypatch.setenv("TERM", "dumb")
        display = Display(Console(file=io.StringIO(), force_terminal=True, width=80))
        with display:
            display.trained(Arm("tiny", 0, 0, TrainingResult(None, (), 3, seconds=1.0), False))
        assert written(display.console) == "trained 1/0  tiny, seed 0: diverged in epoch 3\r\n"


class TestNarrow:
    @pytest.mark.parametrize(
        ("width", "search", "training"),
        [
            (
                80,
                "search ━━━━━━╺━━━━━  75/150 best fitness 0.001957, gates 54% ETA --:--",
                "cross_entropy, seed 2 ━━━━━━━━━╺━━  9/12 loss 0.123, accuracy 98.1% ETA --:--",
            ),
            (
                60,
                "search  75/150 best fitness 0.001957, gates 54% ETA --:--",
                "cross_entropy, seed 2  9/12 loss 0.123, accuracy … ETA --:--",
            ),
            (30, "search  75/150 best fitness 0…", "cross_entr…  9/12 loss 0.123,…"),
            (20, "search  75/150", "cross_entropy…  9/12"),
        ],
    )
    def test_what_is_left(self, width, search, training):
        assert layout(width, "search", 150, 75, "best fitness 0.001957, gates 54%") == search
        assert layout(width, "cross_entropy, seed 2", 12, 9, "loss 0.123, accuracy 98.1%") == training

    @pytest.mark.parametrize("name", ["search", "label_smoothing(smoothing=0.1), seed 2", "two words" * 20, "長い名前"])
    def test_no_width_gives_a_second_line(self, name):
        for width in range(1, 160):
            line = layout(width, name, 150, 75, "best fitness 0.001957, gates 54%")
            assert "\n" not in line
            assert cell_len(line) <= width


def layout(width: int, *shown: str | int) -> str:
    bars = Bars(recording := console(width))
    bars.show(*shown)
    recording.print(bars)
    text = recording.export_text()
    assert text.endswith("\n")
    return text[:-1].rstrip(" ")


def console(width: int, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        width=width,
        height=height,
        record=True,
        legacy_windows=False,
        _environ={},
    )


def written(console: Console) -> str:
    """What a program wrote, as a terminal gets it."""
    return console.file.getvalue().replace("\n", "\r\n")
