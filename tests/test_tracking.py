"""What trackers are told of runs and trainings, and what becomes of a run whose tracker fails."""

from __future__ import annotations

import json
import logging
import os
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

import lossforge
from lossforge import registry
from lossforge.errors import NoFeasibleSolutionError, SpecError
from lossforge.evidence import TrainingObserver
from lossforge.evidence.tracked import TrackedTrainings
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.observer import Observer
from lossforge.spec import RunSpec, spec_from_text
from lossforge.tracked import Tracked
from lossforge.tracking import tracking
from lossforge.training.datasets import FakeImages

SEARCH = """\
name: tiny
device: cpu
search:
  parameterization: {type: classwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_size: 6, num_parents: 2}
  mutation: gaussian
  generations: 3
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 2
  references: []
  gates: {weight_band: null, signs: null}
"""
QUICK = {
    "dataset": FakeImages(num_train=32, num_test=20, image_shape=(1, 8, 8), num_classes=4),
    "model": "resnet8",
    "epochs": 2,
    "batch_size": 16,
    "crop_padding": 1,
    "precision": "float32",
    "replication": "in_turn",
}
STAGES = ("open", "metrics", "file", "close")
SESSIONS: list[tuple[str, list[tuple[Any, ...]]]] = []
"""Names of the trackers opened in this test, and what each session was told."""


class Session(TrackerSession):
    def __init__(self, told: list[tuple[Any, ...]], fails_at: str, error: BaseException) -> None:
        self._told, self._fails_at, self._error = told, fails_at, error

    def note(self, *event: Any) -> None:
        self._told.append(event)
        if event[0] == self._fails_at:
            raise self._error

    def metrics(self, values, step):
        assert all(type(value) is float for value in values.values())
        self.note("metrics", step, dict(values))

    def file(self, path):
        assert path.is_absolute()
        self.note("file", path.name, path.read_bytes())

    def close(self, finished):
        self.note("close", finished)


class Notes(Tracker):
    """Writes down what it is told, and may fail."""

    type: Literal["notes"] = "notes"
    fails_at: str = ""
    error: str = "ValueError"

    def open(self, run):
        told: list[tuple[Any, ...]] = []
        SESSIONS.append((self.fails_at, told))
        session = Session(told, self.fails_at, raised(self.error))
        session.note("open", run)
        return session


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raised(name: str) -> BaseException:
    if name == "wrapped interrupt":
        error = RuntimeError("the connection broke")
        error.__cause__ = KeyboardInterrupt()
        return error
    if name == "replaced interrupt":
        error = RuntimeError("the connection broke")
        error.__context__ = KeyboardInterrupt()
        return error
    if name == "cycle":
        error = RuntimeError("of itself")
        error.__cause__ = error
        return error
    errors = (
        CancelledError("cancelled"),
        GeneratorExit(),
        BaseExceptionGroup("several", [CancelledError()]),
        ValueError("two\nlines"),
        ImportError("no such library"),
        SystemExit(3),
        SilentError(),
        KeyboardInterrupt(),
    )
    return next(error for error in errors if type(error).__name__ == name)


class StopsAt(Observer):
    def __init__(self, **event: Any) -> None:
        self._event = event

    def generation(self, record, seconds):
        if record["generation"] == self._event.get("generation"):
            raise KeyboardInterrupt

    def epoch(self, loss, records):
        if any((loss, record.epoch) == self._event.get("epoch") for record in records.values()):
            raise KeyboardInterrupt


def tracked_by(*trackers: Tracker, text: str = SEARCH) -> RunSpec:
    return spec_from_text(text).model_copy(update={"trackers": trackers})


def metrics(told: list[tuple[Any, ...]], series: str) -> list[tuple[int, dict[str, float]]]:
    events = [event[1:] for event in told if event[0] == "metrics"]
    return [(step, values) for step, values in events if all(name.startswith(series) for name in values)]


