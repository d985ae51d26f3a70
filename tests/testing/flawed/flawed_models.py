"""Flawed models: each breaks a contract, which its docstring tells."""

from typing import Literal

import torch
from torch import nn

from lossforge.interfaces import Model


def drawn(num_inputs, num_outputs, generator):
    layer = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs)
    with torch.no_grad():
        layer.weight.copy_(0.1 * torch.randn(num_outputs, num_inputs, generator=generator))
        layer.bias.zero_()
    return layer


class TinyModel(Model):
    """A linear classifier, in which nothing is wrong."""

    type: Literal["tiny_model"] = "tiny_model"

    def build(self, image_shape, num_classes, generator):
        return nn.Sequential(nn.Flatten(), drawn(torch.Size(image_shape).numel(), num_classes, generator))


class Untaught(TinyModel):
    """No gradient reaches a parameter."""

    type: Literal["untaught"] = "untaught"

    def build(self, image_shape, num_classes, generator):
        network = super().build(image_shape, num_classes, generator)
        network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
        return network


class Constant(TinyModel):
    """Its weights are not drawn."""

    type: Literal["constant"] = "constant"

    def build(self, image_shape, num_classes, generator):
        return super().build(image_shape, num_classes, torch.Generator().manual_seed(0))


class GlobalWeights(TinyModel):
    """Its weights move the global generator."""

    type: Literal["global_weights"] = "global_weights"

    def build(self, image_shape, num_classes, generator):
        nn.Linear(2, 2)
        return super().build(image_shape, num_classes, generator)


class Hidden(TinyModel):
    """What its logits depend on is in no state."""

    type: Literal["hidden"] = "hidden"

    def build(self, image_shape, num_classes, generator):
        network = super().build(image_shape, num_classes, generator)
        shift = torch.rand((), generator=generator)
        network.append(Shift(shift))
        return network


class Shift(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, logits):
        return logits + self.by


class Finished(TinyModel):
    """It is built for evaluation."""

    type: Literal["finished"] = "finished"

    def build(self, image_shape, num_classes, generator):
        return super().build(image_shape, num_classes, generator).eval()
