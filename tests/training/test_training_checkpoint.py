import json
import math
import subprocess
import sys
from typing import Literal

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from lossforge.errors import RunDirectoryError
from lossforge.interfaces import Model
from lossforge.spec.training import SGD, SymmetricNoise, TrainingSpec
from lossforge.training import TrainingCheckpoint, prepare, train_classifier, train_together
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8


class AgeingLoss(nn.Module):
    """Cross-entropy that grows with each call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, logits, target):
        self.calls += 1
        self.mean.lerp_(logits.detach().mean(), 0.1)
        return nn.functional.cross_entropy(logits, target) * (1 + self.calls / 10) + self.mean


class FaultyAtStep(nn.Module):
    """Cross-entropy that is NaN from a call on."""

    def __init__(self, good_calls):
        super().__init__()
        self.register_buffer("calls_left", torch.tensor(good_calls))

    def forward(self, logits, target):
        self.calls_left -= 1
        return nn.functional.cross_entropy(logits, target) + torch.where(self.calls_left < 0, torch.nan, 0.0)


EVERYTHING = {
    "num_validation": 10,
    "label_noise": SymmetricNoise(rate=0.2),
    "ema_decay": 0.9,
    "cutmix": 1.0,
    "mixup": 0.5,
    "cutout": 3,
    "clip_norm": 0.5,
}
TRAININGS = {
    "sgd": ({}, nn.CrossEntropyLoss),
    "sgd, everything": (EVERYTHING, nn.CrossEntropyLoss),
    "sgd, no momentum": ({"optimizer": SGD(momentum=0.0, nesterov=False)}, nn.CrossEntropyLoss),
    "sgd, decoupled": (
        {"optimizer": SGD(decoupled_weight_decay=True), "schedule": "cosine", "decay_norms": False},
        nn.CrossEntropyLoss,
    ),
    "adamw": ({"optimizer": "adamw", "learning_rate": 0.01, "decay_norms": False}, nn.CrossEntropyLoss),
    "best epoch": ({"num_validation": 10, "select_epoch": "best_validation"}, nn.CrossEntropyLoss),
    "buffers": ({}, AgeingLoss),
    "bfloat16": ({"precision": "bfloat16"}, nn.CrossEntropyLoss),
}


class DroppingModel(Model):
    """A linear classifier with dropout."""

    type: Literal["dropping"] = "dropping"

    def build(self, image_shape, num_classes, generator):
        layer = nn.Linear(math.prod(image_shape), num_classes)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, 0, 0.1, generator=generator)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layer)


def spec(**options):
    dataset = FakeImages(num_train=42, num_test=12, image_shape=(3, 8, 8), num_classes=4)
    shared = {"epochs": 3, "batch_size": 16, "precision": "float32"}
    return TrainingSpec(dataset=dataset, **{"model": ResNet8(), **shared, **options})


@pytest.fixture
def checkpoint(tmp_path):
    return TrainingCheckpoint(tmp_path / "loss" / "unfinished.safetensors", "identity")


def trained(spec, loss, seeds, checkpoint=None, stop_after=None):
    """Return the results, and the epochs that were trained for them; stops after an epoch where that is said."""
    epochs = []

    def told(records):
        epochs.extend((replica, record.epoch) for replica, record in records.items())
        if epochs[-1] == (len(seeds) - 1, stop_after):
            raise KeyboardInterrupt

    return train_together(spec, prepare(spec, 0, "cpu"), loss, seeds, told, checkpoint=checkpoint), epochs


def assert_same(found, expected):
    assert found == expected
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("test", "validation"):
            if getattr(theirs, name) is not None:
                assert torch.equal(getattr(ours, name).logits_NC, getattr(theirs, name).logits_NC)
                assert torch.equal(getattr(ours, name).labels_N, getattr(theirs, name).labels_N)


@pytest.mark.parametrize("options", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("seeds", [[3], [3, 4]], ids=["alone", "grouped"])
def test_interrupted_after_every_epoch_it_comes_to_the_same_bits(options, seeds, checkpoint):
    chosen, loss = spec(**options[0]), options[1]()
    whole, _ = trained(chosen, loss, seeds)
    for epoch in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            trained(chosen, loss, seeds, checkpoint, stop_after=epoch)
    found, epochs = trained(chosen, loss, seeds, checkpoint)
    assert epochs == []
    assert_same(found, whole)


def test_dropout_goes_on_with_the_same_draws(checkpoint):
    chosen = spec(model=DroppingModel())
    whole, _ = trained(chosen, nn.CrossEntropyLoss(), [0])
    with pytest.raises(KeyboardInterrupt):
        trained(chosen, nn.CrossEntropyLoss(), [0], checkpoint, stop_after=1)
    assert_same(trained(chosen, nn.CrossEntropyLoss(), [0], checkpoint)[0], whole)


@pytest.mark.parametrize("after", [1, 2])
def test_only_the_epochs_that_are_left_are_trained_and_told(after, checkpoint):
    whole, _ = trained(spec(), nn.CrossEntropyLoss(), [0])
    with pytest.raises(KeyboardInterrupt):
        trained(spec(), nn.CrossEntropyLoss(), [0], checkpoint, stop_after=after)
    found, epochs = trained(spec(), nn.CrossEntropyLoss(), [0], checkpoint)
    assert epochs == [(0, epoch) for epoch in range(after + 1, 4)]
    assert [record.epoch for record in found[0].epochs] == [1, 2, 3]
    assert_same(found, whole)


def test_a_checkpoint_changes_nothing(checkpoint):
    whole, _ = trained(spec(**EVERYTHING), nn.CrossEntropyLoss(), [0])
    assert_same(trained(spec(**EVERYTHING), nn.CrossEntropyLoss(), [0], checkpoint)[0], whole)


def test_one_that_had_diverged_is_not_trained_again(checkpoint):
    whole, _ = trained(spec(), FaultyAtStep(3), [0, 1])
    assert [result.diverged_at_epoch for result in whole] == [2, 2]
    assert_same(trained(spec(), FaultyAtStep(3), [0, 1], checkpoint)[0], whole)
    assert_same(trained(spec(), FaultyAtStep(3), [0, 1], checkpoint)[0], whole)


def test_the_file_holds_plain_values_without_times_and_nothing_lies_beside_it(checkpoint):
    trained(spec(), nn.CrossEntropyLoss(), [0, 1], checkpoint)
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["unfinished.safetensors"]
    with safetensors.safe_open(checkpoint.path, "pt") as file:
        content = json.loads(file.metadata()["lossforge"])
    assert (content["identity"], content["epoch"], content["format_version"]) == ("identity", 3, 1)
    assert [[record["epoch"] for record in of_one] for of_one in content["records"]] == [[1, 2, 3]] * 2
    assert set(content["records"][0][0]) == {"epoch", "train_loss", "train_accuracy"}


def test_writes_the_same_bytes_each_time(checkpoint, tmp_path):
    other = TrainingCheckpoint(tmp_path / "other.safetensors", "identity")
    for each in (checkpoint, other):
        trained(spec(**EVERYTHING), nn.CrossEntropyLoss(), [0], each)
    assert checkpoint.path.read_bytes() == other.path.read_bytes()


def rewritten(path, **changes):
    """Write a checkpoint again with other values beside its tensors."""
    with safetensors.safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["lossforge"])
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, {"lossforge": json.dumps({**content, **changes})})


def without_metadata(path):
    safetensors.torch.save_file(safetensors.torch.load_file(path), path)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "header": lambda path: path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:]),
    "other": lambda path: path.write_text("{}"),
    "bare": without_metadata,
    "records": lambda path: rewritten(path, records=[[{"epoch": 1}]]),
    "no list": lambda path: rewritten(path, records=3),
    "epoch": lambda path: rewritten(path, epoch=None),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_told_and_the_training_begins_anew(damage, checkpoint, caplog):
    with pytest.raises(KeyboardInterrupt):
        trained(spec(epochs=2), nn.CrossEntropyLoss(), [0], checkpoint, stop_after=1)
    damage(checkpoint.path)
    found, epochs = trained(spec(epochs=2), nn.CrossEntropyLoss(), [0], checkpoint)
    assert epochs == [(0, 1), (0, 2)]
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert str(checkpoint.path) in record.getMessage()
    assert "damaged" in record.getMessage()
    assert "begins anew" in record.getMessage()
    assert_same(found, trained(spec(epochs=2), nn.CrossEntropyLoss(), [0])[0])


@pytest.mark.parametrize("of_version", [False, True])
def test_a_file_of_another_training_is_refused_and_left(of_version, checkpoint):
    trained(spec(epochs=1), nn.CrossEntropyLoss(), [0], checkpoint)
    if of_version:
        rewritten(checkpoint.path, format_version=99)
    before = checkpoint.path.read_bytes()
    other = checkpoint if of_version else TrainingCheckpoint(checkpoint.path, "another")
    with pytest.raises(RunDirectoryError, match=r"unfinished\.safetensors was written for another training; delete"):
        trained(spec(epochs=1), nn.CrossEntropyLoss(), [0], other)
    assert checkpoint.path.read_bytes() == before


def test_it_can_be_removed_and_need_not_be_there(checkpoint):
    checkpoint.remove()
    trained(spec(epochs=1), nn.CrossEntropyLoss(), [0], checkpoint)
    folder = checkpoint.path.parent
    (folder / ".unfinished.safetensors.123.tmp").write_text("what a process left that was killed while it wrote")
    (folder / "seed-0.json").write_text("{}")
    checkpoint.remove()
    assert [path.name for path in folder.iterdir()] == ["seed-0.json"]


SCRIPT = """\
import sys, time
from pathlib import Path

