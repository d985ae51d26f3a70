"""What the built-in networks share: stem, blocks, global pool and head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lossforge.interfaces import Model
from lossforge.training.models.heads import AnyHead, LargeMarginLayer, LinearHead
from lossforge.training.models.initialisation import drawn


def average_pool(maps_NCHW: Tensor) -> Tensor:
    """Return the (N, C) means of feature maps."""
    return maps_NCHW.mean(dim=(2, 3))


def max_pool(maps_NCHW: Tensor) -> Tensor:
    """Return the (N, C) maxima of feature maps."""
    return F.max_pool2d(maps_NCHW, maps_NCHW.shape[2:]).flatten(1)


class Classifier(nn.Module):
    """Stem, blocks, global pool, head; ``takes_labels`` is as :meth:`lossforge.interfaces.Model.build` says."""

    def __init__(
        self,
        stem: nn.Module,
        blocks: nn.Module,
        head: nn.Module,
        pool: Callable[[Tensor], Tensor] = average_pool,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.pool = pool
        self.takes_labels = isinstance(head, LargeMarginLayer)

    def forward(self, images_NCHW: Tensor, labels_N: Tensor | None = None) -> Tensor:
        """Return logits (N, number of classes) of float images; only a head that takes labels looks at them."""
        features_ND = self.pool(self.blocks(self.stem(images_NCHW)))
        logits_NC: Tensor = self.head(features_ND, labels_N) if self.takes_labels else self.head(features_ND)
        return logits_NC


class HeadedModel(Model, ABC):
    """Base of the built-in architectures, each with any head."""

    head: AnyHead = Field(default=LinearHead(), description="last layer, from features to logits")

    @abstractmethod
    def network(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Return the network; it is built without memory, and its parameters are drawn afterwards."""

    @final
    def build(self, image_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator) -> nn.Module:
        """Return the network with weights drawn from ``generator``, as ``initialisation.py`` says."""
        return drawn(lambda: self.network(image_shape, num_classes), generator)
