"""The first layers of a residual network, which fit the image."""

from __future__ import annotations

from torch import nn


def stem(in_channels: int, width: int, side: int, *, norm: bool = True) -> nn.Sequential:
    """Return the first layers: they bring images whose longer side is 64 pixels or more nearer to 32.

    Below 64 pixels a 3x3 convolution of stride 1; from 64 its stride is 2; from 128 it is 7x7 of stride 2, and a 3x3
    max-pool of stride 2 comes last. Batch norm and ReLU follow the convolution, unless ``norm`` is false.
    """
    if side < 64:
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)]
    elif side < 128:
        layers = [nn.Conv2d(in_channels, width, 3, 2, 1, bias=False)]
    else:
        layers = [nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)]
    if norm:
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if side >= 128:
        layers.append(nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*layers)
