"""``lossforge gap``: what is printed, written, and refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from lossforge.samplers import record_predictions

QUICK = ("--seeds", "1", "--samples", "100", "--batches", "4")
DATA = ("--dataset", "{type: fake, num_train: 64, num_test: 20, image_shape: [1, 8, 8]}", "--model", "resnet8")
SMALL = ("--set", "training.batch_size=16", "--set", "training.precision=float32", "--set", "training.crop_padding=1")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "p.safetensors"
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(120, 10, generator=generator)
    record_predictions(path, logits, logits.argmax(dim=1))
    return path


def test_it_trains_and_writes_tables_figures_and_a_spec_that_is_valid(lossforge, folder):
    (folder / "mine.yaml").write_text("extends: edl\nname: mine\nsearch: {sampler: {alpha: 0.7}}\n")
    outcome = lossforge("gap", "mine.yaml", "--fit", "--epochs", 1, *QUICK, *DATA, *SMALL)
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines() == ["recorded cross_entropy, seed 0: 64 outputs of epochs 1"]
    out = folder / "runs" / "gap-mine"
    for part in ("against real outputs", "confident right", "proposed", "sampler against itself", "gap.svg"):
        assert part in outcome.out
    with (out / "gap.csv").open() as file:
        rows = list(csv.DictReader(file))
    (auc,) = (row for row in rows if (row["group"], row["figure"]) == ("all", "auc"))
    told = json.loads((out / "gap.json").read_text())
    assert float(auc["value"]) == told["groups"]["all"]["auc"]["value"]
    assert float(auc["low"]) <= float(auc["value"]) <= float(auc["high"])
    for name in ("gap.svg", "regimes.svg", "fit.svg"):
        assert ElementTree.parse(out / name).getroot().tag.endswith("svg")
    with (out / "regimes.csv").open() as file:
        shares = [float(row["real_share"]) for row in csv.DictReader(file) if row["group"] == "all"]
    assert sum(shares) == pytest.approx(1)
    with (out / "histograms.csv").open() as file:
        counts = [int(row["real"]) for row in csv.DictReader(file) if (row["group"], row["marginal"]) == ("all", "p_y")]
    assert sum(counts) == 64
    assert "cross_entropy" in (out / "trained.yaml").read_text()
    valid = lossforge("validate", out / "fitted.yaml")
    assert (valid.code, valid.out) == (0, f"{out / 'fitted.yaml'}: valid (mine-fitted: 150 generations)\n")
    shown = json.loads(lossforge("show", out / "fitted.yaml", "--json").out)["search"]["sampler"]
    assert shown["alpha"] == 0.7
    assert shown["weights"] == told["fit"]["proposed"]


def test_a_recording_takes_the_place_of_trainings(lossforge, folder, recording):
    outcome = lossforge("gap", "edl", "--recording", recording, "--samples", 60, "--out", "out", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert told["recordings"] == {str(recording): 120}
    assert told["groups"]["all"]["num"] == 60
    assert told["fit"] is None
    assert not (folder / "out" / "fitted.yaml").exists()
    changed = lossforge(
        "gap",
        "edl",
        "--recording",
        recording,
        "--samples",
        60,
        "--fit",
        "--out",
        "out",
        "--set",
        "search.sampler.alpha=3",
    )
    assert changed.code == 0, changed.err
    assert "extends" not in (folder / "out" / "fitted.yaml").read_text()  # for --set is of it, too
    shown = json.loads(lossforge("show", "out/fitted.yaml", "--json").out)["search"]["sampler"]
    assert shown["alpha"] == 3.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gap", "edl", "--recording", "p.npz", "--loss", "gce"), "takes the place of trainings; leave out --loss"),
        (("gap", "edl", "--recording", "p.npz"), "p.npz: cannot be read"),
        (("gap", "edl", "--recording", "RECORDING", "--set", "search.num_classes=4"), "10 classes, and the sampler"),
        (
            ("gap", "edl", "--recording", "RECORDING", "--fit", "--set", "search.sampler=dirichlet"),
            "'dirichlet' has no weights to fit",
        ),
        (("gap", "edl", "--epochs-at", "4,2"), "--epochs-at 4,2: epochs_at: epochs must rise"),
        (("gap", "edl", "--floor", "2"), "--floor 2.0: floor: must be at most 1, got 2.0"),
        (("gap", "edl", "--epochs-at", "99"), "epoch 99 is to be recorded, and a training has 12"),
        (("gap", "edl", "--loss", "gcee"), "did you mean 'gce'?"),
        (("gap", "edl", "--set", "search.sampler.alhpa=1"), "did you mean 'alpha'?"),
        (("gap", "edll"), "did you mean 'edl'?"),
    ],
)
def test_mistakes_are_told_in_a_line(lossforge, recording, arguments, message):
    outcome = lossforge(*(str(recording) if each == "RECORDING" else each for each in arguments))
    assert outcome.code == 2, outcome.err
    assert message in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


def test_an_interruption_says_how_to_go_on(lossforge, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lossforge.gap_study.measure_gap", interrupt)
    monkeypatch.setattr("sys.argv", ["lossforge", "gap", "edl", "--fit"])
    outcome = lossforge("gap", "edl", "--fit")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "interrupted; go on with: lossforge gap edl --fit"
