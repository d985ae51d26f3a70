"""``train``: losses that are there already, its folder, its output, and its refusals."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch

from lossforge.spec import TrainSpec

DATASET = "{type: fake, num_train: 48, num_test: 20, image_shape: [1, 8, 8], num_classes: 4}"
OPTIONS = ("--dataset", DATASET, "--model", "resnet8", "--epochs", "2", "--batch-size", "16")
QUICK = (*OPTIONS, "--set", "crop_padding=1", "--set", "precision=float32")


@pytest.fixture(scope="module")
def trained(lossforge, finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "results"
    losses = ("--loss", "{type: gce, q: 0.5}", "--loss", finished.path, "--loss", "cross_entropy")
    options = ("--seeds", "2", "--set", "num_validation=8", "--set", "label_noise.rate=0.4")
    arguments = ("train", *losses, *QUICK, *options, "--out", out)
    return out, lossforge(*arguments), arguments


class TestResults:
    def test_layout(self, trained):
        out, outcome, _ = trained
        assert outcome.code == 0, outcome.err
        names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        arms = {
            f"{loss}/seed-{index}.{suffix}"
            for loss in ("gce(q=0.5)", "tiny", "cross_entropy")
            for index in range(2)
            for suffix in ("json", "safetensors")
        }
        files = {"training.yaml", "data.json", "choices.json", "comparison.json"}
        files |= {"manifest.json", "timing.jsonl", "run.log", ".lock"}
        assert names == files | arms

    def test_the_spec_is_resolved_and_valid(self, trained):
        out, _, _ = trained
        spec = TrainSpec.from_yaml(out / "training.yaml")
        assert spec.to_yaml() == (out / "training.yaml").read_text()
        assert (spec.seeds, spec.training.epochs, spec.training.batch_size) == (2, 2, 16)
        assert spec.training.label_noise.type == "symmetric"
        assert spec.training.label_noise.rate == 0.4

    def test_what_is_printed(self, trained):
        _, outcome, _ = trained
        for name in ("gce(q=0.5)", "tiny", "cross_entropy"):
            assert name in outcome.out
        assert "On fake, resnet8, 2 seeds: tiny reaches" in outcome.out
        assert "trained 5/6  cross_entropy, seed 1: test accuracy" in outcome.err

    def test_what_was_trained_on_is_recorded(self, trained):
        out, _, _ = trained
        record = json.loads((out / "data.json").read_text())
        assert sum(record["images_a_class"]["train"]) == 40
        assert record["images_a_class"]["validation"] == [2, 2, 2, 2]
        assert record["images_a_class"]["test"] == [5, 5, 5, 5]
        assert 0 < record["wrong_labels"]["train"] < 1
        assert set(record["wrong_labels"]) == {"train", "validation", "test"}

    def test_logits_of_test_and_validation_are_kept(self, trained):
        out, _, _ = trained
        kept = safetensors.torch.load_file(out / "tiny" / "seed-1.safetensors")
        shapes = {name: tuple(value.shape) for name, value in kept.items()}
        assert shapes == {
            "logits": (20, 4),
            "labels": (20,),
            "validation_logits": (8, 4),
            "validation_labels": (8,),
        }

    def test_the_comparison_has_metrics_raw_and_after_temperature_scaling(self, trained):
        out, _, _ = trained
        comparison = json.loads((out / "comparison.json").read_text())
        assert comparison["reference"] == "cross_entropy"
        names = ("accuracy", "nll", "brier", "ece", "debiased_ece")
        scaled = {f"scaled_{name}" for name in names if name != "accuracy"}
        for loss in comparison["losses"]:
            assert set(loss["metrics"]) == {*names, *scaled}
            assert all(summary["sample"]["num"] == 2 for summary in loss["metrics"].values())

    def test_the_same_command_trains_nothing_again(self, lossforge, trained):
        out, first, arguments = trained
        before = {path: path.stat().st_mtime_ns for path in out.rglob("seed-*")}
        again = lossforge(*arguments)
        assert again.code == 0
        assert again.err.count("(read back)") == 6
        assert again.out == first.out
        assert {path: path.stat().st_mtime_ns for path in out.rglob("seed-*")} == before

    def test_another_spec_is_refused_in_the_same_folder(self, lossforge, trained):
        _, _, arguments = trained
        outcome = lossforge(*arguments, "--set", "weight_decay=0.1")
        assert outcome.code == 2
        assert "training.weight_decay" in outcome.err
        assert "choose another with --out" in outcome.err


def test_one_loss_by_default_in_a_folder_of_its_own(lossforge, folder):
    outcome = lossforge("train", "--loss", "mae", *QUICK)
    assert outcome.code == 0, outcome.err
    assert (folder / "runs" / "train-resnet8-fake" / "mae" / "seed-0.json").is_file()
    assert "Difference" not in outcome.out


def test_other_options_get_another_folder_and_other_losses_the_same(lossforge, folder):
    for arguments in (("mae",), ("mae", "--seed", "1"), ("gce", "--seeds", "2"), ("mae", "--loss", "gce")):
        assert lossforge("train", "--loss", *arguments, *QUICK).code == 0
    arms = {path.relative_to(folder / "runs").as_posix() for path in (folder / "runs").rglob("seed-*.json")}
    first, second = "train-resnet8-fake", "train-resnet8-fake-2"
    both = {f"{each}/mae/seed-0.json" for each in (first, second)}
    assert arms == {*both, f"{first}/gce/seed-0.json", f"{first}/gce/seed-1.json"}
    resumed = lossforge("resume", folder / "runs" / first)
    assert resumed.code == 0
    assert resumed.err.count("(read back)") == 2


def test_json(lossforge):
    outcome = lossforge("train", "--loss", "mae", *QUICK, "--json")
    comparison = json.loads(outcome.out)
    assert [loss["name"] for loss in comparison["losses"]] == ["mae"]
    assert comparison["model"] == "resnet8"


class TestTheBestRun:
    @pytest.fixture
    def runs(self, folder, finished):
        shutil.copytree(finished.path, folder / "runs" / "first")
        other = folder / "runs" / "second"
        shutil.copytree(finished.path, other)
        content = json.loads((other / "artifact" / "loss.json").read_text())
        content["held_out"]["fitness"] -= 1.0
        (other / "artifact" / "loss.json").write_text(json.dumps(content))
        return folder / "runs"

    def test_it_is_trained_as_its_run_trained_beside_a_baseline(self, lossforge, runs):
        outcome = lossforge("train", "--loss", "best", "--baseline", "gce", "--epochs", "1", "--json")
        assert outcome.code == 0, outcome.err
        assert f"--loss best: runs/second{os.linesep}" in outcome.err
        assert "no --dataset and --model: trained as in runs/second/spec.yaml" in outcome.err
        assert "2 trainings of 1 epoch" in outcome.err
        comparison = json.loads(outcome.out)
        assert comparison["reference"] == "gce"
        assert {loss["name"] for loss in comparison["losses"]} == {"tiny", "gce"}
        stored = TrainSpec.from_yaml(runs / "train-resnet8-fake" / "training.yaml")
        assert stored.training.dataset.num_train == 32
        assert stored.found == ("runs/second",)

    def test_a_folder_of_that_name_is_told_by_a_slash(self, lossforge, folder, runs):
        shutil.copytree(runs / "first", folder / "best")
        outcome = lossforge("train", "--loss", "best", "--epochs", "1", "--json")
        assert outcome.code == 0, outcome.err
        assert f"--loss best: runs/second; what is called best here is ./best{os.linesep}" in outcome.err
        stored = folder / "runs" / "train-resnet8-fake" / "training.yaml"
        assert TrainSpec.from_yaml(stored).found == ("runs/second",)
        assert lossforge("train", "--loss", "./best", "--epochs", "1", "--out", "other").code == 0
        assert TrainSpec.from_yaml("other/training.yaml").found == ("./best",)
        shutil.rmtree(runs)
        assert (
            "holds no finished run; name one ('lossforge runs best' lists them); what is called best here is ./best"
            in (lossforge("train", "--loss", "best").err)
        )

    def test_none_or_several_settings(self, lossforge, folder, runs):
        spec = runs / "first" / "spec.yaml"
        spec.write_text(spec.read_text().replace("num_classes: 10", "num_classes: 9"))
        outcome = lossforge("train", "--loss", "best")
        assert outcome.code == 2
        assert "--loss best: runs holds 2 settings, between which fitness does not compare" in outcome.err
        shutil.rmtree(runs)
        outcome = lossforge("train", "--loss", "best")
        assert (outcome.code, "--loss best: runs holds no finished run" in outcome.err) == (2, True)


def test_without_dataset_and_model_digits(lossforge, folder):
    outcome = lossforge("train", "--loss", "mae", "--set", "num_train=64", "--epochs", "1")
    assert outcome.code == 0, outcome.err
    assert "no --dataset and --model: trained on digits, for a minute" in outcome.err
    assert (folder / "runs" / "train-resnet8-digits" / "mae" / "seed-0.json").is_file()
    outcome = lossforge("train", "--loss", "mae", "--dataset", "digits")
    assert (outcome.code, "give --dataset and --model, or neither" in outcome.err) == (2, True)


def test_the_baseline_is_trained_once_and_may_change(lossforge, folder):
    first = lossforge("train", "--loss", "mae", "--loss", "gce", "--baseline", "gce", *QUICK, "--json")
    second = lossforge("train", "--loss", "mae", "--baseline", "{type: gce, q: 0.3}", *QUICK, "--json")
    assert json.loads(first.out)["reference"] == "gce"
    assert json.loads(second.out)["reference"] == "gce(q=0.3)"
    arms = {path.parent.name for path in (folder / "runs").rglob("seed-0.json")}
    assert arms == {"mae", "gce", "gce(q=0.3)"}
    assert len(list((folder / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("--loss", "gcee"), ["--loss gcee: losses.0: unknown type 'gcee' (did you mean 'gce'?)"]),
        (
            ("--loss", "gce", "--loss", "beast"),
            ["--loss beast: losses.1: ", "'best' would be the loss of the best run"],
        ),
        (("--loss", "gce", "--baseline", "gcee", "--set", "x=1"), ["--baseline gcee: ", "--set x=1: training.x: "]),
        (("--loss", "runs/none"), ["--loss runs/none: no such path"]),
        (("--loss", "gce", "--set", "optimizer.momentm=1"), ["unknown field (did you mean 'momentum'?)"]),
        (("--loss", "gce", "--tracker", "mlflw"), ["trackers.0: unknown type 'mlflw'; installed trackers: none"]),
        (("--loss", "gce", "--set", "epochs=0", "--set", "mixup=-1"), ["training.epochs", "training.mixup"]),
        (("--loss", "gce", "--loss", "gce"), ["the same loss stands here twice"]),
        (("--loss", "gce, mae"), ["--loss gce, mae: no such path, and no loss is called so"]),
        (("--loss", "~nobody/there"), ["--loss ~nobody/there: no such path"]),
        (("--loss", "{type: gce, q: 2}" + " " * 300), ["losses.0.q: must be at most 1"]),
    ],
)
def test_refusals(lossforge, folder, arguments, messages):
    outcome = lossforge("train", *arguments, *QUICK)
    assert outcome.code == 2, outcome
    for message in messages:
        assert message in outcome.err
    assert list(folder.iterdir()) == []


def test_a_spec_that_does_not_fit_the_images_leaves_nothing_behind(lossforge, folder):
    outcome = lossforge("train", "--loss", "gce", *QUICK, "--set", "crop_padding=9")
    assert outcome.code == 2
    assert "training.crop_padding: a border of 9 pixels" in outcome.err
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_no_artifact(lossforge, folder):
    (folder / "empty").mkdir()
    outcome = lossforge("train", "--loss", "empty", *QUICK)
    assert outcome.code == 2
    assert "empty: no loss.json here" in outcome.err


def test_options_of_losses_within_losses(lossforge, folder):
    outcome = lossforge("train", "--loss", "{type: apl, active: {type: nfl, gamma: 0.25}}", *QUICK)
    assert outcome.code == 0, outcome.err
    assert (folder / "runs" / "train-resnet8-fake" / "apl(active=nfl(gamma=0.25))" / "seed-0.json").is_file()


def test_a_found_loss_in_a_folder_of_any_name(lossforge, finished, folder):
    shutil.copytree(finished.path / "artifact", folder / "my \N{HEAVY BLACK HEART} 🔥 loss")
    outcome = lossforge("train", "--loss", "my \N{HEAVY BLACK HEART} 🔥 loss", *QUICK)
    assert outcome.code == 0, outcome.err


def test_what_was_begun_and_not_finished_is_begun_again(lossforge, folder):
    (folder / "half").mkdir()
    for name in (".lock", "manifest.json", "choices.json", "run.log"):
        (folder / "half" / name).write_text("{")
    (folder / "half" / "choices.json").write_text('{"precision": "float32", "replication": "in_turn"}')
    assert lossforge("train", "--loss", "mae", *QUICK, "--out", "half").code == 0


def test_a_file_and_a_place_that_cannot_be_written(lossforge, folder):
    (folder / "file").write_text("keep")
    outcome = lossforge("train", "--loss", "mae", *QUICK, "--out", "file")
    assert (outcome.code, "file: is no folder" in outcome.err) == (2, True)
    outcome = lossforge("train", "--loss", "mae", *QUICK, "--out", "/proc/there")
    assert (outcome.code, "/proc/there: cannot be written" in outcome.err) == (2, True)


def test_the_settled_spec_is_what_is_stored(lossforge, folder):
    options = [each for each in QUICK if each != "precision=float32"]
    del options[-1]
    outcome = lossforge("train", "--loss", "mae", *options, "--out", "auto")
    assert outcome.code == 0
    stored = TrainSpec.from_yaml(folder / "auto" / "training.yaml").training
    choices = json.loads((folder / "auto" / "choices.json").read_text())
    assert (stored.precision, stored.replication) == (choices["precision"], "in_turn")
    assert f"precision {stored.precision}: a step takes in float32" in outcome.err
    assert lossforge("train", "--loss", "mae", *options, "--out", "auto").code == 0
    assert lossforge("resume", "auto").code == 0


def test_a_folder_of_something_else_is_left_alone(lossforge, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep")
    outcome = lossforge("train", "--loss", "mae", *QUICK, "--out", "mine")
    assert outcome.code == 2
    assert "mine: is not empty, and holds no training.yaml" in outcome.err
    assert [path.name for path in (folder / "mine").iterdir()] == ["notes.txt"]


def test_two_losses_of_one_name_are_refused(lossforge, finished, folder):
    outcome = lossforge("train", "--loss", finished.path, "--loss", finished.path / "artifact", *QUICK)
    assert outcome.code == 2
    assert "holds a loss called 'tiny', and so is another" in outcome.err


class TestInterruption:
    ARGUMENTS = ("train", "--loss", "cross_entropy", "--loss", "gce", *QUICK, "--epochs", "40")

    def command(self, out: Path) -> list[str]:
        return [sys.executable, "-c", "from lossforge.cli import main; main()", *self.ARGUMENTS, "--out", str(out)]

    def until_begun(self, out: Path, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 100
        while not list(out.rglob("*.unfinished.safetensors")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, lossforge, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        assert lossforge(*cls.ARGUMENTS, "--out", folder).code == 0
        return folder

    @pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
    def test_goes_on_to_the_same_bits(self, lossforge, folder, in_time, whole, kill):
        out = folder / "interrupted"
        process = subprocess.Popen(self.command(out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.until_begun(out, process)
        process.send_signal(kill)
        _, err = process.communicate()
        assert not (out / "comparison.json").exists()
        if kill == signal.SIGINT:
            assert process.returncode == 130
            told = err.splitlines()[-1].removeprefix("interrupted; go on with: ")
            assert shlex.split(told)[1:] == ["resume", str(out)]
            assert lossforge("resume", out).code == 0
        else:
            assert lossforge(*self.ARGUMENTS, "--out", out).code == 0
        for path in whole.rglob("seed-*"):
            assert path.read_bytes() == (out / path.relative_to(whole)).read_bytes()
        assert (out / "comparison.json").read_bytes() == (whole / "comparison.json").read_bytes()
        assert not list(out.rglob("*.unfinished.safetensors"))


def test_environment_is_recorded(lossforge, folder):
    assert lossforge("train", "--loss", "mae", *QUICK, "--out", "results").code == 0
    manifest = json.loads((folder / "results" / "manifest.json").read_text())
    assert {"torch", "lossforge", "device_model", "command", "plugins"} <= set(manifest)
    assert os.path.basename(manifest["command"][0])
