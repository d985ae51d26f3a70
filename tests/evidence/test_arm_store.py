import dataclasses
import json
import re

import pytest
import safetensors.torch
import torch

from lossforge.errors import RunDirectoryError
from lossforge.evidence import Choices
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.training import ClassificationMetrics, EpochRecord, Predictions, TrainingResult

METRICS = ClassificationMetrics(
    accuracy=0.1 + 0.2, nll=1 / 3, brier=0.5, ece=0.0, debiased_ece=0.25, class_accuracy=(0.5, None, 1.0)
)
FINISHED = TrainingResult(
    metrics=METRICS,
    epochs=(EpochRecord(1, 2.0, 0.25),),
    diverged_at_epoch=None,
    test=Predictions(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1])),
    seconds=3.0,
)

VALIDATED = dataclasses.replace(
    FINISHED,
    validation_metrics=dataclasses.replace(METRICS, nll=0.25),
    temperature=1 / 3,
    scaled_metrics=dataclasses.replace(METRICS, ece=0.125),
    validation=Predictions(torch.ones(2, 3).T.expand(3, 2).T, torch.tensor([2, 0])),
)
CHOICES = Choices("bfloat16", "in_turn", {"precision": "faster", "replication": "one seed at a time"})


@pytest.fixture
def store(tmp_path):
    return ArmStore(tmp_path / "arms")


def test_what_is_written_is_read_back(store):
    store.write("a loss", 2, "id", FINISHED)
    back = store.read("a loss", 2, "id")
    assert back == FINISHED
    assert torch.equal(back.test.logits_NC, FINISHED.test.logits_NC)
    assert torch.equal(back.test.labels_N, FINISHED.test.labels_N)
    assert back.seconds is None
    files = sorted(path.name for path in (store.folder / "a loss").iterdir())
    assert files == ["seed-2.json", "seed-2.safetensors"]


def test_what_is_not_there_is_not_finished(store):
    store.write("a", 0, "id", FINISHED)
    assert store.read("a", 1, "id") is None
    assert store.read("b", 0, "id") is None


def test_tensors_without_json_are_not_finished(store):
    store.write("a", 0, "id", FINISHED)
    (store.folder / "a" / "seed-0.json").unlink()
    assert store.read("a", 0, "id") is None


def test_a_diverged_training_needs_no_tensors(store):
    diverged = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1)
    store.write("a", 0, "id", diverged)
    assert store.read("a", 0, "id") == diverged
    assert [path.name for path in (store.folder / "a").iterdir()] == ["seed-0.json"]


def test_writing_twice_gives_the_same_bytes(store, tmp_path):
    other = ArmStore(tmp_path / "other")
    store.write("a", 0, "id", FINISHED)
    other.write("a", 0, "id", FINISHED)
    for name in ("seed-0.json", "seed-0.safetensors"):
        assert (store.folder / "a" / name).read_bytes() == (other.folder / "a" / name).read_bytes()


def test_another_identity_is_refused(store):
    store.write("a", 0, "id", FINISHED)
    with pytest.raises(RunDirectoryError, match=r"seed-0\.json was written for another training spec, seed or loss"):
        store.read("a", 0, "another")


def test_another_format_is_refused(store):
    store.write("a", 0, "id", FINISHED)
    path = store.folder / "a" / "seed-0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(RunDirectoryError, match="another"):
        store.read("a", 0, "id")


@pytest.mark.parametrize("damage", ["json", "list", "field", "tensors", "truncated"])
def test_damaged_files_are_refused_with_the_remedy(store, damage):
    store.write("a", 0, "id", FINISHED)
    path = store.folder / "a" / "seed-0.json"
    tensors = path.with_suffix(".safetensors")
    if damage == "json":
        path.write_text("{")
    elif damage == "list":
        path.write_text("[]")
    elif damage == "field":
        content = json.loads(path.read_text())
        del content["result"]["epochs"]
        path.write_text(json.dumps(content))
    elif damage == "tensors":
        tensors.unlink()
    else:
        tensors.write_bytes(tensors.read_bytes()[:20])
    with pytest.raises(RunDirectoryError, match=f"{re.escape(str(path))}.* is damaged .* delete both"):
        store.read("a", 0, "id")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "arms").write_text("")
    with pytest.raises(RunDirectoryError, match="not a folder"):
        ArmStore(tmp_path / "arms")


def test_identity_does_not_depend_on_the_order_of_keys():
    assert identity_hash({"a": 1, "b": [2]}) == identity_hash({"b": [2], "a": 1})
    assert identity_hash({"a": 1}) != identity_hash({"a": 2})
    # Known answer: echo -n '{"a":1}' | sha256sum
    assert identity_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_predictions_of_validation_images_are_stored_beside_those_of_the_test(store):
    store.write("a", 0, "id", VALIDATED)
    back = store.read("a", 0, "id")
    assert back == VALIDATED
    for ours, theirs in ((back.test, VALIDATED.test), (back.validation, VALIDATED.validation)):
        assert torch.equal(ours.logits_NC, theirs.logits_NC)
        assert torch.equal(ours.labels_N, theirs.labels_N)
    tensors = safetensors.torch.load_file(store.folder / "a" / "seed-0.safetensors")
    assert set(tensors) == {"logits", "labels", "validation_logits", "validation_labels"}


def test_missing_predictions_of_validation_images_are_a_damage(store):
    store.write("a", 0, "id", VALIDATED)
    path = store.folder / "a" / "seed-0.safetensors"
    safetensors.torch.save_file({"logits": VALIDATED.test.logits_NC, "labels": VALIDATED.test.labels_N}, path)
    with pytest.raises(RunDirectoryError, match=r"is damaged .*validation_logits.*delete both"):
        store.read("a", 0, "id")


def test_choices_are_read_back(store):
    assert store.read_choices() is None
    store.write_choices(CHOICES)
    assert store.read_choices() == CHOICES
    assert json.loads((store.folder / "choices.json").read_text()) == CHOICES.to_json()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"precision": "float32"}', "3", '{"luck": 1}'])
def test_damaged_choices_are_refused_with_the_remedy(store, content):
    store.write_choices(CHOICES)
    (store.folder / "choices.json").write_text(content)
    with pytest.raises(
        RunDirectoryError, match=r"choices\.json: damaged \(.*\); delete it to have the choices made anew"
    ):
        store.read_choices()


def test_what_was_trained_on_is_written_once(store):
    store.write_record({"images_a_class": {"train": [3, 2]}})
    before = (store.folder / "data.json").read_bytes()
    assert json.loads(before) == {"images_a_class": {"train": [3, 2]}}
    store.write_record({"images_a_class": {"train": [3, 2]}})
    assert (store.folder / "data.json").read_bytes() == before
    with pytest.raises(RunDirectoryError, match=r"data\.json: the images or labels are not those .*; restore them, or"):
        store.write_record({"images_a_class": {"train": [2, 3]}})
    assert (store.folder / "data.json").read_bytes() == before


def test_an_unfinished_training_lies_beside_where_its_result_will(store):
    path = store.checkpoint("a loss", [3])
    assert path == store.folder / "a loss" / "seed-3.unfinished.safetensors"
    together = store.checkpoint("a loss", [3, 4, 5])
    assert together == store.folder / "a loss" / "seed-3-to-5.unfinished.safetensors"
    assert not path.exists()
    store.write("a loss", 3, "id", FINISHED)
    assert not path.exists()
