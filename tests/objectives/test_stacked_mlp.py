"""Stacked networks against torch's own layers, autograd and optimiser, one network at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lossforge.objectives.stacked_mlp import StackedMLP, initial_weights

SIZES = (4, 6, 5, 3)
RATES = (0.3, 0.05)


def reference(weights: list[Tensor], index: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(weight[index].T)
            linear.bias.zero_()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(("momentum", "decays"), [(0.0, None), (0.9, None), (0.9, (0.2, 0.0))])
def test_ten_steps_are_those_of_torch(momentum, decays):
    generator = torch.Generator().manual_seed(0)
    weights = [weight.double() for weight in initial_weights(2, SIZES, generator)]
    inputs = torch.randn(10, 2, 7, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(3, (10, 2, 7), generator=generator)
    singles = [reference(weights, index) for index in range(2)]
    optimizers = [
        torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay)
        for network, rate, decay in zip(singles, RATES, decays or (0.0, 0.0), strict=True)
    ]
    decay_S11 = None if decays is None else torch.tensor(decays, dtype=torch.float64).reshape(-1, 1, 1)
    stacked = StackedMLP([weight.clone() for weight in weights], momentum, decay_S11)
    rate_S11 = torch.tensor(RATES, dtype=torch.float64).reshape(-1, 1, 1)
    for step in range(10):
        outputs = stacked.outputs(inputs[step])
        gradient = outputs.softmax(dim=2) - nn.functional.one_hot(labels[step], 3)
        for index, (network, optimizer) in enumerate(zip(singles, optimizers, strict=True)):
            logits = network(inputs[step, index])
            torch.testing.assert_close(outputs[index], logits, rtol=1e-10, atol=1e-12)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels[step, index]).backward()
            optimizer.step()
        stacked.step(gradient / 7, rate_S11)


def test_initial_weights_have_the_variance_of_he():
    first, second = initial_weights(50, (40, 30, 20), torch.Generator().manual_seed(0))
    assert first.shape == (50, 40, 30)
    assert second.shape == (50, 30, 20)
    assert first.var().item() == pytest.approx(2 / 40, rel=0.03)
    assert second.var().item() == pytest.approx(2 / 30, rel=0.03)
    assert first.mean().item() == pytest.approx(0, abs=0.005)
