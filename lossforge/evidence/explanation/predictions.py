"""The predictions on which losses are measured: the same for every loss, so that figures compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import SyntheticSampler
from lossforge.streams import derive_generator

NUM_SYNTHETIC = 512
"""Predictions of the default ``mixture`` sampler, of the stream ``explain`` of seed 0."""

_EDGE_REST = 1e-6
"""What the classes off an edge of the simplex share."""


@dataclass(frozen=True)
class Predictions:
    """Log-probabilities (N, C), float64, which are the logits too, and labels (N,)."""

    log_probs_NC: Tensor
    labels_N: Tensor


def synthetic(num_classes: int) -> Predictions:
    """Return the fixed sample: all regimes that a search meets, from sure and right to sure and wrong."""
    sampler = registry.get("samplers", "mixture").model_validate({})
    assert isinstance(sampler, SyntheticSampler)
    batch = sampler.sample(NUM_SYNTHETIC, num_classes, derive_generator(0, "explain"))
    return Predictions(torch.log_softmax(batch.log_probs_BC.double(), dim=1), batch.labels_B)


def edges(num_classes: int) -> Predictions:
    """Return predictions between two classes: p of the first from 1e-6 to 1 - 1e-6, the label first, second, or third.

    There cross-entropy's gradient is longest, and its curvature greatest.
    """
    share = torch.sigmoid(torch.linspace(-13.8, 13.8, 31, dtype=torch.float64))
    num_others = num_classes - 2
    rest = _EDGE_REST if num_others else 0.0
    log_probs = share.new_empty(len(share), num_classes)
    log_probs[:, 0], log_probs[:, 1] = torch.log(share * (1 - rest)), torch.log((1 - share) * (1 - rest))
    if num_others:
        log_probs[:, 2:] = torch.tensor(rest / num_others, dtype=torch.float64).log()
    labels = [label for label in (0, 1, 2) if label < num_classes]
    return Predictions(
        torch.log_softmax(log_probs, dim=1).repeat(len(labels), 1), torch.tensor(labels).repeat_interleave(len(share))
    )


def joined(*parts: Predictions) -> Predictions:
    """Return all predictions of several sets."""
    return Predictions(torch.cat([each.log_probs_NC for each in parts]), torch.cat([each.labels_N for each in parts]))
