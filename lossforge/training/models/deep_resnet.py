"""Residual networks of four stages, made for ImageNet and much used on CIFAR.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, table 1: stages 64,
128, 256 and 512 channels wide, projection shortcuts where the shape changes (option B). On images of CIFAR's size the
first layer is a 3x3 convolution of stride 1 and there is no max-pool, as is common there.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from lossforge.training.models.classifier import Classifier, HeadedModel
from lossforge.training.models.stem import stem

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(BN(conv(relu(BN(conv(x))))) + shortcut(x))."""

    expansion: ClassVar[int] = 1
    """Output channels over width."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(in_channels, width, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output."""
        residual = F.relu(self.norm1(self.conv1(x_NCHW)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual.add_(self.shortcut(x_NCHW)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the output is four times as wide as the middle.

    The stride is that of the 3x3 convolution, as in most code today; in the paper it is the first one's.
    """

    expansion: ClassVar[int] = 4
    """Output channels over width."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output."""
        residual = F.relu(self.norm1(self.conv1(x_NCHW)), inplace=True)
        residual = F.relu(self.norm2(self.conv2(residual)), inplace=True)
        residual = self.norm3(self.conv3(residual))
        return F.relu(residual.add_(self.shortcut(x_NCHW)), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option B: the identity, or a 1x1 convolution and batch norm where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


Block = type[BasicBlock] | type[Bottleneck]


class DeepResNet(HeadedModel):
    """Base of the depths: images whose longer side is below 64 pixels meet a 3x3 stem of stride 1.

    From 64 pixels its stride is 2; from 128 it is 7x7 of stride 2, then a 3x3 max-pool of stride 2, as on ImageNet. Any
    number of channels; sides down to one pixel.
    """

    block: ClassVar[Block]
    num_blocks: ClassVar[tuple[int, ...]]
    """Of each stage."""

    @final
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return stem, four stages of blocks, global average pool and head."""
        in_channels, height, width = image_shape
        blocks: list[nn.Module] = []
        previous = WIDTHS[0]
        for stage_width, num in zip(WIDTHS, self.num_blocks, strict=True):
            for index in range(num):
                stride = 2 if index == 0 and stage_width != WIDTHS[0] else 1
                blocks.append(self.block(previous, stage_width, stride))
                previous = self.block.expansion * stage_width
        return Classifier(
            stem(in_channels, WIDTHS[0], max(height, width)),
            nn.Sequential(*blocks),
            self.head.layer(previous, num_classes, bias=True),
        )


class ResNet18(DeepResNet):
    """ResNet-18: 2 basic blocks a stage, 11.2 million parameters."""

    type: Literal["resnet18"] = "resnet18"
    block: ClassVar[Block] = BasicBlock
    num_blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)


class ResNet34(DeepResNet):
    """ResNet-34: 3, 4, 6 and 3 basic blocks, 21.3 million parameters."""

    type: Literal["resnet34"] = "resnet34"
    block: ClassVar[Block] = BasicBlock
    num_blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)


class ResNet50(DeepResNet):
    """ResNet-50: 3, 4, 6 and 3 bottlenecks, 23.5 million parameters."""

    type: Literal["resnet50"] = "resnet50"
    block: ClassVar[Block] = Bottleneck
    num_blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
