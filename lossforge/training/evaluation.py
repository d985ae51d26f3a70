"""A network's predictions on images it is not trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossforge.spec.training import Precision
from lossforge.training.data import PreparedData

TEST_BATCH_SIZE = 512


@torch.inference_mode()
def predict(network: nn.Module, data: PreparedData, images_NCHW: Tensor, precision: Precision) -> Tensor:
    """Return float32 logits (N, number of classes) on the images' device, with the network in evaluation mode.

    Args:
        network: on the images' device; left in evaluation mode.
        data: gives the normalisation.
        images_NCHW: uint8 images.
        precision: ``bfloat16`` runs the network in autocast.
    """
    network.eval()
    batches = []
    for images in torch.split(images_NCHW, TEST_BATCH_SIZE):
        with autocast(images.device, precision):
            logits = network(data.normalise(images))
        batches.append(logits.float())
    return torch.cat(batches)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context a network runs in: bfloat16 autocast, or none."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
