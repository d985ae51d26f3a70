"""The same search and training on every device there is: the CPU always, CUDA where torch finds it.

`python -m pytest tests/gpu -v` is the one command to run on a machine with a GPU; without one it checks the CPU alone.
"""

import pytest
import torch

from lossforge import losses, presets
from lossforge.search import Search, progress
from lossforge.spec import TrainingSpec
from lossforge.training import prepare, train_classifier

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return request.param


@pytest.fixture
def search_spec():
    return presets.load("edl", ["search.generations=12", "search.selection_batch_size=512"]).search


def test_search_stays_on_its_device_and_repeats_its_bits(device, search_spec):
    histories, artifacts = [], []
    for _ in range(2):
        history = []
        search = Search(search_spec, seed=0, device=device)
        artifacts.append(search.run(history.append))
        histories.append(history)
        tensors = {key: value for key, value in search.state.items() if isinstance(value, torch.Tensor)}
        devices = {key: "cpu" if key in progress.ON_THE_CPU else device for key in tensors}
        assert {key: tensor.device.type for key, tensor in tensors.items()} == devices
    assert histories[0] == histories[1]
    assert torch.equal(artifacts[0].solution_D, artifacts[1].solution_D)
    assert artifacts[0].solution_D.device.type == "cpu"


def test_found_loss_agrees_with_the_cpu(device, search_spec):
    found = Search(search_spec, seed=0).run()
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 10, generator=generator), torch.arange(64) % 10
    values = [found.loss().to(each)(logits.to(each), labels.to(each)).cpu() for each in ("cpu", device)]
    torch.testing.assert_close(values[0], values[1])


def test_training_lowers_the_loss(device):
    spec = TrainingSpec.model_validate_json(
        '{"dataset": "digits", "model": "resnet8", "num_train": 512, "num_test": 128, "epochs": 3, "flip": false,'
        ' "crop_padding": 1, "batch_size": 64}'
    )
    result = train_classifier(spec, prepare(spec, 0, torch.device(device)), losses.get("cross_entropy"), 0)
    assert result.metrics is not None
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss
