import pytest
import torch
from torch import nn

from lossforge.streams import derive_generator
from lossforge.training.weight_average import WeightAverage


def drawn(like, generator):
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.999])
def test_equals_a_loop_over_steps(decay):
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    average = WeightAverage(module, decay)
    names = [name for name, value in module.state_dict().items() if value.is_floating_point()]
    expected = {name: module.state_dict()[name].clone() for name in names}
    generator = derive_generator(0, "test")
    for step in range(1, 31):
        for name in names:
            module.state_dict()[name].copy_(drawn(expected[name], generator))
        average.update(step)
        for name in names:
            kept = min(decay, (1 + step) / (10 + step))
            expected[name] = kept * expected[name] + (1 - kept) * module.state_dict()[name]
    average.apply()
    for name in names:
        torch.testing.assert_close(module.state_dict()[name], expected[name], rtol=1e-12, atol=1e-14)
    assert {"1.running_mean", "1.running_var", "0.weight", "1.bias"} <= set(names)


def test_integers_are_left_alone():
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, 0.9)
    module.num_batches_tracked.fill_(7)
    average.update(1)
    average.apply()
    assert module.num_batches_tracked == 7
    assert len(average.averages) == 4


def test_weights_that_do_not_move_are_their_own_average():
    module = nn.Linear(5, 5)
    before = module.weight.detach().clone()
    average = WeightAverage(module, 0.99)
    for step in range(1, 20):
        average.update(step)
    average.apply()
    assert torch.equal(module.weight, before)


def test_weights_are_read_and_only_written_when_asked():
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(1.0)
    average.update(1)
    assert torch.equal(module.weight, torch.ones(2, 2))
    average.apply()
    assert not torch.equal(module.weight, torch.ones(2, 2))
    assert module.weight.requires_grad
