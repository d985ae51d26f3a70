"""The residual network of nine layers that trains fast on CIFAR-10.

D. Page, "How to Train Your ResNet", myrtle.ai, 2018-2019: his entry to DAWNBench, 94% accuracy on CIFAR-10 in 24
epochs.
"""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor, nn

from lossforge.training.models.classifier import Classifier, HeadedModel, max_pool

FACTOR = 0.125
"""On the logits of the linear layer. It is put on the features, which is the same; a cosine is not changed by it."""


class ResidualPair(nn.Module):
    """x + relu(BN(conv(relu(BN(conv(x)))))): the residual is activated, the sum is not."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output."""
        total: Tensor = self.layers(x_NCHW) + x_NCHW
        return total


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def _halving(in_channels: int, out_channels: int) -> list[nn.Module]:
    # Odd sides are rounded up, so that there is something left of an image of any size.
    return [*_convolution(in_channels, out_channels), nn.MaxPool2d(2, ceil_mode=True)]


def _scaled_max_pool(maps_NCHW: Tensor) -> Tensor:
    return max_pool(maps_NCHW) * FACTOR


class ResNet9(HeadedModel):
    """Page's ResNet-9: 64, 128, 256 and 512 channels, two residual blocks, 6.6 million parameters.

    The linear head has no bias, and its logits are multiplied by 0.125. Any number of channels; sides down to one
    pixel, and the layers are the same for images of any size.
    """

    type: Literal["resnet9"] = "resnet9"

    @final
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return a convolution, three that halve, the first and last with a block, global max-pool and head."""
        return Classifier(
            nn.Sequential(*_convolution(image_shape[0], 64)),
            nn.Sequential(
                *(*_halving(64, 128), ResidualPair(128)),
                *_halving(128, 256),
                *(*_halving(256, 512), ResidualPair(512)),
            ),
            self.head.layer(512, num_classes, bias=False),
            _scaled_max_pool,
        )