def results(path: Path) -> dict[str, bytes]:
    parts = [path / "history.jsonl", *(path / "artifact").iterdir(), *path.rglob("seed-*"), *path.rglob("comp*.json")]
    return {str(file.relative_to(path)): file.read_bytes() for file in parts if file.is_file()}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SESSIONS.clear()


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Iterator[None]:
    """Have the class of this file found by its name."""
    info = tmp_path / "site" / "toy_notes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-notes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lossforge.trackers]\nnotes = toy_notes:Notes\n")
    module = ModuleType("toy_notes")
    module.Notes = Notes
    monkeypatch.setitem(sys.modules, "toy_notes", module)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "toy-notes")
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


class TestARun:
    def test_its_tracker_is_told_of_all_of_it_in_order(self):
        lossforge.run(tracked_by(Notes()), "run")
        ((_, told),) = SESSIONS
        run = told[0][1]
        assert (run.name, run.path, run.resumed) == ("tiny", Path("run").absolute(), False)
        assert run.memory.is_dir()
        assert run.settings["search.strategy.population_size"] == 6
        assert (run.settings["search.references"], run.settings["training"]) == ("[]", None)
        assert not any(name.startswith("trackers") for name in run.settings)
        events = [event[:2] for event in told[1:]]
        files = [("file", name) for name in ("spec.yaml", "loss.json", "loss.py", "loss.safetensors", "report.html")]
        steps = [("metrics", step) for step in (0, 1, 2, 0)]
        assert events == [files[0], *steps, *files[1:], ("close", True)]

    def test_generations_are_told_as_the_history_has_them(self):
        lossforge.run(tracked_by(Notes()), "run")
        told = metrics(SESSIONS[0][1], "search/")
        records = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
        assert [step for step, _ in told] == [record["generation"] for record in records]
        for record, (_, values) in zip(records, told, strict=True):
            assert values["search/best_fitness"] == record["best_fitness"]
            assert values["search/feasible"] == record["num_feasible"] / 6
            assert values["search/pass_rate/finite"] == record["pass_rates"]["finite"]
            assert values["search/best/ranking_accuracy"] == record["best_metrics"]["ranking_accuracy"]
        ((step, values),) = metrics(SESSIONS[0][1], "result/held_out/")
        held_out = json.loads(Path("run/artifact/loss.json").read_text())["held_out"]
        assert (step, values["result/held_out/fitness"]) == (0, held_out["fitness"])

    def test_several_searches_are_series_of_their_own(self):
        text = SEARCH.replace("generations: 3", "generations: 2\n  restarts: 2")
        lossforge.run(tracked_by(Notes(), text=text), "run")
        for restart in range(2):
            assert [step for step, _ in metrics(SESSIONS[0][1], f"search/restart-{restart}/")] == [0, 1]

    def test_what_is_not_finite_is_left_out(self):
        text = SEARCH.replace("{weight_band: null, signs: null}", "{patience: 2}")
        with pytest.raises(NoFeasibleSolutionError):
            lossforge.run(tracked_by(Notes(), text=text.replace("checkpoint_every: 2", "checkpoint_every: 1")), "run")
        told = SESSIONS[0][1]
        assert told[-1] == ("close", False)
        assert all("search/best_fitness" not in values for _, values in metrics(told, "search/"))

    def test_results_have_the_same_bytes_as_without_trackers(self):
        lossforge.run(tracked_by(Notes(), Notes(fails_at="metrics")), "tracked")
        lossforge.run(tracked_by(), "alone")
        assert results(Path("tracked")) == results(Path("alone"))
        assert not Path("alone/trackers").exists()

    def test_a_tracker_that_nothing_installed_provides_is_an_error_of_the_spec(self):
        with pytest.raises(SpecError, match=r"trackers.0: unknown type 'nothing'; installed trackers: none"):
            spec_from_text(SEARCH + "trackers: [nothing]\n")


