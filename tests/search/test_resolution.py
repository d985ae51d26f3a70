"""A device that is not there is told before anything is put on it."""

from __future__ import annotations

import pytest
import torch

import lossforge
from lossforge.errors import SpecError
from lossforge.evidence import train_alike
from lossforge.search import existing_device, resolve_device

SEARCH = lossforge.presets.load("edl").search
TRAINING = lossforge.TrainingSpec(dataset="fake", model="resnet8")


@pytest.fixture
def cuda_devices(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.parametrize("call", [lambda d: lossforge.Search(SEARCH, device=d), lambda d: compare(d), existing_device])
@pytest.mark.parametrize("cuda_devices", [0], indirect=True)
@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("cuda", "device: cuda is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'"),
        (torch.device("cuda:1"), "device: cuda:1 is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'"),
        ("gpu", "device: torch knows none called 'gpu'; use 'auto', 'cpu' or 'cuda'"),
        ("cuda:x", "device: torch knows none called 'cuda:x'; use 'auto', 'cpu' or 'cuda'"),
        (None, "device: torch knows none called None; use 'auto', 'cpu' or 'cuda'"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("cuda_devices")
def test_one_that_is_not_there(call, device, told):
    with pytest.raises(SpecError) as error:
        call(device)
    assert str(error.value) == told


def compare(device):
    return train_alike(TRAINING, {"a": torch.nn.CrossEntropyLoss()}, 0, device)


@pytest.mark.parametrize("cuda_devices", [2], indirect=True)
@pytest.mark.usefixtures("cuda_devices")
def test_one_of_a_number_that_is_not_there():
    assert existing_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SpecError, match="device: cuda:2 is asked for, but the last that torch finds is cuda:1"):
        existing_device("cuda:2")


@pytest.mark.parametrize(("cuda_devices", "automatic"), [(0, "cpu"), (1, "cuda")], indirect=["cuda_devices"])
@pytest.mark.usefixtures("cuda_devices")
def test_auto_is_what_there_is(automatic):
    assert existing_device("auto") == torch.device(automatic)
    assert [resolve_device(device) for device in ("auto", "cpu")] == [automatic, "cpu"]


def test_a_search_says_which_one_it_is_on():
    for device in ("cpu", torch.device("cpu")):
        assert lossforge.Search(SEARCH, device=device).device == torch.device("cpu")
