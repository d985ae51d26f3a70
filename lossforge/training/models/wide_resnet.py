"""Wide residual networks.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146, table 1: WRN-d-k has depth d = 6n + 4,
three stages of n blocks with activation before the convolutions, and is 16k, 32k and 64k channels wide. Without the
dropout that the paper tries inside blocks: its draws would be torch's global generator's, and no seed's.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import nn

from lossforge.training.models.classifier import Classifier, HeadedModel
from lossforge.training.models.preact_resnet import PreActivationBlock
from lossforge.training.models.stem import stem

BASE_WIDTH = 16


class WideResNet(HeadedModel):
    """Base of the sizes: images whose longer side is below 64 pixels meet a 3x3 convolution of stride 1.

    From 64 pixels its stride is 2; from 128 it is 7x7 of stride 2, then a 3x3 max-pool of stride 2. Any number of
    channels; sides down to one pixel.
    """

    depth: ClassVar[int]
    """d = 6n + 4, the number of convolutions, of which three are on shortcuts."""
    widening: ClassVar[int]
    """k."""

    @final
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return a convolution, three stages of n blocks, batch norm and ReLU, global average pool and head."""
        in_channels, height, width = image_shape
        blocks: list[nn.Module] = []
        previous = BASE_WIDTH
        for stage in range(3):
            stage_width = BASE_WIDTH * self.widening * 2**stage
            for index in range((self.depth - 4) // 6):
                blocks.append(PreActivationBlock(previous, stage_width, 2 if index == 0 and stage > 0 else 1))
                previous = stage_width
        blocks += [nn.BatchNorm2d(previous), nn.ReLU(inplace=True)]
        return Classifier(
            stem(in_channels, BASE_WIDTH, max(height, width), norm=False),
            nn.Sequential(*blocks),
            self.head.layer(previous, num_classes, bias=True),
        )


class WRN16x8(WideResNet):
    """WRN-16-8 (n = 2), 11.0 million parameters; the authors report 4.27% error on CIFAR-10."""

    type: Literal["wrn_16_8"] = "wrn_16_8"
    depth: ClassVar[int] = 16
    widening: ClassVar[int] = 8


class WRN28x10(WideResNet):
    """WRN-28-10 (n = 4), 36.5 million parameters; the authors report 4.00% error on CIFAR-10."""

    type: Literal["wrn_28_10"] = "wrn_28_10"
    depth: ClassVar[int] = 28
    widening: ClassVar[int] = 10
