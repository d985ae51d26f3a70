"""TensorBoard's own reader shows what was told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lossforge.testing import TrackerKit
from lossforge.types import TrackedRun
from lossforge_trackers import TensorBoard


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = read(folder)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def texts(folder: Path, name: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in read(folder).Tensors(f"{name}/text_summary")]


class TestInTheRunDirectory(TrackerKit):
    library = "tensorboard"

    @pytest.fixture
    def component(self):
        return TensorBoard()

    def read(self, component, run):
        return scalars(run.path / "tensorboard")


class TestInOneFolder(TrackerKit):
    """With several runs."""

    library = "tensorboard"

    @pytest.fixture
    def component(self, tmp_path):
        return TensorBoard(folder=str(tmp_path / "all runs"))

    @pytest.fixture
    def places(self, tmp_path):
        return (tmp_path / "all runs",)

    def read(self, component, run):
        claimed = json.loads((run.memory / "tensorboard.json").read_text())
        return scalars(Path(component.folder) / claimed[component.folder])


@pytest.fixture
def run(tmp_path) -> TrackedRun:
    run = TrackedRun("edl", tmp_path / "run", {"name": "edl", "search.a|b": "x\\y"}, resumed=False)
    run.memory.mkdir(parents=True)
    return run


def test_settings_are_a_table_and_files_are_texts(run):
    for name, content in {"loss.py": "class Loss:\n    pass\n", "loss.safetensors": "\0", "report.html": "<p>"}.items():
        (run.path / name).write_text(content)
    session = TensorBoard().open(run)
    for name in ("loss.py", "loss.safetensors", "report.html"):
        session.file(run.path / name)
    session.close(finished=True)
    folder = run.path / "tensorboard"
    table = '| setting | value |\n|---|---|\n| name | "edl" |\n| search.a\\|b | "x\\\\\\\\y" |'
    assert texts(folder, "settings") == [table]
    assert texts(folder, "file/loss.py") == ["    class Loss:\n        pass"]
    assert set(read(folder).Tags()["tensors"]) == {"settings/text_summary", "file/loss.py/text_summary"}


def test_a_text_is_written_again_only_where_it_is_another(run):
    for content in ("a", "a", "b", "b"):
        (run.path / "comparison.json").write_text(content)
        session = TensorBoard().open(run)
        session.file(run.path / "comparison.json")
        session.close(finished=True)
    assert texts(run.path / "tensorboard", "file/comparison.json") == ["    a", "    b"]


def test_a_new_run_in_an_old_place_gets_a_folder_of_its_own(run, tmp_path):
    tracker = TensorBoard(folder=str(tmp_path / "all"))
    tracker.open(run).close(finished=True)
    (run.memory / "tensorboard.json").unlink()  # as where the run directory was removed, and a run begun there
    tracker.open(run).close(finished=True)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["run", "run-2"]


def test_a_file_that_ends_within_an_event_is_read_as_far_as_it_goes(run):
    session = TensorBoard().open(run)
    for step in range(5):
        session.metrics({"search/best_fitness": float(step)}, step)
    session.close(finished=False)
    (events,) = (run.path / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-10])
    again = TensorBoard().open(run)
    for step in range(6):
        again.metrics({"search/best_fitness": float(step)}, step)
    again.close(finished=True)
    shown = scalars(run.path / "tensorboard")["search/best_fitness"]
    assert shown == [(step, float(step)) for step in range(6)]
