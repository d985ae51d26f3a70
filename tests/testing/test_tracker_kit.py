"""A tracker that breaks a contract fails the check of that contract, with a message that says which."""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
from pathlib import Path
from typing import Literal

import pytest

from lossforge.interfaces import Tracker, TrackerSession
from lossforge.testing import TrackerKit
from lossforge.testing.trackers import begun


class Lines(Tracker):
    """A line of JSON for each value, with a flaw perhaps."""

    type: Literal["lines"] = "lines"
    flaw: str = ""

    def open(self, run):
        if self.flaw == "no session":
            return object()
        if self.flaw == "choosy" and len(run.settings) > 500:
            raise ValueError("too many settings")
        if self.flaw == "homely":
            (Path.home() / "lines.jsonl").touch()
        if self.flaw == "littering":
            tempfile.mkstemp()
        if self.flaw == "setting":
            run.settings.clear()
        path = run.path / "lines.jsonl"
        if self.flaw == "astray":
            Path("lines.jsonl").touch()
        if self.flaw == "shared":
            path = run.path.parents[1] / "lines.jsonl"
        return LinesSession(self, path)


class LinesSession(TrackerSession):
    def __init__(self, tracker: Lines, path: Path) -> None:
        self._flaw, self._path = tracker.flaw, path
        path.touch()
        self._seen = set() if self._flaw == "repeating" else {(name, step) for name, step, _ in lines(path)}

    def metrics(self, values, step):
        if self._flaw == "leaving out" and any(value != value for value in values.values()):
            return
        if self._flaw == "moving":
            os.chdir("/")
        if self._flaw == "printing":
            print("here")
        if self._flaw == "drawing":
            random.random()
        with self._path.open("a") as file:
            for name, value in values.items():
                shown = re.sub(r"\W", "_", name) if self._flaw == "merging" else name
                if self._flaw == "inexact":
                    value = round(value, 1)
                if self._flaw == "strict" and not -1e9 < value < 1e9:
                    raise ValueError("not finite")
                if (shown, step) not in self._seen:
                    file.write(json.dumps([shown, step, value]) + "\n")
                    self._seen.add((shown, step))
        if self._flaw == "clearing":
            values.clear()

    def file(self, path):
        if self._flaw == "editing":
            path.write_bytes(b"")

    def close(self, finished):
        if self._flaw == "once" and finished:
            self._path.unlink()


def lines(path: Path) -> list[tuple[str, int, float]]:
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


class LinesKit(TrackerKit):
    def read(self, component, run):
        path = run.path.parents[1] if component.flaw == "shared" else run.path
        shown: dict[str, list[tuple[int, float]]] = {}
        for name, step, value in lines(path / "lines.jsonl"):
            shown.setdefault(name, []).append((step, value))
        return shown

    def shown(self, name):
        return name


class MergingKit(LinesKit):
    def shown(self, name):
        return re.sub(r"\W", "_", name)


FLAWS = [
    ("no session", "shown", r"open\(\) returned a object"),
    ("inexact", "shown", r"search/best_fitness: \[0.5, 0.2, 0.0\] is shown, \[0.5, 0.25, 1e-30\] was told"),
    ("once", "shown", r"steps \[\] are shown of 3 told"),
    ("repeating", "goes_on", r"steps \[0, 0, 1, 1, 2, 3\] are shown of 4 told"),
    ("repeating", "again", r"steps \[0, 0, 1, 1\] are shown of 2 told"),
    ("shared", "side_by_side", r"steps \[0, 0, 1, 1, 2, 2\] are shown of 3 told"),
    ("choosy", "settings", "too many settings"),
    ("merging", "names", "two metrics have one name"),
    ("strict", "finite", "not finite"),
    ("leaving out", "finite", r"search/feasible: steps \[1, 2, 3\] are shown of 4 told"),
    ("editing", "files", r"file\(\) changed spec.yaml"),
    ("editing", "elsewhere", "a file of the run was changed"),
    ("astray", "elsewhere", r"written elsewhere: .*lines.jsonl"),
    ("homely", "elsewhere", r"written elsewhere: .*HOME/lines.jsonl"),
    ("littering", "elsewhere", r"written elsewhere: .*TMPDIR/"),
    ("clearing", "alone", r"metrics\(\) changed the values"),
    ("setting", "alone", "the settings were changed"),
    ("moving", "alone", "the current folder is /, it was"),
    ("printing", "alone", "printed to standard output, which is for results: here"),
    ("drawing", "alone", "a tracker used the global random state of random"),
]
CHECKS = {
    "shown": "test_what_is_told_is_shown",
    "goes_on": "test_a_session_that_goes_on_shows_each_step_once",
    "again": "test_a_finished_run_can_be_told_again",
    "side_by_side": "test_runs_side_by_side_do_not_mix",
    "settings": "test_settings_may_be_anything",
    "names": "test_names_may_be_anything_and_stay_apart",
    "finite": "test_a_value_need_not_be_finite",
    "files": "test_files_are_taken_and_left_as_they_are",
    "elsewhere": "test_nothing_is_written_elsewhere",
    "alone": "test_the_process_is_left_as_it_is",
}
MORE = {
    "goes_on": ("is_killed",),
    "side_by_side": ("tmp_path",),
    "elsewhere": ("tmp_path", "places", "monkeypatch"),
    "alone": ("capfd",),
}


def check(name: str, flaw: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    kit = MergingKit() if flaw == "merging" else LinesKit()
    (folder / "current").mkdir(parents=True)
    monkeypatch.chdir(folder / "current")
    given = {"tmp_path": folder, "places": (), "is_killed": False, "monkeypatch": monkeypatch, "capfd": capfd}
    more = {argument: given[argument] for argument in MORE.get(name, ())}
    getattr(kit, CHECKS[name])(component=Lines(flaw=flaw), run=begun(folder / "runs" / "kit"), **more)


def test_a_sound_tracker_passes(tmp_path, monkeypatch, capfd):
    for name in CHECKS:
        check(name, "", tmp_path / name, monkeypatch, capfd)


@pytest.mark.parametrize(("flaw", "name", "message"), FLAWS, ids=[flaw for flaw, *_ in FLAWS])
def test_a_flaw_is_told(flaw, name, message, tmp_path, monkeypatch, capfd):
    with pytest.raises((AssertionError, ValueError), match=message):
        check(name, flaw, tmp_path, monkeypatch, capfd)
