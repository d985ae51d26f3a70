"""The small residual networks for CIFAR-10.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: depth 6n + 2, three stages
of n blocks, 16, 32 and 64 channels wide, shortcuts without parameters (option A).
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from lossforge.training.models.classifier import Classifier, HeadedModel
from lossforge.training.models.stem import stem

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


class CIFARResNet(HeadedModel):
    """Base of the depths: images whose longer side is below 64 pixels meet a 3x3 stem of stride 1.

    From 64 pixels its stride is 2; from 128 it is 7x7 of stride 2, then a 3x3 max-pool of stride 2. Any number of
    channels; sides down to one pixel.
    """

    depth: ClassVar[int]
    """Layers with weights, 6n + 2."""

    @final
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return stem, three stages of n blocks, global average pool and head."""
        in_channels, height, width = image_shape
        blocks: list[nn.Module] = []
        previous = WIDTHS[0]
        for stage_width in WIDTHS:
            for _ in range((self.depth - 2) // 6):
                blocks.append(ResidualBlock(previous, stage_width))
                previous = stage_width
        return Classifier(
            stem(in_channels, WIDTHS[0], max(height, width)),
            nn.Sequential(*blocks),
            self.head.layer(WIDTHS[-1], num_classes, bias=True),
        )


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


class ResNet110(CIFARResNet):
    """ResNet-110 (n = 18); He et al. report 6.61% error on CIFAR-10, the mean of 5 runs, and 6.43% for the best.

    They begin at a learning rate of 0.01 until the training error is below 80%, for 0.1 is too large at first.
    """

    type: Literal["resnet110"] = "resnet110"
    depth: ClassVar[int] = 110
