"""The residual network of 18 layers with activation before the convolutions.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv 1603.05027: batch norm and ReLU
come before each convolution, so that the shortcuts of a stage are identities from end to end. As in its appendix, the
first block activates its input before the paths part, and batch norm and ReLU follow the last block. The paper has no
network of 18 layers; stages and widths are those of ResNet-18.
"""

from __future__ import annotations

import itertools
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from lossforge.training.models.classifier import Classifier, HeadedModel
from lossforge.training.models.stem import stem

WIDTHS = (64, 128, 256, 512)


class PreActivationBlock(nn.Module):
    """conv(relu(BN(conv(relu(BN(x)))))) + shortcut, which is x, or relu(BN(x)) where the activation is shared.

    It is shared in blocks that change the shape, by a 1x1 convolution on the shortcut, and in those told so.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, shared: bool = False) -> None:
        super().__init__()
        changes = stride != 1 or in_channels != out_channels
        self.shared = shared or changes
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output."""
        activated = F.relu(self.norm1(x_NCHW), inplace=True)
        residual = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        total: Tensor = self.conv2(residual).add_(self.shortcut(activated if self.shared else x_NCHW))
        return total


class PreActResNet18(HeadedModel):
    """ResNet-18 with activation before the convolutions, 11.2 million parameters.

    Images whose longer side is below 64 pixels meet a 3x3 convolution of stride 1. From 64 pixels its stride is 2; from
    128 it is 7x7 of stride 2, then a 3x3 max-pool of stride 2. Any number of channels; sides down to one pixel.
    """

    type: Literal["preact_resnet18"] = "preact_resnet18"

    @final
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return a convolution, four stages of two blocks, batch norm and ReLU, global average pool and head."""
        in_channels, height, width = image_shape
        blocks: list[nn.Module] = [PreActivationBlock(WIDTHS[0], WIDTHS[0], 1, shared=True)]
        blocks.append(PreActivationBlock(WIDTHS[0], WIDTHS[0], 1))
        for previous, stage_width in itertools.pairwise(WIDTHS):
            blocks.append(PreActivationBlock(previous, stage_width, 2))
            blocks.append(PreActivationBlock(stage_width, stage_width, 1))
        blocks += [nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(inplace=True)]
        return Classifier(
            stem(in_channels, WIDTHS[0], max(height, width), norm=False),
            nn.Sequential(*blocks),
            self.head.layer(WIDTHS[-1], num_classes, bias=True),
        )
