"""Training on every device there is: the CPU always, CUDA where torch finds it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lossforge.evidence import choose
from lossforge.spec import TrainingSpec
from lossforge.training import TrainingCheckpoint, prepare, train_classifier, train_together
from lossforge.training.steps import batches, start, train_step

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])]
OPTIONS = {
    "plain": {},
    "everything": {
        "cutout": 4,
        "mixup": 0.2,
        "cutmix": 1.0,
        "ema_decay": 0.9,
        "clip_norm": 1.0,
        "decay_norms": False,
        "optimizer": {"type": "sgd", "decoupled_weight_decay": True},
        "schedule": "cosine",
    },
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "schedule": "step"},
    "cosine head": {"model": {"type": "resnet8", "head": "cosine"}},
    "margin head": {"model": {"type": "resnet8", "head": "large_margin"}},
    "another network": {"model": "preact_resnet18", "num_train": 16, "epochs": 1},
}


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return request.param


def make_spec(**options):
    dataset = {"type": "fake", "num_train": 64, "num_test": 32, "image_shape": (3, 16, 16), "num_classes": 4}
    settings = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, "num_validation": 8, "precision": "float32"}
    return TrainingSpec(dataset=dataset, **{"model": "resnet8", **settings, **options})


def logits(spec, device, seed=0):
    result = train_classifier(spec, prepare(spec, 0, device), nn.CrossEntropyLoss(), seed)
    assert result.diverged_at_epoch is None
    return result.test.logits_NC


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_agrees_with_the_cpu_and_repeats_its_bits(device, options):
    spec = make_spec(**options)
    first, again = logits(spec, device), logits(spec, device)
    assert torch.equal(first, again)
    torch.testing.assert_close(first, logits(spec, "cpu"), rtol=1e-2, atol=1e-2)


def test_replicas_agree_with_single_trainings(device):
    spec = make_spec(epochs=1)
    grouped = train_together(spec, prepare(spec, 0, device), nn.CrossEntropyLoss(), [3, 4, 5])
    for seed, result in zip((3, 4, 5), grouped, strict=True):
        torch.testing.assert_close(result.test.logits_NC, logits(spec, device, seed), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_compiled_networks_agree_with_plain_ones_and_go_on_to_the_same_bits(device, cuda_graphs, tmp_path):
    if cuda_graphs and device == "cpu":
        pytest.skip("CUDA graphs are of CUDA")
    spec = make_spec(model={"type": "resnet8", "head": "large_margin"}, ema_decay=0.9)
    compiled = spec.model_copy(update={"compile": True, "cuda_graphs": cuda_graphs})
    whole = logits(compiled, device)
    torch.testing.assert_close(whole, logits(spec, device), rtol=1e-2, atol=1e-2)
    checkpoint = TrainingCheckpoint(tmp_path / "unfinished.safetensors", "identity")
    data = prepare(compiled, 0, device)

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(compiled, data, nn.CrossEntropyLoss(), 0, stop, checkpoint=checkpoint)
    told = []
    found = train_classifier(compiled, data, nn.CrossEntropyLoss(), 0, told.append, checkpoint=checkpoint)
    assert [record.epoch for record in told] == [2]
    assert torch.equal(found.test.logits_NC, whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_is_read_back_within_an_epoch():
    """Every operation that waits for the device is an error then."""
    spec = make_spec(**OPTIONS["everything"])
    data = prepare(spec, 0, "cuda")
    training = start(spec, data, nn.CrossEntropyLoss(), [0], "bfloat16")
    of_epoch = batches(training, 1)
    train_step(training, 0, next(of_epoch))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in enumerate(of_epoch, start=1):
            train_step(training, step, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_choices_are_made_on_the_device(device):
    spec = make_spec(precision="auto", stacked=2)
    choices = choose(spec, prepare(spec, 0, device), num_seeds=2)
    assert choices.precision in ("float32", "bfloat16")
    assert "a step of 2 seeds takes in_turn" in choices.reasons["replication"]
    assert ("processes" in choices.reasons["replication"]) == (device == "cpu" and torch.get_num_threads() > 1)


def test_the_timing_script():
    """On a machine without CUDA it times the CPU."""
    script = Path(__file__).with_name("training_speed.py")
    done = subprocess.run([sys.executable, str(script), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    device = "CUDA device" if torch.cuda.is_available() else "no CUDA device: the CPU"
    assert device in done.stdout
    assert "one seed twice: the same bits" in done.stdout
    assert done.stdout.count(" images/s, ") == 10