class TestResume:
    @pytest.mark.parametrize("generation", range(3))  # a checkpoint is saved after 1, and at an interrupt
    def test_each_session_is_told_all_by_its_end(self, generation):
        spec = tracked_by(Notes())
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec, "run", StopsAt(generation=generation))
        lossforge.resume("run", spec)
        (_, first), (_, second) = SESSIONS
        assert first[-1] == ("close", False)
        assert [told[0][1].resumed for told in (first, second)] == [False, True]
        assert [step for step, _ in metrics(second, "search/")] == [0, 1, 2]
        assert metrics(first, "search/") == metrics(second, "search/")[: generation + 1]
        assert second[-1] == ("close", True)

    def test_a_finished_run_is_told_again(self):
        lossforge.run(tracked_by(Notes()), "run")
        lossforge.resume("run", tracked_by(Notes()))
        (_, first), (_, second) = SESSIONS
        assert first[1:] == second[1:]

    def test_a_run_goes_on_with_other_trackers(self):
        lossforge.run(tracked_by(), "run")
        spec = Path("run/checkpoint/spec.yaml")
        spec.write_text(spec.read_text().replace("trackers: []\n", ""))  # as before there were any
        lossforge.resume("run", tracked_by(Notes(error="ImportError")))
        assert [step for step, _ in metrics(SESSIONS[0][1], "search/")] == [0, 1, 2]
        lossforge.resume("run")
        assert len(SESSIONS) == 1


class TestTrainings:
    def test_epochs_tests_and_means_are_told(self):
        comparison = lossforge.train("mae", **QUICK, seeds=2, out="out", trackers=[Notes()])
        told = SESSIONS[0][1]
        assert told[0][1].name == "out"
        assert [event[1] for event in told if event[0] == "file"] == ["training.yaml", "comparison.json"]
        for seed, result in enumerate(comparison.losses["mae"].results):
            series = f"train/mae/seed-{seed}"
            epochs = [
                (each.epoch, {f"{series}/train_loss": each.train_loss, f"{series}/train_accuracy": each.train_accuracy})
                for each in result.epochs
            ]
            *first, (step, values) = metrics(told, series)
            assert (first, step) == (epochs, 2)
            assert values[f"{series}/test_accuracy"] == result.metrics.accuracy
        ((step, values),) = metrics(told, "result/mae/")
        assert (step, values["result/mae/num_diverged"]) == (2, 0.0)
        assert values["result/mae/accuracy_mean"] == comparison.losses["mae"].metrics["accuracy"].sample.mean

    def test_a_training_that_diverged_says_when(self):
        lossforge.train("mae", **{**QUICK, "learning_rate": 1e30}, out="out", trackers=[Notes()])
        ((step, values),) = metrics(SESSIONS[0][1], "train/mae/seed-0/diverged_at_epoch")
        assert values["train/mae/seed-0/diverged_at_epoch"] == step >= 1
        assert metrics(SESSIONS[0][1], "result/mae/") == [(1, {"result/mae/num_diverged": 1.0})]

    @pytest.mark.usefixtures("installed")
    def test_after_an_interruption_and_with_a_seed_more_all_is_told(self):
        with pytest.raises(KeyboardInterrupt):
            lossforge.train("mae", **QUICK, out="out", trackers=[Notes()], observer=StopsAt(epoch=("mae", 1)))
        lossforge.train("mae", **QUICK, seeds=2, out="out", trackers=[Notes(error="ImportError")])
        (_, first), (_, second) = SESSIONS
        told = metrics(second, "train/mae/seed-0/train_")
        assert sorted(step for step, _ in told) == [1, 2]
        assert metrics(first, "train/")[0] in told
        assert [step for step, _ in metrics(second, "train/mae/seed-1/train_")] == [1, 2]

    def test_without_a_folder_there_is_no_place_for_them(self):
        with pytest.raises(SpecError, match="trackers: need a folder"):
            lossforge.train("mae", **QUICK, trackers=[Notes()])


