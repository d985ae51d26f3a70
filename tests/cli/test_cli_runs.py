"""``runs``: list them, name the best, go on with the interrupted ones."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

import lossforge as package
from lossforge.cli import runs as command
from lossforge.observer import Observer
from lossforge.run_directory import LOCK
from lossforge.runs import find
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

WITHOUT_TORCH = """
import contextlib, io, sys

from lossforge.cli import main

for args in (["list"], ["list", "--json"], ["best"], ["best", "--by", "accuracy", "--json"], ["resume"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main.main(["runs", *args, "--root", sys.argv[1]], prog_name="lossforge")
        except SystemExit as left:
            assert not left.code, (args, left.code)
    heavy = {"torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib"} & set(sys.modules)
    assert not heavy, (args, heavy)
print("none imported torch")
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
def searched(tmp_path_factory) -> Path:
    """A finished run without training; not to be changed."""
    return package.run(spec_from_text(SEARCH), tmp_path_factory.mktemp("searched") / "tiny").directory.path


@pytest.fixture(scope="session")
def hinge(tmp_path_factory) -> Path:
    """The same with another objective."""
    spec = spec_from_text(SEARCH, overrides=["search.objective={type: ranking_consistency, form: hinge}"])
    return package.run(spec, tmp_path_factory.mktemp("hinge") / "tiny").directory.path


@pytest.fixture(scope="session")
def stopped(tmp_path_factory) -> Path:
    """A run that was stopped after three generations; not to be changed."""
    path = tmp_path_factory.mktemp("stopped") / "tiny"
    with pytest.raises(KeyboardInterrupt):
        package.run(spec_from_text(SEARCH), path, StopsAfter(3))
    return path


@pytest.fixture
def add(folder) -> Callable[..., Path]:
    """``add(run, "runs/edl", fitness=0.1)``: a copy of a run with other held-out figures or another accuracy."""

    def copied(run: Path, path: str, accuracy: float | None = None, **held_out: float) -> Path:
        copy = Path(shutil.copytree(run, folder / path)).relative_to(folder)
        edit(copy / "artifact" / "loss.json", lambda content: content["held_out"].update(held_out))
        if accuracy is not None:
            edit(copy / "training" / "comparison.json", lambda content: set_accuracy(content, accuracy))
        return copy

    return copied


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    if path.exists():
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def set_accuracy(comparison: Any, accuracy: float) -> None:
    (found,) = [loss for loss in comparison["losses"] if loss["name"] == "tiny"]
    metric = found["metrics"]["accuracy"]
    metric["sample"]["mean"] = accuracy
    metric["difference"].update(mean=0.003, low=-0.005, high=0.011)


def shown(root: Path, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    command.print_runs(find(root), console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


class TestList:
    def test_a_row_for_each_run(self, lossforge, add, finished, searched, stopped):
        add(finished.path, "runs/edl", accuracy=0.636)
        add(stopped, "runs/edl-2")
        add(searched, "runs/edl-10")
        ranking = find(Path("runs"))[0].held_out.metrics["ranking_accuracy"]
        outcome = lossforge("runs", "list")
        assert (outcome.code, outcome.err) == (0, "")
        lines = [line.split() for line in outcome.out.splitlines()]
        assert lines[1] == ["run", "state", "done", "out", "%", "points"]
        assert lines[3] == ["edl", "finished", "4/4", f"{ranking:.4f}", "63.6", "+0.3", "[-0.5,", "+1.1]"]
        assert lines[4] == ["edl-2", "interrupted", "3/4"]
        assert lines[5][:3] == ["edl-10", "finished", "4/4"]
        assert len(lines[5]) == 4
        assert "Difference: to cross_entropy, in points, with its 95% interval." in outcome.out

    @pytest.mark.parametrize("width", [60, 80])
    def test_it_fits(self, add, finished, stopped, width):
        add(finished.path, "runs/edl", accuracy=0.636)
        add(stopped, "runs/a-run-with-quite-a-long-name-of-its-own")
        lines = shown(Path("runs"), width)
        assert max(map(len, lines)) <= width
        assert not any("…" in line for line in lines)
        text = "".join(line.split(" ")[0] for line in lines)
        assert "a-run-with-quite-a-long-name-of-its-own" in text
        assert any(line.endswith("[-0.5, +1.1]") for line in lines)

    def test_columns_that_no_run_fills_are_left_out(self, lossforge, add, stopped):
        add(stopped, "runs/edl")
        assert lossforge("runs", "list").out.splitlines()[0].split() == ["run", "state", "done"]

    def test_references_that_differ_are_named_in_the_rows(self, lossforge, add, finished):
        add(finished.path, "runs/a", accuracy=0.5)
        copy = add(finished.path, "runs/b", accuracy=0.5)
        text = (copy / "training" / "comparison.json").read_text()
        (copy / "training" / "comparison.json").write_text(text.replace('"cross_entropy"', '"focal"'))
        out = lossforge("runs", "list").out
        assert "to cross_entropy\n" in out
        assert "to focal\n" in out
        assert "Difference: to the reference, in points" in out

    def test_diverged_trainings_are_told(self, lossforge, add, finished):
        copy = add(finished.path, "runs/edl")

        def diverge(content):
            (found,) = [loss for loss in content["losses"] if loss["name"] == "tiny"]
            for result in found["results"]:
                result["metrics"] = None
            found["metrics"] = {name: {"sample": None, "difference": None} for name in found["metrics"]}

        edit(copy / "training" / "comparison.json", diverge)
        out = lossforge("runs", "list").out
        assert "diverged" in out.splitlines()[3]
        assert "runs/edl: 2 trainings diverged and are left out of its mean\n" in out

    def test_fitness_where_an_objective_knows_no_ranking_accuracy(self, lossforge, add, searched):
        add(searched, "runs/edl", fitness=0.012345, metrics={})
        assert lossforge("runs", "list").out.splitlines()[3].split()[3:] == ["fitness", "0.0123"]

    def test_a_damaged_run_is_told_with_the_others(self, lossforge, add, searched):
        add(searched, "runs/edl")
        (add(searched, "runs/edl-2") / "artifact" / "loss.json").write_text("{")
        outcome = lossforge("runs", "list")
        assert outcome.code == 0
        states = [line.split()[1] for line in outcome.out.splitlines()[3:5]]
        assert states == ["finished", "unreadable"]
        assert "runs/edl-2/artifact/loss.json: cannot be read: Invalid JSON" in outcome.out

    def test_json_holds_everything(self, lossforge, add, finished, stopped):
        add(finished.path, "runs/edl", accuracy=0.636)
        add(stopped, "runs/edl-2")
        (add(stopped, "runs/edl-3") / "spec.yaml").write_text("[")
        outcome = lossforge("runs", "list", "--json")
        assert (outcome.code, outcome.err) == (0, "")
        done, begun, damaged = json.loads(outcome.out)
        assert (done["path"], done["name"], done["state"]) == ("runs/edl", "tiny", "finished")
        assert done["trained"]["metrics"]["accuracy"] == 0.636
        assert done["trained"]["difference"] == {"mean": 0.003, "low": -0.005, "high": 0.011}
        assert done["held_out"]["metrics"]["ranking_accuracy"] > 0
        assert done["objective"]["type"] == "ranking_consistency"
        assert done["training"]["dataset"]["type"] == "fake"
        assert (begun["state"], begun["generations_done"], begun["generations_planned"]) == ("interrupted", 3, 4)
        assert (damaged["state"], damaged["name"]) == ("unreadable", None)
        assert "edl-3/spec.yaml" in damaged["problem"]

    def test_no_torch_is_imported(self, add, finished):
        add(finished.path, "runs/edl")
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, "runs"], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode) == ("none imported torch\n", 0), done.stderr


class TestWhereThereAreNone:
    def test_no_folder(self, lossforge):
        outcome = lossforge("runs", "list")
        assert (outcome.code, outcome.out) == (0, "no runs in runs; begin one with: lossforge run edl\n")
        assert lossforge("runs", "list", "--json").out == "[]\n"

    def test_an_empty_folder(self, lossforge, folder):
        (folder / "my runs").mkdir()
        outcome = lossforge("runs", "list", "--root", "my runs")
        assert outcome.code == 0
        assert outcome.out == "no runs in my runs; begin one with: lossforge run edl --out 'my runs/edl'\n"

    @pytest.mark.parametrize("name", ["list", "best", "resume"])
    def test_a_root_that_is_not_there(self, lossforge, name):
        outcome = lossforge("runs", name, "--root", "nowhere")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == "error: nowhere: cannot be read: No such file or directory\n"

    def test_best(self, lossforge, add, stopped):
        add(stopped, "runs/edl")
        outcome = lossforge("runs", "best")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == "error: runs: no finished run; 'lossforge runs list' shows what there is\n"

    def test_resume(self, lossforge):
        outcome = lossforge("runs", "resume")
        assert (outcome.code, outcome.out) == (0, "no runs in runs; begin one with: lossforge run edl\n")


class TestBest:
    def test_by_held_out_fitness_with_the_runner_up_and_a_warning(self, lossforge, add, searched, stopped):
        for name, fitness in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
            add(searched, f"runs/{name}", fitness=fitness)
        add(stopped, "runs/d")
        outcome = lossforge("runs", "best")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.splitlines() == [
            "held-out fitness, lower is better",
            "  best       runs/b  0.1",
            "  runner-up  runs/c  0.2",
            "  Chosen as the best of 3 by this very figure, which is therefore biased downward, in its favour.",
            "",
            "left out: 1 interrupted",
        ]

    def test_of_one_nothing_is_chosen(self, lossforge, add, searched):
        add(searched, "runs/a", fitness=0.3)
        assert lossforge("runs", "best").out.splitlines()[1:] == [
            "  best       runs/a  0.3",
            "  The only one, so nothing was chosen.",
        ]

    def test_objectives_that_differ_are_never_mixed(self, lossforge, add, searched, hinge):
        add(searched, "runs/a", fitness=0.3)
        add(searched, "runs/b", fitness=0.2)
        add(hinge, "runs/c", fitness=0.1)
        lines = lossforge("runs", "best").out.splitlines()
        assert lines[1] == "2 settings, between which it does not compare; the best in each:"
        assert lines[3:5] == ["search.objective.form zero_one", "  best       runs/b  0.2"]
        assert lines[8:10] == ["search.objective.form hinge", "  best       runs/c  0.1"]

    def test_by_a_held_out_metric(self, lossforge, add, searched):
        add(searched, "runs/a", metrics={"ranking_accuracy": 0.9})
        add(searched, "runs/b", metrics={"ranking_accuracy": 0.8, "spread": 2.0})
        out = lossforge("runs", "best", "--by", "ranking_accuracy").out
        assert "ranking_accuracy, higher is better\n  best       runs/a  0.9\n  runner-up  runs/b  0.8\n" in out
        assert "biased upward" in out
        out = lossforge("runs", "best", "--by", "ranking_accuracy:min").out
        assert "ranking_accuracy, lower is better\n  best       runs/b  0.8\n" in out
        out = lossforge("runs", "best", "--by", "spread:max").out
        assert "best       runs/b  2\n" in out
        assert "left out: 1 finished without spread" in out

    def test_by_accuracy_only_trainings_alike_compare(self, lossforge, add, finished, searched):
        add(finished.path, "runs/a", accuracy=0.7)
        add(finished.path, "runs/b", accuracy=0.8)
        longer = add(finished.path, "runs/c", accuracy=0.9)
        spec = longer / "spec.yaml"
        spec.write_text(spec.read_text().replace("epochs: 1", "epochs: 2"))
        add(searched, "runs/d")
        lines = lossforge("runs", "best", "--by", "accuracy").out.splitlines()
        assert lines[0] == "mean accuracy of real trainings, higher is better"
        assert lines[3:6] == ["training.epochs 1", "  best       runs/b  0.8", "  runner-up  runs/a  0.7"]
        assert lines[8:10] == ["training.epochs 2", "  best       runs/c  0.9"]
        assert lines[-1] == "left out: 1 finished without accuracy"

    @pytest.mark.parametrize("metric", ["nll", "brier", "ece"])
    def test_of_calibration_less_is_better(self, lossforge, add, finished, metric):
        add(finished.path, "runs/a")
        assert f"mean {metric} of real trainings, lower is better" in lossforge("runs", "best", "--by", metric).out

    def test_a_mean_of_what_did_not_diverge_is_told(self, lossforge, add, finished):
        copy = add(finished.path, "runs/a", accuracy=0.7)

        def diverge(content):
            (found,) = [loss for loss in content["losses"] if loss["name"] == "tiny"]
            found["results"][0]["metrics"] = None

        edit(copy / "training" / "comparison.json", diverge)
        out = lossforge("runs", "best", "--by", "accuracy").out
        assert "  best       runs/a  0.7  (1 diverged and left out)\n" in out

    def test_an_unknown_metric(self, lossforge, add, searched):
        add(searched, "runs/a", metrics={"ranking_accuracy": 0.9})
        outcome = lossforge("runs", "best", "--by", "ranking_acuracy")
        assert (outcome.code, outcome.out) == (2, "")
        assert (
            "--by: no finished run has 'ranking_acuracy' (did you mean 'ranking_accuracy'?); "
            "there are: fitness, ranking_accuracy\n"
        ) in outcome.err

    def test_a_metric_of_which_nobody_knows_the_better_side(self, lossforge, add, searched):
        add(searched, "runs/a", metrics={"spread": 2.0})
        outcome = lossforge("runs", "best", "--by", "spread")
        assert (outcome.code, outcome.out) == (2, "")
        assert "--by: say what is better: spread:max or spread:min\n" in outcome.err

    def test_json(self, lossforge, add, searched, hinge):
        add(searched, "runs/a", fitness=0.3)
        add(searched, "runs/b", fitness=0.2)
        add(hinge, "runs/c", fitness=0.1)
        content = json.loads(lossforge("runs", "best", "--json").out)
        assert (content["metric"], content["better"], content["left_out"]) == ("fitness", "min", {})
        first, second = content["groups"]
        assert first["setting"] == {"search.objective.form": "zero_one"}
        assert first["num_runs"] == 2
        assert first["best"] == {"path": "runs/b", "name": "tiny", "value": 0.2}
        assert first["runner_up"]["value"] == 0.3
        assert "best of 2" in first["note"]
        assert (second["best"]["path"], second["runner_up"]) == ("runs/c", None)


class TestResume:
    def test_all_that_were_interrupted_and_no_others(self, lossforge, add, searched, stopped):
        for name in ("a", "b"):
            add(stopped, f"runs/{name}")
        add(searched, "runs/c")
        (add(searched, "runs/d") / "spec.yaml").write_text("[")
        with FileLock(add(stopped, "runs/e") / LOCK):
            outcome = lossforge("runs", "resume")
        assert outcome.code == 0
        assert "runs/c: skipped, it is finished\n" in outcome.err
        assert "runs/d: skipped, unreadable: runs/d/spec.yaml:1:" in outcome.err
        assert "runs/e: skipped, another process is at work in it\n" in outcome.err
        assert outcome.err.count("found after") == 2
        assert outcome.out.count("Next:") == 2
        for name in ("a", "b"):
            assert (
                Path("runs", name, "artifact", "loss.json").read_bytes()
                == (searched / "artifact" / "loss.json").read_bytes()
            )
        assert [run.state for run in find(Path("runs"))] == [
            *("finished", "finished", "finished"),
            *("unreadable", "interrupted"),
        ]

    def test_those_named_each_once(self, lossforge, add, searched, stopped):
        for name in ("a", "b", "c"):
            add(stopped, f"runs/{name}")
        add(searched, "runs/d")
        outcome = lossforge("runs", "resume", "c", "runs/a/", "c", "d")
        assert outcome.code == 0
        assert [line for line in outcome.err.splitlines() if line.startswith("tiny in")] == [
            "tiny in runs/c, seed 0, on cpu",
            "tiny in runs/a, seed 0, on cpu",
        ]
        assert "runs/d: skipped, it is finished\n" in outcome.err
        assert find(Path("runs"))[1].state == "interrupted"

    def test_as_json_it_tells_what_came_of_each(self, lossforge, add, stopped):
        add(stopped, "runs/a")
        outcome = lossforge("runs", "resume", "--json")
        assert json.loads(outcome.out) == {"resumed": [{"path": "runs/a", "exit_code": 0}], "skipped": []}
        assert "lossforge export runs/a" in outcome.err

    def test_one_that_fails_keeps_no_other(self, lossforge, add, stopped, monkeypatch):
        for name in ("a", "b", "c", "d"):
            add(stopped, f"runs/{name}")
        spec = Path("runs/a/spec.yaml")
        spec.write_text(spec.read_text().replace("seed: 0", "seed: 1"))
        with (Path("runs/b/history.jsonl")).open("r+b") as file:
            file.truncate(10)
        resume_run = command.resume_run

        def crash(path):
            if path.name == "c":
                raise RuntimeError("out of memory")
            resume_run(path)

        monkeypatch.setattr(command, "resume_run", crash)
        outcome = lossforge("runs", "resume")
        assert outcome.code == 2, "that of the first"
        assert "error: runs/a: the spec is not the one that the run began with:\n" in outcome.err
        assert "error:   seed: 0 -> 1\n" in outcome.err
        assert "error: runs/b/history.jsonl: 10 bytes" in outcome.err
        assert "Traceback" in outcome.err
        assert "RuntimeError: out of memory" in outcome.err
        assert outcome.err.endswith("3 of 4 failed: runs/a, runs/b, runs/c\n")
        assert find(Path("runs"))[3].state == "finished"

    def test_one_that_found_nothing_is_tried_only_if_named(self, lossforge, add, stopped):
        copy = add(stopped, "runs/a")
        counts = {"generation": 0, "evaluations": 8, "num_solutions": 8, "num_feasible": 0}
        line = {**counts, "restart": 0, "best_fitness": None, "stopped": "no_feasible"}
        (copy / "history.jsonl").write_text(json.dumps(line) + "\n")
        outcome = lossforge("runs", "resume")
        assert outcome.code == 0
        assert outcome.err == "runs/a: skipped, its search has found nothing, and would again\n"
        assert lossforge("runs", "resume", "a").code == 1

    def test_a_damaged_one_is_tried_if_named(self, lossforge, add, searched):
        copy = add(searched, "runs/a")
        (copy / "artifact" / "loss.json").write_text("{")
        assert lossforge("runs", "resume", "a").code == 0
        assert find(Path("runs"))[0].state == "finished"

    def test_ctrl_c_stops_all(self, lossforge, add, stopped, monkeypatch):
        for name in ("a", "b"):
            add(stopped, f"runs/{name}")

        def stop(self, record, seconds):
            raise KeyboardInterrupt

        monkeypatch.setattr("lossforge.cli.display.Display.generation", stop)
        outcome = lossforge("runs", "resume")
        assert outcome.code == 130
        assert outcome.err.splitlines()[-1] == "interrupted; go on with: lossforge resume runs/a"
        assert "runs/b" not in outcome.err

    def test_ctrl_c_between_runs(self, lossforge, add, stopped, monkeypatch):
        add(stopped, "runs/a")

        def stop(path):
            raise KeyboardInterrupt

        monkeypatch.setattr(command, "resume_run", stop)
        outcome = lossforge("runs", "resume")
        assert (outcome.code, outcome.err.strip()) == (130, "interrupted")

    def test_an_unknown_name(self, lossforge, add, stopped):
        add(stopped, "runs/edl-2")
        outcome = lossforge("runs", "resume", "edl-2", "edl-3")
        assert (outcome.code, outcome.out) == (2, "")
        assert "NAME: no run 'edl-3' (did you mean 'edl-2'?); there are: edl-2\n" in outcome.err
        assert find(Path("runs"))[0].state == "interrupted", "nothing is begun"

    def test_another_root(self, lossforge, add, stopped, folder):
        (folder / "elsewhere").mkdir()
        add(stopped, "elsewhere/a")
        with contextlib.chdir(folder / "elsewhere"):
            assert lossforge("runs", "resume", "--root", ".", "a").code == 0
        assert find(Path("elsewhere"))[0].state == "finished"


@pytest.mark.parametrize("name", ["list", "best", "resume"])
def test_each_has_help(lossforge, name):
    outcome = lossforge("runs", name, "--help")
    assert outcome.code == 0
    assert "--root PATH" in outcome.out


def test_nothing_asked_for_shows_help(lossforge):
    outcome = lossforge("runs")
    assert outcome.code == 2
    assert "Commands:" in outcome.err
    assert "..." not in outcome.err.partition("Commands:")[2]