import torch
from torch import nn

from lossforge.spec.training import TrainingSpec
from lossforge.training import TrainingCheckpoint, prepare, train_classifier


class Loss(nn.CrossEntropyLoss):
    calls = 0

    def forward(self, logits, target):
        Loss.calls += 1
        if Loss.calls == 4:  # of 2 in an epoch
            print("in the second epoch", flush=True)
            time.sleep(3600)
        return super().forward(logits, target)


torch.set_num_threads(1)
spec = TrainingSpec.model_validate_json(sys.argv[1])
checkpoint = TrainingCheckpoint(Path(sys.argv[2]), "identity")
train_classifier(spec, prepare(spec, 0, "cpu"), Loss(), 5, checkpoint=checkpoint)
"""


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw", "ema_decay": 0.9, "learning_rate": 0.01}], ids=repr)
def test_killed_in_the_middle_of_an_epoch_it_comes_to_the_same_bits(options, checkpoint, tmp_path):
    chosen = spec(**options)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), chosen.model_dump_json(), str(checkpoint.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in the second epoch\n"
        process.kill()
    data, told = prepare(chosen, 0, "cpu"), []
    found = train_classifier(chosen, data, nn.CrossEntropyLoss(), 5, told.append, checkpoint=checkpoint)
    assert [record.epoch for record in told] == [2, 3]
    assert_same([found], [train_classifier(chosen, data, nn.CrossEntropyLoss(), 5)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", [EVERYTHING, {"optimizer": "adamw"}], ids=["sgd", "adamw"])
@pytest.mark.parametrize("seeds", [[3], [3, 4]], ids=["alone", "grouped"])
def test_interrupted_on_cuda_it_comes_to_the_same_bits(options, seeds, checkpoint):
    chosen = spec(**options)
    data = prepare(chosen, 0, "cuda")

    def stop(replica, record):
        raise KeyboardInterrupt

    whole = train_together(chosen, data, nn.CrossEntropyLoss(), seeds)
    with pytest.raises(KeyboardInterrupt):
        train_together(chosen, data, nn.CrossEntropyLoss(), seeds, stop, checkpoint=checkpoint)
    assert_same(train_together(chosen, data, nn.CrossEntropyLoss(), seeds, checkpoint=checkpoint), whole)
