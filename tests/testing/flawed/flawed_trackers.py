"""Flawed trackers: each breaks a contract, which its docstring tells; the library they need is ``wave``."""

import json
from typing import Literal

from lossforge.errors import PluginError
from lossforge.interfaces import Tracker, TrackerSession


class LinesSession(TrackerSession):
    """Appends a line of JSON for each value that is new."""

    def __init__(self, path):
        self.path, self.seen = path, {(name, step) for name, step, _ in lines(path)}

    def metrics(self, values, step):
        with self.path.open("a") as file:
            for name, value in values.items():
                if (name, step) not in self.seen:
                    file.write(json.dumps([name, step, value]) + "\n")
                    self.seen.add((name, step))

    def file(self, path):
        pass

    def close(self, finished):
        pass


class ClosedSession(LinesSession):
    """Knows what was told by a file that is written when it closes."""

    def __init__(self, path):
        self.path, self.index = path, path.with_suffix(".index")
        self.seen = {tuple(pair) for pair in json.loads(self.index.read_text())} if self.index.exists() else set()

    def close(self, finished):
        self.index.write_text(json.dumps(sorted(self.seen)))


class Lines(Tracker):
    """Keeps its contracts."""

    type: Literal["lines"] = "lines"

    def open(self, run):
        try:
            import wave  # noqa: F401
        except ModuleNotFoundError as cause:
            raise PluginError("wave is not installed; install it with: pip install wave") from cause
        return LinesSession(run.path / "lines.jsonl")


class Unmindful(Tracker):
    """Repeats what a killed process has told."""

    type: Literal["unmindful"] = "unmindful"

    def open(self, run):
        Lines().open(run)
        return ClosedSession(run.path / "lines.jsonl")


class Early(Tracker):
    """Imports its library when a spec is read."""

    type: Literal["early"] = "early"

    def model_post_init(self, context):
        import wave  # noqa: F401

    def open(self, run):
        return Lines().open(run)


class Terse(Tracker):
    """Does not say how to get its library."""

    type: Literal["terse"] = "terse"

    def open(self, run):
        import wave  # noqa: F401

        return LinesSession(run.path / "lines.jsonl")


def lines(path):
    """Return what is in a file of such lines."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
