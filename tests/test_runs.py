"""The runs in a folder, read from their files: in what state each is, and which of them compare."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import lossforge
from lossforge import runs
from lossforge.errors import NoFeasibleSolutionError, RunDirectoryError
from lossforge.observer import Observer
from lossforge.pipeline import RunResult
from lossforge.run_content import ENDS_THE_RUN, Figures
from lossforge.run_directory import LOCK
from lossforge.runs import find, grouped, reading, summarise
from lossforge.spec import spec_from_text

SEARCH = """\
name: tiny
device: cpu
search:
  parameterization: {type: classwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_size: 6, num_parents: 2}
  mutation: gaussian
  generations: 4
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 2
  gates: {weight_band: null, signs: null}
"""
TRAINING = """\
training:
  dataset: {type: fake, num_train: 32, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 1
  precision: float32
  batch_size: 16
  crop_padding: 1
evidence: {seeds: 2}
"""
UNMEETABLE = "gates: {weight_band: {minimum: 0.999, maximum: 1.0}, patience: 2}"

HOLDING = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""

WITHOUT_TORCH = """
import sys
from pathlib import Path

import lossforge.runs

(finished,) = lossforge.runs.find(Path(sys.argv[1]))
assert finished.state == "finished", finished
heavy = {"torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
print("none of it")
"""


class StopsAfter(Observer):
    """Interrupts after so many generations."""

    def __init__(self, num: int) -> None:
        self.left = num

    def generation(self, record, seconds):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> RunResult:
    """A finished run with training; not to be changed."""
    return lossforge.run(spec_from_text(SEARCH + TRAINING), tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory) -> Path:
    """A run that was stopped after three generations; not to be changed."""
    path = tmp_path_factory.mktemp("interrupted") / "tiny"
    with pytest.raises(KeyboardInterrupt):
        lossforge.run(spec_from_text(SEARCH), path, StopsAfter(3))
    return path


@pytest.fixture
def finished_run(trained: RunResult, tmp_path: Path) -> Path:
    """A copy to edit."""
    return Path(shutil.copytree(trained.directory.path, tmp_path / "runs" / "tiny"))


@pytest.fixture
def interrupted_run(interrupted: Path, tmp_path: Path) -> Path:
    """A copy to edit."""
    return Path(shutil.copytree(interrupted, tmp_path / "runs" / "tiny"))


@contextlib.contextmanager
def held_by_another_process(lock: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def set_stops(history: Path, *stops: tuple[int, str | None], num_feasible: int = 0) -> None:
    """Rewrite a history to lines that say which search ended and why."""
    counts = {"generation": 0, "evaluations": 8, "num_solutions": 8, "num_feasible": num_feasible}
    lines = [{**counts, "restart": restart, "best_fitness": None, "stopped": stopped} for restart, stopped in stops]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))


class TestWhatIsKnown:
    def test_of_a_finished_run(self, trained):
        summary = summarise(trained.directory.path)
        evidence, comparison = trained.artifact.evidence, trained.comparison
        last = json.loads(trained.directory.history.read_text().splitlines()[-1])
        assert (summary.path, summary.state, summary.problem) == (trained.directory.path, "finished", None)
        assert (summary.name, summary.num_classes) == ("tiny", 10)
        assert (summary.generations_done, summary.generations_planned) == (4, 4)
        assert summary.best_fitness == last["best_fitness"]
        assert summary.objective == evidence["search"]["objective"]
        assert summary.sampler == evidence["search"]["sampler"]
        assert summary.training["model"]["type"] == "resnet8"
        assert summary.held_out.fitness == evidence["held_out"]["fitness"]
        assert summary.held_out.metrics == evidence["held_out"]["metrics"]
        accuracy = comparison.losses["tiny"].metrics["accuracy"]
        reference = comparison.losses["cross_entropy"].metrics["accuracy"]
        assert summary.trained.metrics["accuracy"] == accuracy.sample.mean
        assert set(summary.trained.metrics) == set(runs.TRAINED)
        assert summary.trained.reference == "cross_entropy"
        assert summary.trained.reference_accuracy == reference.sample.mean
        difference = summary.trained.difference
        assert (difference.mean, difference.low, difference.high) == (
            accuracy.difference.mean,
            accuracy.difference.low,
            accuracy.difference.high,
        )
        assert (summary.trained.confidence, summary.trained.num_diverged) == (0.95, 0)

    def test_of_one_without_training(self, finished_run):
        shutil.rmtree(finished_run / "training")
        summary = summarise(finished_run)
        assert (summary.state, summary.trained) == ("finished", None)
        assert "accuracy" not in summary.figures
        assert "fitness" in summary.figures

    def test_of_an_interrupted_run(self, interrupted):
        summary = summarise(interrupted)
        assert (summary.state, summary.generations_done, summary.generations_planned) == ("interrupted", 3, 4)
        assert summary.best_fitness is not None
        assert (summary.held_out, summary.trained, dict(summary.figures)) == (None, None, {})

    def test_restarts_multiply_what_is_planned(self, interrupted_run):
        spec = interrupted_run / "spec.yaml"
        spec.write_text(spec.read_text().replace("restarts: 1", "restarts: 3"))
        assert summarise(interrupted_run).generations_planned == 12

    def test_a_run_of_before_there_were_restarts_with_a_component_as_a_bare_name(self, interrupted_run):
        spec = interrupted_run / "spec.yaml"
        content = spec_from_text(SEARCH).model_dump(mode="json")
        del content["search"]["restarts"]
        content["search"]["sampler"] = "mixture"
        spec.write_text(json.dumps(content))
        summary = summarise(interrupted_run)
        assert (summary.generations_planned, summary.sampler) == (4, {"type": "mixture"})

    def test_nothing_is_done_yet(self, interrupted_run):
        (interrupted_run / "history.jsonl").unlink()
        summary = summarise(interrupted_run)
        assert (summary.state, summary.generations_done, summary.best_fitness) == ("interrupted", 0, None)

    @pytest.mark.parametrize("torn", ['{"restart": 0, "gener', "{}", "\0\0\0"])
    def test_a_line_that_a_kill_has_torn_is_not_counted(self, interrupted_run, torn):
        whole = summarise(interrupted_run)
        with (interrupted_run / "history.jsonl").open("a") as file:
            file.write(torn)
        assert summarise(interrupted_run) == whole

    def test_diverged_trainings_are_counted(self, finished_run):
        def diverge(content):
            (found,) = [loss for loss in content["losses"] if loss["name"] == "tiny"]
            found["results"] = [{**found["results"][0], "metrics": None}, found["results"][1]]
            found["metrics"]["accuracy"]["difference"] = None

        edit(finished_run / "training" / "comparison.json", diverge)
        summary = summarise(finished_run)
        assert (summary.trained.num_diverged, summary.trained.difference) == (1, None)

    def test_what_was_not_finite_is_missing(self, finished_run):
        edit(finished_run / "artifact" / "loss.json", lambda content: content["held_out"].update(fitness=float("nan")))
        summary = summarise(finished_run)
        assert (summary.state, summary.held_out.fitness) == ("finished", None)
        assert "fitness" not in summary.figures

    @pytest.mark.parametrize("name", ["empty", "missing", "file"])
    def test_what_is_no_run_is_refused(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").touch()
        with pytest.raises(RunDirectoryError, match=f"{name}: not a run directory"):
            summarise(tmp_path / name)


class TestRunning:
    def test_while_another_process_holds_the_lock(self, finished_run):
        with held_by_another_process(finished_run / LOCK):
            assert summarise(finished_run).state == "running"
        assert summarise(finished_run).state == "finished"

    def test_while_a_run_is_at_work(self, tmp_path):
        states = []

        class Looks(Observer):
            def generation(self, record, seconds):
                states.append(summarise(tmp_path / "run").state)

        lossforge.run(spec_from_text(SEARCH), tmp_path / "run", Looks())
        assert states == ["running"] * 4

    def test_no_lock_is_left_behind_or_created(self, finished_run):
        summarise(finished_run)
        with FileLock(finished_run / LOCK, timeout=0):
            pass
        (finished_run / LOCK).unlink()
        assert summarise(finished_run).state == "finished"
        assert not (finished_run / LOCK).exists()

    def test_a_lock_held_for_a_moment_is_that_of_another_listing(self, finished_run, monkeypatch):
        monkeypatch.setattr(reading, "LOCK_SECONDS", 60.0)
        monkeypatch.setattr(
            reading, "FileLock", lambda path, timeout, poll_interval: FileLock(path, timeout, poll_interval=0.01)
        )
        lock = FileLock(finished_run / LOCK, thread_local=False)
        lock.acquire()
        release = threading.Timer(0.1, lock.release)
        release.start()
        assert summarise(finished_run).state == "finished"
        release.join()

    def test_one_that_may_not_be_asked(self, finished_run, monkeypatch):
        def refuse(*args, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(reading, "FileLock", refuse)
        assert summarise(finished_run).state == "finished"
        (finished_run / "report.html").unlink()
        summary = summarise(finished_run)
        assert summary.state == "unreadable"
        assert ".lock: cannot be read: Permission denied" in summary.problem


class TestFailed:
    def test_a_search_that_found_nothing(self, tmp_path):
        spec = spec_from_text(SEARCH.replace("gates: {weight_band: null, signs: null}", UNMEETABLE))
        with pytest.raises(NoFeasibleSolutionError):
            lossforge.run(spec, tmp_path / "run")
        summary = summarise(tmp_path / "run")
        assert (summary.state, summary.generations_done, summary.best_fitness) == ("failed", 2, None)

    @pytest.mark.parametrize(
        ("stops", "state"),
        [
            ([(0, None), (0, "no_feasible")], "interrupted"),
            ([(0, "no_feasible"), (1, "no_feasible")], "failed"),
            ([(0, "no_feasible"), (1, None)], "interrupted"),
            ([(0, "generations"), (1, "no_feasible")], "failed"),
            ([(0, "no_feasible"), (1, "generations")], "failed"),
            ([(0, "stagnation")], "interrupted"),
            *(([(0, reason)], "failed") for reason in ENDS_THE_RUN),
        ],
    )
    def test_the_last_of_two_searches_decides_and_none_may_have_found_anything(self, interrupted_run, stops, state):
        spec = interrupted_run / "spec.yaml"
        spec.write_text(spec.read_text().replace("restarts: 1", "restarts: 2"))
        set_stops(interrupted_run / "history.jsonl", *stops)
        assert summarise(interrupted_run).state == state
        set_stops(interrupted_run / "history.jsonl", *stops, num_feasible=1)
        assert summarise(interrupted_run).state == "interrupted"

    def test_not_where_there_is_an_artifact(self, finished_run):
        (finished_run / "report.html").unlink()
        set_stops(finished_run / "history.jsonl", (0, "no_feasible"))
        assert summarise(finished_run).state == "interrupted"


class TestUnreadable:
    @pytest.mark.parametrize(
        ("file", "content", "problem"),
        [
            ("artifact/loss.json", '{"held_out": {"fit', "artifact/loss.json: cannot be read: Invalid JSON"),
            ("artifact/loss.json", "{}", "artifact/loss.json: cannot be read: name: Field required"),
            ("training/comparison.json", "[]", "training/comparison.json: cannot be read: Input should be an object"),
            ("history.jsonl", '{"restart": 0}\nnot JSON\n', "history.jsonl:2: cannot be read: Invalid JSON"),
            ("spec.yaml", "", "spec.yaml:1:1: the spec is empty"),
            ("spec.yaml", "name: [", "spec.yaml:1:8"),
            ("spec.yaml", "name: tiny\nname: tiny\n", "duplicate key"),
            ("spec.yaml", "name: tiny\n", "spec.yaml: cannot be read: seed: Field required"),
            ("spec.yaml", b"name: \xff\n", "spec.yaml: cannot be read: not UTF-8 text"),
        ],
    )
    def test_the_file_and_what_is_wrong_are_told(self, finished_run, file, content, problem):
        (finished_run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        summary = summarise(finished_run)
        assert (summary.path, summary.state) == (finished_run, "unreadable")
        assert problem in summary.problem
        assert dict(summary.figures) == {}

    def test_a_folder_in_place_of_a_file(self, finished_run):
        (finished_run / "history.jsonl").unlink()
        (finished_run / "history.jsonl").mkdir()
        assert "history.jsonl: cannot be read: Is a directory" in summarise(finished_run).problem

    @pytest.mark.parametrize("name", ["tiny", "cross_entropy"])
    def test_a_comparison_of_other_losses(self, finished_run, name):
        def rename(content):
            (loss,) = [loss for loss in content["losses"] if loss["name"] == name]
            loss["name"] = "other"

        edit(finished_run / "training" / "comparison.json", rename)
        assert f"{name!r} is not among the losses" in summarise(finished_run).problem


class TestFind:
    def test_in_natural_order_and_nothing_else(self, trained, tmp_path):
        names = ["edl-10", "edl", "edl-2", "10", "9", "edl-2b"]
        for name in names:
            (tmp_path / name).mkdir()
            shutil.copy(trained.directory.spec, tmp_path / name)
        (tmp_path / ".edl.1234.tmp").mkdir()
        shutil.copy(trained.directory.spec, tmp_path / ".edl.1234.tmp")
        (tmp_path / "no run").mkdir()
        (tmp_path / "notes.txt").touch()
        (tmp_path / "nowhere").symlink_to("missing")
        assert [run.path.name for run in find(tmp_path)] == ["9", "10", "edl", "edl-2", "edl-2b", "edl-10"]

    def test_a_damaged_run_hides_no_other(self, trained, tmp_path):
        for name in ("a", "b", "c"):
            shutil.copytree(trained.directory.path, tmp_path / name)
        (tmp_path / "b" / "spec.yaml").write_text("[")
        assert [run.state for run in find(tmp_path)] == ["finished", "unreadable", "finished"]

    @pytest.mark.parametrize("gone", ["spec.yaml", "history.jsonl", "loss.json", "comparison.json"])
    def test_a_run_that_is_removed_meanwhile(self, finished_run, monkeypatch, gone):
        read_bytes = Path.read_bytes

        def remove(path: Path) -> bytes:
            if path.name == gone:
                shutil.rmtree(finished_run)
            return read_bytes(path)

        monkeypatch.setattr(Path, "read_bytes", remove)
        assert all(run.state == "interrupted" for run in find(finished_run.parent))
        assert find(finished_run.parent) == []

    def test_an_empty_root(self, tmp_path):
        assert find(tmp_path) == []

    def test_no_root(self, tmp_path):
        with pytest.raises(RunDirectoryError, match="missing: cannot be read: No such file or directory"):
            find(tmp_path / "missing")

    def test_a_root_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RunDirectoryError, match="file: cannot be read: Not a directory"):
            find(tmp_path / "file")

    def test_a_root_that_is_a_run(self, interrupted):
        with pytest.raises(RunDirectoryError, match="tiny: is a run itself; give the folder that it is in"):
            find(interrupted)

    def test_it_imports_no_torch(self, finished_run):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, str(finished_run.parent)], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode) == ("none of it\n", 0), done.stderr


class TestGrouped:
    @staticmethod
    def run(name: str, fitness: float | None = 0.5, accuracy: float | None = None, **changes: Any) -> runs.RunSummary:
        return runs.RunSummary(
            **{
                "path": Path(name),
                "state": "finished",
                "objective": {"type": "ranking_consistency", "form": "zero_one"},
                "sampler": {"type": "mixture", "alpha": 1.0, "weights": {"boundary": 1.0}},
                "num_classes": 10,
                "num_held_out": 4096,
                "seed": 0,
                "training": {"dataset": {"type": "digits"}, "epochs": 8},
                "held_out": Figures(fitness=fitness, metrics={"ranking_accuracy": 0.9, "accuracy": 0.1}),
                "trained": None
                if accuracy is None
                else runs.Trained({"accuracy": accuracy}, 0, "cross_entropy", 0.5, None, 0.95),
                **changes,
            }
        )

    def test_the_best_comes_first_and_equals_stay_in_order(self):
        summaries = [self.run("a", 0.2), self.run("b", 0.1), self.run("c", 0.2), self.run("d", None)]
        for maximise, order in ((False, "bac"), (True, "acb")):
            (group,) = grouped(summaries, "fitness", maximise=maximise)
            assert "".join(run.path.name for run in group.runs) == order
            assert group.setting == {}

    def test_a_setting_is_told_by_what_differs(self):
        hinge = {"type": "ranking_consistency", "form": "hinge"}
        groups = grouped(
            [self.run("a", objective=hinge, num_classes=100), self.run("b"), self.run("c")], "fitness", maximise=False
        )
        assert [[run.path.name for run in group.runs] for group in groups] == [["b", "c"], ["a"]]
        assert [group.setting for group in groups] == [
            {"search.objective.form": "zero_one", "search.num_classes": 10},
            {"search.objective.form": "hinge", "search.num_classes": 100},
        ]

    def test_of_components_of_another_type_only_the_type_is_told(self):
        narrow = {"type": "mixture", "alpha": 0.5, "weights": {"boundary": 1.0}}
        groups = grouped(
            [self.run("a"), self.run("b", sampler={"type": "dirichlet"}), self.run("c", sampler=narrow)],
            "ranking_accuracy",
            maximise=True,
        )
        assert [group.setting for group in groups] == [
            {"search.sampler.type": "mixture", "search.sampler.alpha": 1.0},
            {"search.sampler.type": "dirichlet"},
            {"search.sampler.type": "mixture", "search.sampler.alpha": 0.5},
        ]

    def test_an_option_that_an_older_run_lacks(self):
        older = {"type": "ranking_consistency"}
        groups = grouped([self.run("a"), self.run("b", objective=older)], "fitness", maximise=False)
        assert [group.setting for group in groups] == [
            {"search.objective.form": "zero_one"},
            {"search.objective.form": None},
        ]

    def test_trainings_compare_within_one_training_section_whatever_the_search(self):
        longer = {"dataset": {"type": "digits"}, "epochs": 20}
        summaries = [
            self.run("a", accuracy=0.7, num_classes=100),
            self.run("b", accuracy=0.8),
            self.run("c", accuracy=0.9, training=longer),
            self.run("d"),
        ]
        groups = grouped(summaries, "accuracy", maximise=True)
        assert [[run.path.name for run in group.runs] for group in groups] == [["b", "a"], ["c"]]
        assert [group.setting for group in groups] == [{"training.epochs": 8}, {"training.epochs": 20}]

    def test_held_out_figures_compare_where_they_are_equally_exact(self):
        groups = grouped([self.run("a", num_held_out=32), self.run("b")], "fitness", maximise=False)
        assert [group.setting for group in groups] == [
            {"search.selection_batch_size": 32},
            {"search.selection_batch_size": 4096},
        ]

    @pytest.mark.parametrize("part", ["num_train", "num_test"])
    def test_seeds_that_draw_other_images_set_trainings_apart(self, part):
        drawn = {"dataset": {"type": "digits"}, part: 100}
        for training, num_settings in ((drawn, 2), ({**drawn, part: None}, 1)):
            summaries = [self.run("a", accuracy=0.7, training=training, seed=seed) for seed in (0, 0, 1)]
            assert len(grouped(summaries, "accuracy", maximise=True)) == num_settings
            assert len(grouped(summaries, "fitness", maximise=False)) == 1
        groups = grouped(
            [self.run("a", accuracy=0.7, training=drawn, seed=seed) for seed in (0, 1)], "accuracy", maximise=True
        )
        assert [group.setting for group in groups] == [{"seed": 0}, {"seed": 1}]

    def test_a_held_out_metric_is_not_taken_for_one_of_trainings(self):
        assert "accuracy" not in self.run("a").figures
        assert self.run("a", accuracy=0.7).figures["accuracy"] == 0.7

    def test_nothing_to_group(self):
        assert grouped([], "fitness", maximise=False) == []
        assert grouped([self.run("a", None)], "fitness", maximise=False) == []
