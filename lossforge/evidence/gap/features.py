"""What is looked at in a prediction and its label: the marginals, and the features that distances are taken in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAST = 1e-8
"""Probability below which features tell none from another."""

NUM_RIVALS = 3
"""How many of the label's rivals have a feature, the largest first."""


@dataclass(frozen=True)
class Outputs:
    """Predictions with the labels they were met with, and the epoch where it is known (0: it is not)."""

    log_probs_NC: Tensor
    labels_N: Tensor
    epoch_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def num_classes(self) -> int:
        """C."""
        return self.log_probs_NC.shape[1]

    def take(self, index: Tensor) -> Outputs:
        """Return those at an index."""
        return Outputs(self.log_probs_NC[index], self.labels_N[index], self.epoch_N[index])


def joined(outputs: list[Outputs]) -> Outputs:
    """Return all of them."""
    return Outputs(
        torch.cat([each.log_probs_NC for each in outputs]),
        torch.cat([each.labels_N for each in outputs]),
        torch.cat([each.epoch_N for each in outputs]),
    )


def p_label(outputs: Outputs) -> np.ndarray:
    """Return p_y."""
    return np.asarray(_own(outputs).exp().squeeze(1))


def entropy(outputs: Outputs) -> np.ndarray:
    """Return -sum_c p_c log p_c, in nats."""
    return np.asarray(torch.special.entr(outputs.log_probs_NC.double().exp()).sum(dim=1))


def margin(outputs: Outputs) -> np.ndarray:
    """Return the largest probability less the second largest."""
    top_N2 = outputs.log_probs_NC.double().exp().topk(2, dim=1).values
    return np.asarray(top_N2[:, 0] - top_N2[:, 1])


@dataclass(frozen=True)
class Marginal:
    """A number of each prediction, and the largest that it can be; the least is 0."""

    of: Callable[[Outputs], np.ndarray]
    largest: Callable[[int], float]


MARGINALS = {
    "p_y": Marginal(p_label, lambda num_classes: 1.0),
    "entropy": Marginal(entropy, math.log),
    "margin": Marginal(margin, lambda num_classes: 1.0),
}


def features(outputs: Outputs) -> np.ndarray:
    """Return (N, F) float64 features in [0, 1], which no renumbering of the classes changes.

    With l(x) = max(log x, log 1e-8) / log 1e-8: l(p_y), l(1 - p_y), the entropy over log C, the margin, and l of the
    label's largest rivals, up to three. They need no data to be scaled, so that distances compare between samples.
    """
    own_N1, log_probs_NC = _own(outputs), outputs.log_probs_NC.double()
    rivals_NC = log_probs_NC.scatter(1, outputs.labels_N[:, None], -torch.inf)
    num_rivals = min(NUM_RIVALS, outputs.num_classes - 1)
    columns = (
        _scaled(own_N1),
        _scaled(torch.logsumexp(rivals_NC, dim=1, keepdim=True)),
        torch.from_numpy(entropy(outputs) / math.log(outputs.num_classes))[:, None],
        torch.from_numpy(margin(outputs))[:, None],
        _scaled(rivals_NC.topk(num_rivals, dim=1).values),
    )
    return torch.cat(columns, dim=1).numpy()


def _own(outputs: Outputs) -> Tensor:
    return outputs.log_probs_NC.double().gather(1, outputs.labels_N[:, None])


def _scaled(log_p: Tensor) -> Tensor:
    return log_p.clamp(math.log(LEAST), 0.0) / math.log(LEAST)
