"""``run``: its directory, what it prints where, its options, and its refusals."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from lossforge.native import compiler
from lossforge.report.reading import read_run
from lossforge.spec import RunSpec
from lossforge.version import __version__

PROFILE = ("0.0001", "0.001", "0.01", "0.1", "0.5", "0.9", "0.99")


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestDirectory:
    def test_layout(self, finished):
        names = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*") if path.is_file()}
        arms = {
            f"training/{loss}/seed-{index}.{suffix}"
            for loss in ("tiny", "cross_entropy", "gce")
            for index in range(2)
            for suffix in ("json", "safetensors")
        }
        checkpoints = {
            f"checkpoint/{generation:08d}/state.{suffix}" for generation in (2, 4) for suffix in ("json", "safetensors")
        }
        assert names == {
            "spec.yaml",
            "manifest.json",
            "history.jsonl",
            "timing.jsonl",
            "run.log",
            ".lock",
            "checkpoint/spec.yaml",
            "artifact/loss.safetensors",
            "artifact/loss.json",
            "artifact/loss.py",
            "training/choices.json",
            "training/comparison.json",
            "training/data.json",
            "report.html",
            *arms,
            *checkpoints,
        }

    def test_the_spec_is_resolved_and_valid(self, finished):
        spec = RunSpec.from_yaml(finished.path / "spec.yaml")
        assert spec.to_yaml() == (finished.path / "spec.yaml").read_text()
        assert spec.device == ("cuda" if torch.cuda.is_available() else "cpu")
        choices = json.loads((finished.path / "training" / "choices.json").read_text())
        assert choices == {"precision": "float32", "replication": "in_turn"}
        (why,) = [line for line in lines_of(finished.path / "timing.jsonl") if line.get("choice") == "precision"]
        assert (why["chosen"], why["reason"]) == ("float32", "as the spec says")
        assert spec.description == "a run for tests"
        assert spec.search.strategy.population_size == 8

    def test_the_manifest_says_what_made_it(self, finished):
        manifest = json.loads((finished.path / "manifest.json").read_text())
        assert manifest["lossforge"] == __version__
        assert manifest["torch"] == torch.__version__.partition("+")[0] or manifest["torch"] == torch.__version__
        assert manifest["device"] in ("cpu", "cuda")
        assert isinstance(manifest["command"], list)
        assert isinstance(manifest["plugins"], list)
        assert {"python", "platform", "device_model", "torchvision", "pydantic", "numpy", "scipy"} <= manifest.keys()
        if manifest["device"] == "cpu":
            assert manifest["compiler"] == compiler.compiler_version() != ""
            assert manifest["device_model"].startswith(compiler.cpu_name())

    def test_the_history_has_a_line_a_generation_and_no_times(self, finished):
        history = lines_of(finished.path / "history.jsonl")
        assert [record["generation"] for record in history] == [0, 1, 2, 3]
        assert [record["evaluations"] for record in history] == [8, 16, 24, 32]
        for record in history:
            assert record["num_solutions"] == 8
            assert list(record["pass_rates"]) == ["finite", "same_prediction", "duplicate"]
            assert sum(record["rejected"].values()) == 8 - record["num_feasible"]
            assert not any("second" in key or "time" in key for key in record)

    def test_the_log_tells_each_step(self, finished):
        told = [line.partition(" INFO ")[2] for line in (finished.path / "run.log").read_text().splitlines()]
        assert told[0].startswith(f"lossforge {__version__}, process ")
        assert told[1:] == [
            "search 1 ended after 4 generations",
            *(f"{loss}, seed {index}: trained" for index in range(2) for loss in ("tiny", "cross_entropy", "gce")),
            "done",
        ]

    def test_times_are_kept_apart(self, finished):
        timing = lines_of(finished.path / "timing.jsonl")
        assert [entry["generation"] for entry in timing if "generation" in entry] == [0, 1, 2, 3]
        trainings = [(entry["loss"], entry["seed_index"]) for entry in timing if "loss" in entry]
        assert sorted(trainings) == sorted((loss, i) for loss in ("tiny", "cross_entropy", "gce") for i in range(2))
        assert all(entry["seconds"] > 0 for entry in timing if "choice" not in entry)

    def test_the_artifact_names_no_time_and_no_host(self, finished):
        loss = json.loads((finished.path / "artifact" / "loss.json").read_text())
        assert (loss["name"], loss["generations"], loss["evaluations"]) == ("tiny", 4, 32)
        assert [f"{p:g}" for p in loss["weight_profile"]["p"]] == list(PROFILE)
        assert not any("time" in key or "host" in key for key in loss)

    def test_the_comparison_is_of_all_losses_over_all_seeds(self, finished):
        comparison = json.loads((finished.path / "training" / "comparison.json").read_text())
        assert [loss["name"] for loss in comparison["losses"]] == ["tiny", "cross_entropy", "gce"]
        assert all(len(loss["results"]) == 2 for loss in comparison["losses"])
        assert (comparison["found"], comparison["reference"]) == ("tiny", "cross_entropy")
        assert len(set(comparison["training_seeds"])) == 2

    def test_the_report_is_of_this_run(self, finished):
        html = (finished.path / "report.html").read_text()
        assert read_run(finished.path).history_hash in html
        assert "cross_entropy" in html


class TestStdout:
    def test_the_comparison_table_has_means_spreads_and_differences_with_intervals(self, finished):
        out = finished.outcome.out
        assert finished.outcome.code == 0
        comparison = json.loads((finished.path / "training" / "comparison.json").read_text())
        for loss in comparison["losses"]:
            accuracy = loss["metrics"]["accuracy"]
            (row,) = [line for line in out.splitlines() if line.startswith(loss["name"]) and " ± " in line]
            assert f"{100 * accuracy['sample']['mean']:.1f} ± {100 * accuracy['sample']['sd']:.1f}" in row
            if loss["name"] == "cross_entropy":
                assert "reference" in row
            else:
                difference = accuracy["difference"]
                low, high = 100 * difference["low"], 100 * difference["high"]
                assert f"[{low:+.1f}, {high:+.1f}]" in row or low == high
        assert "95% interval" in out

    def test_the_verdict_is_one_sentence(self, finished):
        (sentence,) = [line for line in finished.outcome.out.splitlines() if line.startswith("On fake")]
        assert "2 seeds" in sentence
        assert "the found loss reaches" in sentence

    def test_the_weight_profile_has_the_seven_probabilities(self, finished):
        table = finished.outcome.out.partition("Weight w(p)")[2].partition("ranking accuracy")[0]
        rows = [line.split() for line in table.splitlines()]
        profile = json.loads((finished.path / "artifact" / "loss.json").read_text())["weight_profile"]
        found = {row[0]: row[1] for row in rows if row and row[0] in PROFILE}
        assert found == {f"{p:g}": f"{w:.2f}" for p, w in zip(profile["p"], profile["rivals_uniform"], strict=True)}

    def test_the_next_commands_name_the_run_so_that_a_shell_takes_them(self, finished, lossforge, monkeypatch):
        commands = [shlex.split(line) for line in finished.outcome.out.partition("Next:\n")[2].splitlines()]
        report, export, load = commands
        assert report[1] == "tiny run/report.html"
        assert export[:3] == ["lossforge", "export", "tiny run"]
        assert "lossforge.load_loss('tiny run')" in finished.outcome.out
        assert load[0].startswith("lossforge.load_loss(")
        monkeypatch.chdir(finished.path.parent)
        assert lossforge(*export[1:3], "--out", "exported.py").code == 0

    def test_a_run_without_training_says_how_to_train(self, lossforge, search_spec):
        outcome = lossforge("run", search_spec)
        assert outcome.code == 0
        assert "Losses compared" not in outcome.out
        (line,) = [line for line in outcome.out.splitlines() if line.startswith("  lossforge train")]
        text, _, purpose = line.strip().partition("  ")
        assert text == "lossforge train --loss runs/tiny --baseline cross_entropy --seeds 3"
        assert purpose.strip() == "train with it, beside cross-entropy"
        quick = ("--set", "num_train=64", "--epochs", "1", "--json")
        trained = lossforge(*shlex.split(text)[1:], *quick)
        assert [loss["name"] for loss in json.loads(trained.out)["losses"]] == ["cross_entropy", "tiny"]


class TestStderr:
    def test_progress_goes_there_as_plain_lines(self, finished):
        err = finished.outcome.err
        assert "\x1b" not in err
        assert "\r" not in err
        lines = err.splitlines()
        assert "tiny in tiny run, seed 0, on " in err
        searched = [line for line in lines if line.startswith("search ")]
        assert [line.split()[1] for line in searched] == ["1/4", "2/4", "3/4", "4/4"]
        assert all("best fitness" in line and "gates passed: finite 100%" in line for line in searched)
        assert [line for line in lines if line.startswith("found after 32 evaluations")] != []
        trained = [line for line in lines if line.startswith("trained ")]
        assert [line.split()[1] for line in trained] == [f"{done}/6" for done in range(1, 7)]
        assert "tiny, seed 0: test accuracy" in trained[0]
        assert not searched[-1].endswith(" left")
        assert not trained[-1].endswith(" left")

    def test_results_do_not(self, finished):
        for word in ("Losses compared", "interval", "±", "Weight w(p)", "Next:", "reaches"):
            assert word in finished.outcome.out
            assert word not in finished.outcome.err

    def test_progress_is_not_on_stdout(self, finished):
        assert "search 1/4" not in finished.outcome.out
        assert "trained 1/6" not in finished.outcome.out

    def test_a_long_search_prints_ten_lines_or_so(self, lossforge, search_spec):
        outcome = lossforge("run", search_spec, "--set", "search.generations=35", "--set", "search.batch_size=16")
        assert 8 <= sum(line.startswith("search ") for line in outcome.err.splitlines()) <= 13


class TestOptions:
    def test_seed_replaces_the_specs_and_changes_the_run(self, lossforge, search_spec):
        for seed in (0, 1):
            assert lossforge("run", search_spec, "--out", f"seed-{seed}", "--seed", seed).code == 0
            assert RunSpec.from_yaml(f"seed-{seed}/spec.yaml").seed == seed
        assert Path("seed-0/history.jsonl").read_bytes() != Path("seed-1/history.jsonl").read_bytes()

    def test_seed_comes_after_set(self, lossforge, search_spec):
        assert "seed: 5" in lossforge("show", search_spec, "--set", "seed=5").out
        outcome = lossforge("run", search_spec, "--set", "seed=5", "--seed", "6")
        assert "seed 6" in outcome.err

    def test_set_changes_values(self, lossforge, search_spec):
        outcome = lossforge(
            "run", search_spec, "--set", "search.generations=2", "--set", "search.strategy.population_size=5"
        )
        assert outcome.code == 0
        history = lines_of(Path("runs/tiny/history.jsonl"))
        assert [record["num_solutions"] for record in history] == [5, 5]

    def test_without_out_runs_are_numbered(self, lossforge, search_spec):
        for number in ("", "-2", "-3"):
            outcome = lossforge("run", search_spec, "--set", "search.generations=1")
            assert outcome.code == 0
            assert f"tiny in runs/tiny{number}, seed 0" in outcome.err
            assert Path(f"runs/tiny{number}/artifact/loss.py").is_file()

    def test_out_may_be_an_empty_folder_or_one_to_be_made(self, lossforge, search_spec, folder):
        (folder / "empty").mkdir()
        for out in ("empty", "some/where/new"):
            assert lossforge("run", search_spec, "--set", "search.generations=1", "--out", out).code == 0
            assert Path(out, "report.html").is_file()

    def test_a_preset_by_its_name(self, lossforge):
        # The gates of the preset take longer to pass than a test may.
        outcome = lossforge(
            "run",
            "edl",
            *("--set", "search.generations=1", "--set", "search.batch_size=16", "--set", "search.gates={}"),
            *("--set", "search.gates.weight_band=null", "--set", "search.gates.signs=null"),
            *("--set", "search.selection_batch_size=32"),
        )
        assert outcome.code == 0
        assert RunSpec.from_yaml("runs/edl/spec.yaml").search.mutation.type == "chaotic"

    def test_a_path_is_printed_as_it_is(self, lossforge, search_spec):
        out = "[bold]odd [name"
        outcome = lossforge("run", search_spec, "--set", "search.generations=1", "--out", out)
        assert outcome.code == 0
        assert f"tiny in {out}, seed" in outcome.err
        assert f"lossforge export '{out}'" in outcome.out


class TestDryRun:
    def test_it_says_what_would_be_done_and_writes_nothing(self, lossforge, folder, training_spec):
        before = sorted(folder.rglob("*"))
        outcome = lossforge("run", training_spec, "--dry-run", "--set", "search.generations=1000")
        assert outcome.code == 0
        assert "tiny: would run in runs/tiny" in outcome.out
        assert "1,000 generations of 8 candidates on 32 pairs: 8,000 evaluations" in outcome.out
        assert "evaluated by the back end 'compiled' on cpu" in outcome.out
        assert "2 seeds of tiny and cross_entropy and gce: 6 trainings" in outcome.out
        assert "nothing was run" in outcome.out
        assert sorted(folder.rglob("*")) == before

    def test_times_are_estimated(self, lossforge, folder, training_spec):
        outcome = lossforge("run", training_spec, "--dry-run", "--json")
        assert "timing a few evaluations and training steps" in outcome.err
        plan = json.loads(outcome.out)
        assert plan["searches"] == [
            {"generations": 4, "num_solutions": 8, "batch_size": 32, "evaluations": 32, "num_parameters": 16}
        ]
        assert (plan["trainings"], plan["backend"], plan["path"]) == (6, "compiled", "runs/tiny")
        assert 0 < plan["search_seconds"] < 100
        assert 0 < plan["training_seconds"] < 100
        assert [path.name for path in folder.iterdir()] == ["training.yaml"]

    def test_what_stops_a_search_bounds_the_plan_and_of_many_searches_two_are_told(self, lossforge, search_spec):
        def plan(*settings: str, options=()):
            return lossforge("run", search_spec, "--dry-run", *options, *(f"--set={each}" for each in settings)).out

        many = plan("search.restarts=100000")
        assert len(many.splitlines()) < 10
        assert "search 100000 of 100000: 4 generations" in many
        assert "all 100000 searches: 3,200,000 evaluations" in many
        budget = ("search.restarts=5", "search.stop.evaluations=77", "search.population_growth=1.5")
        bounded = json.loads(plan(*budget, "search.stop.wall_time=1e-6", options=("--json",)))
        assert (bounded["num_searches"], bounded["evaluations"], bounded["search_seconds"]) == (2, 32 + 3 * 12, 1e-6)
        assert [search["generations"] for search in bounded["searches"]] == [4, 3]

    def test_as_many_generations_as_there_may_be_are_years(self, lossforge, search_spec):
        out = lossforge("run", search_spec, "--dry-run", "--set", "search.generations=1000000000").out
        assert "1,000,000,000 generations of 8 candidates on 32 pairs: 8,000,000,000 evaluations" in out
        assert re.search(r"time: about (\d+ d \d+ h|[\d,]+ years), by evaluations timed here", out)

    def test_missing_data_are_told(self, lossforge, training_spec):
        outcome = lossforge("run", training_spec, "--dry-run", "--set", "evidence.gap={epochs_at: [5]}")
        assert "epoch 5 is to be recorded, and a training has 1" in outcome.err
        outcome = lossforge("run", training_spec, "--dry-run", "--set", "training.dataset={type: cifar10, root: gone}")
        assert (outcome.code, outcome.out) == (2, "")
        assert "gone" in outcome.err

    def test_without_training(self, lossforge, search_spec):
        outcome = lossforge("run", search_spec, "--dry-run", "--out", "there")
        assert "would run in there" in outcome.out
        assert "training: none" in outcome.out

    def test_it_refuses_what_the_run_would_refuse(self, lossforge, finished, search_spec):
        outcome = lossforge("run", search_spec, "--dry-run", "--out", finished.path)
        assert outcome.code == 2
        assert "holds a run already" in outcome.err
        assert lossforge("run", search_spec, "--dry-run", "--set", "search.generations=0").code == 2


class TestRefusals:
    def test_an_out_that_is_not_empty(self, lossforge, folder, search_spec):
        (folder / "full").mkdir()
        (folder / "full" / "thesis.tex").write_text("precious")
        outcome = lossforge("run", search_spec, "--out", "full")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == "error: full: is not empty; choose another directory with --out\n"
        assert [path.name for path in (folder / "full").iterdir()] == ["thesis.tex"]

    def test_an_out_that_holds_a_run_offers_to_resume_it(self, lossforge, finished, search_spec, monkeypatch):
        monkeypatch.chdir(finished.path.parent)
        outcome = lossforge("run", search_spec, "--out", "tiny run")
        assert outcome.code == 2
        assert "tiny run: holds a run already" in outcome.err
        assert "lossforge resume 'tiny run'" in outcome.err

    @pytest.mark.parametrize("out", ["file", "file/below", "x" * 300])
    def test_an_out_that_cannot_be_a_folder(self, lossforge, folder, search_spec, out):
        (folder / "file").write_text("precious")
        outcome = lossforge("run", search_spec, "--out", out)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert line.startswith(f"error: {out}: ")
        assert line.endswith("--out")
        assert (folder / "file").read_text() == "precious"

    def test_missing_images_are_one_line_with_the_remedy(self, lossforge, folder, training_spec):
        outcome = lossforge("run", training_spec, "--set", "training.dataset={type: image_folder, root: nowhere}")
        assert outcome.code == 2
        assert outcome.out == ""
        (line,) = [line for line in outcome.err.splitlines() if line.startswith("error")]
        assert line == "error: nowhere/train: no such folder; put images in nowhere/train/<class>/, or correct root"
        assert not (folder / "runs").exists(), "told before the search, with nothing left behind"

    def test_more_images_than_there_are(self, lossforge, training_spec):
        outcome = lossforge("run", training_spec, "--set", "training.num_train=1000")
        assert outcome.code == 2
        (line,) = [line for line in outcome.err.splitlines() if line.startswith("error")]
        assert "1000" in line
        assert "32" in line

    @pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("validate",)], ids=" ".join)
    def test_sizes_that_no_memory_holds(self, lossforge, folder, search_spec, command, monkeypatch):
        monkeypatch.setattr("lossforge.sizes.physical_memory", lambda: 16 * 10**9)

        def refused(option: str, number: int) -> str:
            outcome = lossforge(command[0], search_spec, *command[1:], "--set", f"search.{option}={number}")
            assert (outcome.code, outcome.out) == (2, "")
            assert not (folder / "runs").exists()
            return outcome.err

        for option in ("strategy.population_size", "batch_size", "generations", "restarts", "workers"):
            for number in (10**12, 10**22):
                assert f"search.{option}: must be at most 1" in refused(option, number)
        assert "1,000,000,000 candidates of 16 numbers take 64.0 GB, but this machine has 16.0 GB" in refused(
            "strategy.population_size", 10**9
        )
        assert "32 pairs of 1,000,000,000 classes take 128.0 GB" in refused("num_classes", 10**9)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    @pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry-run"])
    def test_cuda_where_there_is_none(self, lossforge, folder, search_spec, more):
        outcome = lossforge("run", search_spec, "--set", "device=cuda", *more)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert "device: cuda is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'" in line
        assert not (folder / "runs").exists()

    def test_a_search_in_which_nothing_passes_the_gates(self, lossforge, search_spec):
        impossible = "search.gates.weight_band={minimum: 2.9, maximum: 3.0}"
        outcome = lossforge("run", search_spec, "--set", impossible, "--set", "search.gates.patience=3")
        assert (outcome.code, outcome.out) == (1, "")
        message = outcome.err.splitlines()[-1]
        assert message.startswith("error: no candidate passed all gates for 3 generations")
        assert "rejected by: weight_band 24)" in message
        assert "loosen search.gates" in message

    def test_a_search_whose_winner_does_not_pass(self, lossforge, search_spec):
        impossible = "search.gates.weight_band={minimum: 2.9, maximum: 3.0}"
        outcome = lossforge("run", search_spec, "--set", impossible)
        assert outcome.code == 1
        assert outcome.err.splitlines()[-1].startswith("error: none of 12 solutions")


def test_trade_offs_are_shown_and_can_be_exported(lossforge, search_spec, folder):
    goals = "[{objective: ranking_consistency}, {objective: {type: gradient_shape, minimum: 1.0, maximum: 1.0}}]"
    objective = f"search.objective={{type: pareto, objectives: {goals}}}"
    outcome = lossforge("run", search_spec, "--set", objective)
    assert outcome.code == 0, outcome.err
    assert "Trade-offs" in outcome.out
    assert "fitness  " not in outcome.out.replace(".fitness", ""), "a rank is no figure"
    assert ["member", "gradient_shape", "ranking_consistency"] in [line.split() for line in outcome.out.splitlines()]
    assert "lossforge export runs/tiny --member 0" in outcome.out
    assert lossforge("export", "runs/tiny", "--member", "0").code == 0
    assert "class Loss" in (folder / "loss.py").read_text()
    best = lossforge("runs", "best")
    assert best.code == 2
    assert "no finished run has 'fitness'" in best.err
    assert "gradient_shape.fitness" in best.err
    missing = lossforge("export", "runs/tiny", "--member", "999", "--out", "other.py")
    assert missing.code == 2
    assert "has no trade-off 999; there are 0 to" in missing.err
