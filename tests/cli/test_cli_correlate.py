"""``lossforge correlate``: what it prints, writes, and goes on with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

FILE = """\
name: small
zoo:
  published: [cross_entropy, mae, {type: gce, q: 0.3}]
  found: []
  random: []
  shaped: [{name: easy, b: -0.5}]
objectives:
  - {name: ranking, objective: ranking_consistency}
  - {name: shape, objective: {type: gradient_shape, minimum: 1, maximum: 1}}
judging: {batch_size: 64, batches: 1}
training:
  dataset: {type: fake, num_train: 64, num_test: 20, image_shape: [1, 8, 8], num_classes: 4}
  model: resnet8
  epochs: 1
  batch_size: 16
  num_validation: 16
  crop_padding: 1
  precision: float32
tuning: {learning_rate: [0.5, 1], weight_decay: [1], widenings: 0}
"""


@pytest.fixture(scope="module")
def correlated(tmp_path_factory, lossforge):
    """Return a folder with ``small.yaml``, and the correlation of it in ``out``."""
    folder = tmp_path_factory.mktemp("correlated")
    (folder / "small.yaml").write_text(FILE)
    outcome = lossforge("correlate", folder / "small.yaml", "--out", folder / "out")
    assert outcome.code == 0, outcome.err
    (folder / "stdout").write_text(outcome.out)
    (folder / "stderr").write_text(outcome.err)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_prints_objectives_losses_and_what_cannot_be_told_apart(correlated):
    out, err = (correlated / "stdout").read_text(), (correlated / "stderr").read_text()
    assert "Fitness against real accuracy" in out
    assert "The zoo" in out
    assert "behind" in out
    assert "No objective is shown to predict accuracy here" in out  # of four losses
    assert max(map(len, (line for line in out.splitlines() if "[" in line))) <= 100
    assert "judged by shape" in err
    assert "trained 16/16" in err


def test_writes_every_number_as_csv(correlated):
    tables = correlated / "out" / "tables"
    zoo = rows(tables / "zoo.csv")
    assert [row["loss"] for row in zoo] == ["cross_entropy", "mae", "gce(q=0.3)", "easy"]
    assert {row["n"] for row in zoo} == {"2"}
    assert float(zoo[0]["shape"]) < 1e-5 < float(zoo[1]["shape"])
    assert float(zoo[0]["gates.weight_band"]) == 0 < float(zoo[1]["gates.weight_band"])
    assert zoo[0]["ranking.ranking_accuracy"] == "1.0"
    fitness = [row for row in rows(tables / "correlations.csv") if row["measure"] == "fitness"]
    assert [(row["objective"], row["group"]) for row in fitness] == [
        ("ranking", "all"),
        ("shape", "all"),
        ("ranking", "working"),
        ("shape", "working"),
    ]


def test_draws_a_panel_an_objective_and_all_intervals(correlated):
    figures = correlated / "out" / "figures"
    for name in ("objectives", "correlations"):
        svg = (figures / f"{name}.svg").read_text()
        ElementTree.fromstring(svg)
        assert svg.count("Date") == 0


def test_goes_on_and_gives_json_without_training_anything(correlated, lossforge):
    before = (correlated / "out" / "correlate.json").read_text()
    outcome = lossforge("resume", correlated / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == json.loads(before)
    trained = [line for line in outcome.err.splitlines() if line.startswith("trained ")]
    assert len(trained) == 16
    assert all("(read back)" in line for line in trained)


def test_a_dry_run_and_validate_train_nothing(correlated, lossforge, tmp_path):
    outcome = lossforge("correlate", correlated / "small.yaml", "--dry-run", "--json", "--out", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)
    assert (plan["num_losses"], plan["num_trainings"], plan["objectives"]) == (4, 16, ["ranking", "shape"])
    assert not (tmp_path / "new").exists()
    outcome = lossforge("correlate", correlated / "small.yaml", "--dry-run", "--out", tmp_path / "new")
    assert "4 losses, 2 to tune and 2 final trainings each: 16 trainings" in outcome.out
    outcome = lossforge("validate", correlated / "small.yaml")
    assert "correlation of 2 objectives over 4 losses" in outcome.out


def test_mistakes_are_told_with_their_place(correlated, lossforge, tmp_path):
    outcome = lossforge("correlate", correlated / "small.yaml", "--set", "zoo.shapd=[]")
    assert outcome.code == 2
    assert "zoo.shapd: unknown field (did you mean 'shaped'?)" in outcome.err
    outcome = lossforge("correlate", "--dataset", "digits", "--model", "resnet8", "--out", tmp_path / "x")
    assert outcome.code == 2
    assert "set num_validation" in outcome.err
    few = "zoo={published: [gce], found: [], random: [], shaped: []}"
    outcome = lossforge("correlate", correlated / "small.yaml", "--set", few, "--out", tmp_path / "x", "--dry-run")
    assert outcome.code == 2
    assert "1 losses are too few" in outcome.err


def test_a_loss_found_in_a_relative_folder_is_found_again_from_another(lossforge, folder, search_spec, monkeypatch):
    (folder / "small.yaml").write_text(FILE.replace("found: []", "found: [runs/tiny]").replace("[0.5, 1]", "[1]"))
    assert lossforge("run", search_spec, "--out", "runs/tiny").code == 0
    began = lossforge("correlate", "small.yaml", "--out", "out")
    assert began.code == 0, began.err
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    resumed = lossforge("resume", "../out")
    assert resumed.code == 0, resumed.err
    trained = [line for line in resumed.err.splitlines() if line.startswith("trained ")]
    assert len(trained) == 15
    assert all("(read back)" in line for line in trained)