class TestAFailure:
    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize("error", ["ValueError", "SystemExit"])
    def test_is_one_warning_and_the_run_and_the_other_trackers_go_on(self, stage, error, caplog):
        caplog.set_level(logging.INFO)
        lossforge.run(tracked_by(Notes(fails_at=stage, error=error), Notes()), "run")
        (_, failed), (_, whole) = SESSIONS
        assert failed[-1][0] == stage
        assert (len(failed) < len(whole)) or stage == "close"
        assert whole[-1] == ("close", True)
        assert {event[1] for event in whole if event[0] == "file"} >= {"spec.yaml", "loss.json", "report.html"}
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        doing = {"open": "opening it", "metrics": "step 0 of search/evaluations", "file": "the file spec.yaml"}
        cause = {"ValueError": "ValueError: two lines", "SystemExit": "SystemExit: 3"}[error]
        assert warning == (
            f"tracker 'notes' failed at {doing.get(stage, 'closing it')}: {cause}; the run goes on without it"
        )
        log = Path("run/run.log").read_text()
        assert warning in log
        assert "Traceback" in log

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            ("ImportError", "ImportError: no such library"),
            ("SilentError", "SilentError: (its text raises RuntimeError)"),
            ("CancelledError", "CancelledError: cancelled"),
            ("GeneratorExit", "GeneratorExit"),
            ("BaseExceptionGroup", "BaseExceptionGroup: several (1 sub-exception)"),
            ("cycle", "RuntimeError: of itself"),
        ],
    )
    def test_is_told_whatever_it_is(self, error, said, caplog):
        with tracking([Notes(fails_at="open", error=error)], "tiny", Path.cwd(), {}):
            pass
        assert f"opening it: {said}" in caplog.text

    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize("error", ["KeyboardInterrupt", "wrapped interrupt", "replaced interrupt"])
    def test_an_interruption_is_none(self, stage, error, caplog):
        with pytest.raises(type(raised(error))):
            lossforge.run(tracked_by(Notes(fails_at=stage, error=error)), "run")
        assert [record for record in caplog.records if record.levelname == "WARNING"] == []
        lossforge.resume("run", tracked_by(Notes()))
        assert SESSIONS[-1][1][-1] == ("close", True)

    def test_is_one_where_the_run_has_been_interrupted(self, caplog):
        trackers = [Notes(fails_at="close"), Notes()]
        with pytest.raises(KeyboardInterrupt), tracking(trackers, "tiny", Path.cwd(), {}):
            raise KeyboardInterrupt
        assert "failed at closing it: ValueError" in caplog.text
        assert SESSIONS[-1][1][-1] == ("close", False)

    def test_where_the_trackers_memory_cannot_be_written(self, caplog):
        lossforge.run(tracked_by(), "run")
        Path("run/trackers").touch()
        lossforge.resume("run", tracked_by(Notes()))
        assert SESSIONS == []
        assert "tracker 'notes' failed at opening it: FileExistsError" in caplog.text


class Careless(Notes):
    """Changes what it is given, prints, and goes elsewhere."""

    type: Literal["careless"] = "careless"

    def open(self, run):
        run.settings.clear()


class CarelessSession(Session):
    def metrics(self, values, step):
        values.clear()
        print("careless")
        os.chdir("/")


class CarelessAtSteps(Notes):
    """Changes the metrics it is given, prints, and goes elsewhere."""

    type: Literal["careless_at_steps"] = "careless_at_steps"

    def open(self, run):
        return CarelessSession([], "", ValueError())


def test_what_a_tracker_does_reaches_neither_the_run_nor_the_next_tracker(capfd, caplog):
    here = Path.cwd()
    with tracking([Careless(), CarelessAtSteps(), Notes()], "tiny", here, {"seed": 1}) as opened:
        opened.metrics({"search/best_fitness": 1.0}, 0)
    (_, told) = SESSIONS[0]
    assert (told[0][1].settings, told[1]) == ({"seed": 1}, ("metrics", 0, {"search/best_fitness": 1.0}))
    assert Path.cwd() == here
    assert capfd.readouterr() == ("", "careless\n")
    assert "tracker 'careless' failed at opening it: AttributeError" in caplog.text


@pytest.mark.parametrize(("teller", "observer"), [(TrackedTrainings, TrainingObserver), (Tracked, Observer)])
def test_all_that_an_observer_is_told_goes_on_to_the_next(teller, observer):
    public = {name for name in dir(observer) if not name.startswith("_")}
    assert public <= {name for each in teller.__mro__ if each not in observer.__mro__ for name in vars(each)}
