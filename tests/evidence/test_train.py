"""Training with given losses from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

import lossforge
from lossforge.errors import RunDirectoryError, SpecError, UnknownComponentError
from lossforge.evidence import TrainingObserver, default_folder
from lossforge.losses.gce import GCE
from lossforge.spec import TrainSpec
from lossforge.training.datasets import FakeImages

DATASET = FakeImages(num_train=32, num_test=20, image_shape=(1, 8, 8), num_classes=4)
SMALL = {"dataset": DATASET, "model": "resnet8", "epochs": 1, "batch_size": 16, "crop_padding": 1}
QUICK = {**SMALL, "precision": "float32"}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    options = {"gates": {"weight_band": None, "signs": None}, "selection_batch_size": 64, "batch_size": 32}
    components = {"parameterization": "classwise_mlp", "sampler": "mixture", "objective": "ranking_consistency"}
    spec = lossforge.SearchSpec(strategy="random_search", generations=1, **components, **options)
    lossforge.Search(spec, seed=0).run().save(tmp_path / "artifact")
    return tmp_path / "artifact"


def test_losses_by_name_component_and_path(artifact, notes):
    comparison = lossforge.train("mae", GCE(q=0.5), artifact, **QUICK, observer=notes)
    name = json.loads((artifact / "loss.json").read_text())["name"]
    assert list(comparison.losses) == ["mae", "gce(q=0.5)", name]
    assert comparison.reference == "mae"
    assert [arm.loss for arm in notes.arms] == list(comparison.losses)
    assert lossforge.train(str(artifact), **QUICK).losses[name].results == comparison.losses[name].results


def test_cross_entropy_is_the_reference_where_it_is_there():
    assert lossforge.train("mae", "cross_entropy", **QUICK).reference == "cross_entropy"


def test_a_name_is_a_loss_even_where_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mae").mkdir()
    assert list(lossforge.train("mae", **QUICK).losses) == ["mae"]


def test_the_folder_is_that_of_the_command(tmp_path, artifact, notes):
    out = tmp_path / "out"
    first = lossforge.train("mae", artifact, **QUICK, seeds=2, seed=7, out=out)
    assert TrainSpec.from_yaml(out / "training.yaml").seed == 7
    stored = json.loads((out / "comparison.json").read_text())
    assert stored["losses"][0]["results"] == [result.to_json() for result in first.losses["mae"].results]
    again = lossforge.train("mae", artifact, **QUICK, seeds=2, seed=7, out=out, observer=notes)
    assert (again, notes.epochs) == (first, [])
    times = [json.loads(line) for line in (out / "timing.jsonl").read_text().splitlines()]
    trained = {(time["loss"], time["seed_index"]) for time in times if time.get("images_per_second", 0) > 0}
    assert trained == {(arm.loss, arm.seed_index) for arm in notes.arms}


def test_losses_and_seeds_can_be_added_to_a_folder(tmp_path, notes):
    out = tmp_path / "out"
    first = lossforge.train("mae", **QUICK, out=out)
    more = lossforge.train("mae", "gce", **QUICK, seeds=2, out=out, observer=notes)
    assert notes.restored == [True, False, False, False]
    assert more.losses["mae"].results[0] == first.losses["mae"].results[0]
    spec = TrainSpec.from_yaml(out / "training.yaml")
    assert (spec.seeds, [loss.type for loss in spec.losses]) == (2, ["mae", "gce"])
    fewer = lossforge.train("gce", **QUICK, out=out)
    assert fewer.losses["gce"].results == more.losses["gce"].results[:1]
    assert (TrainSpec.from_yaml(out / "training.yaml").seeds, len(list(out.rglob("seed-*.json")))) == (1, 4)


def test_what_is_added_can_be_a_found_loss_and_can_fail(tmp_path, artifact, notes):
    out = tmp_path / "out"
    lossforge.train("mae", **QUICK, out=out)

    class Stops(TrainingObserver):
        def epoch(self, loss, records):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lossforge.train("mae", artifact, **QUICK, out=out, observer=Stops())
    lossforge.train("mae", **QUICK, out=out, observer=notes)
    lossforge.train("mae", artifact, **QUICK, out=out, observer=notes)
    assert (notes.restored, notes.epochs) == ([True, True, False], [])  # the epoch was stored


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.2}, "training.learning_rate: "),
        ({"seed": 1}, "seed: "),
        ({"precision": "bfloat16"}, "training.precision: "),
    ],
)
def test_a_folder_of_other_trainings_is_refused_and_left_as_it_is(tmp_path, changes, named):
    out = tmp_path / "out"
    lossforge.train("mae", **QUICK, out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
    with pytest.raises(RunDirectoryError, match=f"holds trainings of another spec:\n  {named}.*\nchoose another"):
        lossforge.train("mae", "gce", **{**QUICK, **changes}, out=out)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"{[", b"- 1", b"losses: [nothing]"], ids=repr)
def test_a_folder_whose_spec_cannot_be_read_is_told_and_left_alone(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = TrainSpec(losses=("mae",), training=QUICK)
    assert default_folder(spec) == Path("runs/train-resnet8-fake")
    lossforge.evidence.train_spec(spec, Path("runs/train-resnet8-fake"))
    for other in (spec.model_copy(update={"seeds": 3}), TrainSpec(losses=("gce",), training=QUICK)):
        assert default_folder(other) == Path("runs/train-resnet8-fake")
    assert default_folder(spec.model_copy(update={"seed": 1})) == Path("runs/train-resnet8-fake-2")
    Path("runs/train-resnet8-fake/training.yaml").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"training\.yaml(.|\n)*restore that file, or choose another folder"):
        lossforge.evidence.train_spec(spec, Path("runs/train-resnet8-fake"))
    assert default_folder(spec) == Path("runs/train-resnet8-fake-2")


@pytest.mark.parametrize("damage", [None, "[]"])
def test_choices_that_are_lost_are_those_of_the_spec(tmp_path, damage, notes):
    out = tmp_path / "out"
    first = lossforge.train("mae", **SMALL, out=out)
    (out / "choices.json").unlink()
    if damage is not None:
        (out / "choices.json").write_text(damage)
    assert lossforge.train("mae", **SMALL, out=out, observer=notes) == first
    assert notes.restored == [True]


def test_a_found_loss_that_has_changed_is_refused(tmp_path, artifact):
    out = tmp_path / "out"
    lossforge.train(artifact, **QUICK, out=out)
    content = json.loads((artifact / "loss.json").read_text())
    (artifact / "loss.json").write_text(json.dumps({**content, "scale": 2 * content["scale"]}))
    with pytest.raises(RunDirectoryError, match="was written for another training spec, seed or loss"):
        lossforge.train(artifact, **QUICK, out=out)


def test_what_auto_comes_to_is_settled_once_and_kept(tmp_path, notes):
    spec = TrainSpec(losses=("mae", "gce"), training=SMALL)
    for _ in range(2):
        lossforge.evidence.train_spec(spec, tmp_path / "out", notes)
    choices = notes.choices
    assert len(choices) == 1  # and not again
    assert json.loads((tmp_path / "out" / "choices.json").read_text()) == choices[0].to_json()
    assert choices[0].reasons["replication"] == "one seed at a time"


@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        ((), SpecError, "no loss is named"),
        (("gcee",), ValidationError, r"did you mean 'gce'\?"),
        (("mae", "mae"), ValidationError, "the same loss stands here twice"),
    ],
)
def test_refused_losses(losses, error, message):
    with pytest.raises(error, match=message):
        lossforge.train(*losses, **QUICK)


def test_refused_options():
    with pytest.raises(ValidationError, match="momentum_of_training"):
        lossforge.train("mae", **QUICK, momentum_of_training=0.9)
    with pytest.raises((ValidationError, UnknownComponentError), match="digit"):
        lossforge.train("mae", **{**QUICK, "dataset": "digit"})
