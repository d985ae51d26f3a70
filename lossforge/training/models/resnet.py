"""The small residual networks for CIFAR-10.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: depth 6n + 2, three stages
of n blocks, 16, 32 and 64 channels wide, shortcuts without parameters (option A).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossforge.interfaces import Model

WIDTHS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(BN(conv(relu(BN(conv(x))))) + shortcut(x))."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.stride = 1 if in_channels == out_channels else 2
        self.added_channels = out_channels - in_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, self.stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output; half the height and width where the block widens."""
        residual = F.relu(self.norm1(self.conv1(x_NCHW)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual.add_(self._shortcut(x_NCHW)), inplace=True)

    def _shortcut(self, x_NCHW: Tensor) -> Tensor:
        """Option A: every other pixel, and channels of zeros, half of them before and half behind."""
        if self.stride == 1:
            return x_NCHW
        before = self.added_channels // 2
        return F.pad(x_NCHW[:, :, ::2, ::2], (0, 0, 0, 0, before, self.added_channels - before))


class ResidualNetwork(nn.Module):
    """Stem, three stages of ``num_blocks`` blocks, global average pool, one linear layer to the logits."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, num_blocks: int) -> None:
        super().__init__()
        in_channels, height, width = image_shape
        self.stem = _stem(in_channels, max(height, width))
        stages: list[nn.Module] = []
        previous = WIDTHS[0]
        for stage_width in WIDTHS:
            for _ in range(num_blocks):
                stages.append(ResidualBlock(previous, stage_width))
                previous = stage_width
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return logits (N, number of classes) of float images."""
        features: Tensor = self.blocks(self.stem(images_NCHW))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _stem(in_channels: int, side: int) -> nn.Sequential:
    """Return the first layers: they bring images whose longer side is 64 pixels or more nearer to 32."""
    width = WIDTHS[0]
    if side < 64:
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)]
    elif side < 128:
        layers = [nn.Conv2d(in_channels, width, 3, 2, 1, bias=False)]
    else:
        layers = [nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if side >= 128:
        layers.append(nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*layers)


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter and buffer, in the order of the modules.

    Convolutions: normal, variance 2 / fan_out, fan_out = output channels x kernel area (He et al., ICCV 2015, equation
    14). Linear: uniform in +-1 / sqrt(inputs), bias 0. Batch norm: scale 1, shift 0, running mean 0 and variance 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)


class CIFARResNet(Model):
    """Base of the depths: images whose longer side is below 64 pixels meet a 3x3 stem of stride 1.

    From 64 pixels its stride is 2; from 128 it is 7x7 of stride 2, then a 3x3 max-pool of stride 2. Any number of
    channels; sides down to one pixel.
    """

    depth: ClassVar[int]
    """Layers with weights, 6n + 2."""

    @final
    def build(self, image_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator) -> nn.Module:
        """Return the network with weights drawn from ``generator``; see ``_initialise`` for the distributions."""
        # On the meta device the default initialisation draws nothing, so the global random state stays as it is.
        with torch.device("meta"):
            network = ResidualNetwork(image_shape, num_classes, (self.depth - 2) // 6)
        network.to_empty(device="cpu")
        _initialise(network, generator)
        return network


class ResNet8(CIFARResNet):
    """ResNet-8 (n = 1)."""

    type: Literal["resnet8"] = "resnet8"
    depth: ClassVar[int] = 8


class ResNet20(CIFARResNet):
    """ResNet-20 (n = 3); He et al. report 8.75% error on CIFAR-10."""

    type: Literal["resnet20"] = "resnet20"
    depth: ClassVar[int] = 20


class ResNet32(CIFARResNet):
    """ResNet-32 (n = 5); He et al. report 7.51% error on CIFAR-10."""

    type: Literal["resnet32"] = "resnet32"
    depth: ClassVar[int] = 32


class ResNet44(CIFARResNet):
    """ResNet-44 (n = 7); He et al. report 7.17% error on CIFAR-10."""

    type: Literal["resnet44"] = "resnet44"
    depth: ClassVar[int] = 44


class ResNet56(CIFARResNet):
    """ResNet-56 (n = 9); He et al. report 6.97% error on CIFAR-10."""

    type: Literal["resnet56"] = "resnet56"
    depth: ClassVar[int] = 56
