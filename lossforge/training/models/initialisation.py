"""How the parameters of a built-in network are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from lossforge.training.models.heads import CosineLayer, LargeMarginLayer


def drawn(construct: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Return the network that ``construct`` makes, with every parameter drawn from ``generator``."""
    # On the meta device the default initialisation draws nothing, so the global random state stays as it is.
    with torch.device("meta"):
        network = construct()
    network.to_empty(device="cpu")
    _initialise(network, generator)
    return network


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter and buffer, in the order of the modules.

    Convolutions: normal, variance 2 / fan_out, fan_out = output channels x kernel area (He et al., ICCV 2015, equation
    14). Heads: uniform in +-1 / sqrt(inputs), bias 0. Batch norm: scale 1, shift 0, running mean 0 and variance 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | CosineLayer | LargeMarginLayer):
            bound = 1 / math.sqrt(module.weight.shape[1])
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
