"""TensorBoard, by event files (https://www.tensorflow.org/tensorboard).

Values are stored in float32. A reader shows each step once, since a session that goes on reads the event files of the
sessions before it and leaves out what they hold.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lossforge.files import write_atomically
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.types import TrackedRun
from lossforge_trackers.library import needed

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN = (".yaml", ".json", ".py")
"""Endings of files that are shown as text."""

SECONDS = 5
"""How long what was told may be in memory alone; what a killed process had not written comes again on resumption."""


class TensorBoard(Tracker):
    """Event files: scalars, and as text the settings and the files of the found loss."""

    type: Literal["tensorboard"] = "tensorboard"
    folder: str | None = Field(
        default=None,
        min_length=1,
        description="where each run gets a folder of its name, so that TensorBoard shows runs side by side; ~ is "
        "expanded; null: tensorboard, in the run directory",
    )

    def open(self, run: TrackedRun) -> TrackerSession:
        """Write to the run's folder, after what is there of earlier sessions."""
        with needed({"tensorboard": "tensorboard"}):
            import tensorboard  # noqa: F401 - what the writer of torch needs
            from torch.utils.tensorboard import SummaryWriter
        folder = self._folder(run)
        steps, texts = _read(folder)
        session = _Session(SummaryWriter(str(folder), flush_secs=SECONDS), steps, texts)
        session.show("settings", _table(run))
        return session

    def _folder(self, run: TrackedRun) -> Path:
        if self.folder is None:
            return run.path / "tensorboard"
        root = Path(self.folder).expanduser().absolute()
        memory = run.memory / "tensorboard.json"
        claimed: dict[str, str] = json.loads(memory.read_bytes()) if memory.exists() else {}
        if str(root) not in claimed:
            claimed[str(root)] = _claim(root, run.path.name)
            write_atomically(memory, json.dumps(claimed, indent=2))
        return root / claimed[str(root)]


def _claim(root: Path, name: str) -> str:
    """Make the folder ``name``, or with the first suffix -2, -3, ... that is free, and return what it is called."""
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        free = name if number == 1 else f"{name}-{number}"
        try:
            (root / free).mkdir()
        except FileExistsError:
            continue
        return free
    raise AssertionError  # the numbers do not end


class _Session(TrackerSession):
    """Writes each step of a name once, and a text where it is new."""

    def __init__(self, writer: SummaryWriter, steps: set[tuple[str, int]], texts: dict[str, tuple[int, str]]) -> None:
        self._writer, self._steps, self._texts = writer, steps, texts

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars; what is not finite is left out."""
        for name, value in values.items():
            tag = _utf8(name)
            if math.isfinite(value) and (tag, step) not in self._steps:
                self._writer.add_scalar(tag, value, step)
                self._steps.add((tag, step))

    def file(self, path: Path) -> None:
        """Show a text; other files are left where they are."""
        if path.suffix in SHOWN:
            self.show(f"file/{path.name}", _indented(path.read_text(encoding="utf-8")))

    def show(self, name: str, markdown: str) -> None:
        """Write a text, one step after the one that it replaces."""
        tag, text = _utf8(name), _utf8(markdown)
        step, before = self._texts.get(tag, (-1, None))
        if text != before:
            self._writer.add_text(tag, text, step + 1)
            self._texts[tag] = (step + 1, text)

    def close(self, finished: bool) -> None:
        """Write what is left."""
        self._writer.close()


def _read(folder: Path) -> tuple[set[tuple[str, int]], dict[str, tuple[int, str]]]:
    """Return what event files hold: steps of scalars, and the last text, with its step, of each name."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator

    if not folder.is_dir():
        return set(), {}
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0, TENSORS: 0}).Reload()
    steps = {(tag, event.step) for tag in events.Tags()[SCALARS] for event in events.Scalars(tag)}
    texts = {}
    for tag in events.Tags()[TENSORS]:
        last = events.Tensors(tag)[-1]
        texts[tag.removesuffix("/text_summary")] = (last.step, last.tensor_proto.string_val[0].decode())
    return steps, texts


def _table(run: TrackedRun) -> str:
    """Return the settings as a table in Markdown."""
    cells = ((_cell(name), _cell(json.dumps(value, ensure_ascii=False))) for name, value in run.settings.items())
    rows = (f"| {name} | {value} |" for name, value in cells)
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _indented(text: str) -> str:
    """Return text as a block of code in Markdown."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _utf8(text: str) -> str:
    """Return text that can be encoded: the name of a folder may hold bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode()
