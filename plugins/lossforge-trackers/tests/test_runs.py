"""Runs that are tracked: interrupted, gone on with, beside a tracker that fails, and by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lossforge
from lossforge.cli import main
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.observer import Observer
from lossforge.spec import RunSpec
from lossforge_trackers.names import key

EXAMPLE = Path(__file__).parents[1] / "examples" / "tracked.yaml"
STAGES = ("open", "metrics", "file", "close")
pytestmark = pytest.mark.filterwarnings("default")  # SQLAlchemy's, of what MLflow does with it


class Broken(Tracker):
    """Fails at one stage."""

    type: Literal["broken"] = "broken"
    stage: str = "open"

    def open(self, run):
        if self.stage == "open":
            raise ConnectionError("nobody answers")
        return BrokenSession(self.stage)


class BrokenSession(TrackerSession):
    def __init__(self, stage: str) -> None:
        self._stage = stage

    def _reach(self, stage: str) -> None:
        if stage == self._stage:
            raise ConnectionError("nobody answers")

    def metrics(self, values, step):
        self._reach("metrics")

    def file(self, path):
        self._reach("file")

    def close(self, finished):
        self._reach("close")


class StopsAt(Observer):
    def __init__(self, generation: int | None = None, epoch: int | None = None) -> None:
        self._generation, self._epoch = generation, epoch

    def generation(self, record, seconds):
        if record["generation"] == self._generation:
            raise KeyboardInterrupt

    def epoch(self, loss, records):
        if self._epoch in {record.epoch for record in records.values()}:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_database(tmp_path, database, monkeypatch):
    (tmp_path / "runs").mkdir()
    shutil.copy(database, tmp_path / "runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)


def in_tensorboard(run: Path) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: series((each.step, each.value) for each in events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def in_mlflow(run: Path) -> tuple[str, dict[str, dict[int, float]]]:
    client = MlflowClient("sqlite:///runs/mlflow.db")
    (run_id,) = json.loads((run / "trackers" / "mlflow.json").read_text()).values()
    found = client.get_run(run_id)
    histories = {name: client.get_metric_history(run_id, name) for name in found.data.metrics}
    return found.info.status, {
        name: series((each.step, each.value) for each in history) for name, history in histories.items()
    }


def series(points) -> dict[int, float]:
    """Return values by step, of which each is there once."""
    points = list(points)
    assert len({step for step, _ in points}) == len(points)
    return dict(points)


def results(run: Path) -> dict[str, bytes]:
    files = [run / "history.jsonl", *(run / "artifact").iterdir(), *(run / "training").rglob("*")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


def test_a_run_is_whole_in_both_however_often_it_was_interrupted():
    spec = RunSpec.from_yaml(EXAMPLE)
    with pytest.raises(KeyboardInterrupt):
        lossforge.run(spec, "runs/tracked", StopsAt(generation=4))
    assert in_mlflow(Path("runs/tracked"))[0] == "KILLED"
    with pytest.raises(KeyboardInterrupt):
        lossforge.resume("runs/tracked", observer=StopsAt(epoch=1))
    comparison = lossforge.resume("runs/tracked").comparison
    lossforge.run(spec.model_copy(update={"trackers": ()}), "alone")
    assert results(Path("runs/tracked")) == results(Path("alone"))

    status, told = in_mlflow(Path("runs/tracked"))
    assert status == "FINISHED"
    records = [json.loads(line) for line in Path("alone/history.jsonl").read_text().splitlines()]
    fitness = {each["generation"]: each["best_fitness"] for each in records if each["best_fitness"] is not None}
    assert told["search/best_fitness"] == fitness != {}
    for loss, summary in comparison.losses.items():
        for seed, result in enumerate(summary.results):
            epochs = {each.epoch: each.train_loss for each in result.epochs}
            assert told[f"train/{loss}/seed-{seed}/train_loss"] == epochs
            assert told[f"train/{loss}/seed-{seed}/test_nll"] == {2: result.metrics.nll}
        assert told[f"result/{loss}/accuracy_mean"] == {2: summary.metrics["accuracy"].sample.mean}
    shown = in_tensorboard(Path("runs/tracked"))
    assert {key(name): pytest.approx(points, rel=1e-6) for name, points in shown.items()} == told
    assert len(MlflowClient("sqlite:///runs/mlflow.db").search_experiments()) == 2  # MLflow's own, and ours


@pytest.mark.parametrize("stage", STAGES)
def test_a_tracker_that_fails_costs_the_others_nothing(stage, caplog):
    spec = RunSpec.from_yaml(EXAMPLE, ["training=null", "evidence=null", "search.generations=3"])
    trackers = (spec.trackers[0], Broken(stage=stage), spec.trackers[1])
    lossforge.run(spec.model_copy(update={"trackers": trackers}), "runs/tracked")
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warning.startswith("tracker 'broken' failed at ")
    assert warning.endswith("ConnectionError: nobody answers; the run goes on without it")
    assert warning in Path("runs/tracked/run.log").read_text()
    status, told = in_mlflow(Path("runs/tracked"))
    assert (status, list(told["search/feasible"])) == ("FINISHED", [0, 1, 2])
    assert set(in_tensorboard(Path("runs/tracked"))) == set(told)


def test_runs_side_by_side_do_not_mix():
    """One is begun while another is under way, as from a callback."""
    spec = RunSpec.from_yaml(EXAMPLE, ["training=null", "evidence=null", "search.generations=3"])

    class RunsAnother(Observer):
        def generation(self, record, seconds):
            if record["generation"] == 1:
                lossforge.run(spec.model_copy(update={"seed": 1}), "runs/other")

    lossforge.run(spec, "runs/tracked", RunsAnother())
    for run in (Path("runs/tracked"), Path("runs/other")):
        records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        medians = {each["generation"]: each["median_fitness"] for each in records}
        assert in_mlflow(run)[1]["search/median_fitness"] == medians
        assert in_tensorboard(run)["search/median_fitness"] == pytest.approx(medians, rel=1e-6)
    assert in_mlflow(Path("runs/tracked")) != in_mlflow(Path("runs/other"))


@pytest.mark.parametrize("tracker", ["tensorboard", "{type: mlflow, tracking_uri: 'nowhere://at.all'}"])
def test_the_command_line_tells_of_a_failure_once_and_is_done(tracker, capfd):
    """MLflow knows no such address; TensorBoard works."""
    dataset = "{type: fake, num_train: 32, num_test: 16, image_shape: [1, 8, 8], num_classes: 4}"
    quick = ["--epochs", "1", "--batch-size", "16", "--set", "crop_padding=1", "--set", "precision=float32"]
    arguments = ["--loss", "{type: gce, q: 0.5}", "--dataset", dataset, "--model", "resnet8", *quick]
    with pytest.raises(SystemExit) as left:
        main.main(["train", *arguments, "--tracker", tracker, "--out", "out"], prog_name="lossforge")
    assert not left.value.code
    told = capfd.readouterr().err
    failed = told.count("warning: tracker 'mlflow' failed at opening it")
    if tracker == "tensorboard":
        assert failed == 0
        assert list(in_tensorboard(Path("out"))["train/gce(q=0.5)/seed-0/train_loss"]) == [1]
    else:
        assert failed == 1, told
        assert "the run goes on without it" in told
        assert not Path("mlruns").exists()
