"""Candidates for checks of objectives: generalised cross-entropy with smoothed labels, by torch operations alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.profiles import PROFILE_LABEL, profile_log_probs


@dataclass(frozen=True)
class SmoothedPopulation:
    """A :class:`~lossforge.interfaces.Population` of generalised cross-entropies with smoothed labels.

    Candidate i has the exponent q and the smoothing s of row i, and for C classes the loss

        l(z, y) = (1 - s) g(p_y) + s / C sum_k g(p_k),  g(p) = (1 - p^q) / q,  p = softmax(z)

    (Z. Zhang and M. R. Sabuncu, NeurIPS 2018, arXiv 1805.07836, for g; C. Szegedy et al., CVPR 2016, arXiv 1512.00567,
    for the smoothing). Each candidate is evaluated by itself, so its bits depend on nothing but itself and the batch.

    Attributes:
        q_P: exponents, above 0: near 0 it is cross-entropy, 1 is the mean absolute error.
        smoothing_P: shares in [0, 1] of the label's weight that all classes have.
        num_classes: C.
    """

    q_P: Tensor
    smoothing_P: Tensor
    num_classes: int

    @property
    def num_solutions(self) -> int:
        """P, the number of candidates."""
        return len(self.q_P)

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        candidates = zip(self.q_P, self.smoothing_P, self._own(log_probs_PBC), strict=True)
        return torch.stack([_loss(q, smoothing, log_probs_BC, labels_B) for q, smoothing, log_probs_BC in candidates])

    def gradients(self, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivative of each candidate's per-sample losses in its own copy of the logits."""
        gradients = []
        for q, smoothing, logits_BC in zip(self.q_P, self.smoothing_P, self._own(logits_PBC), strict=True):
            leaf = logits_BC.detach().clone().requires_grad_()
            with torch.enable_grad():
                total = _loss(q, smoothing, torch.log_softmax(leaf, dim=1), labels_B).sum()
            gradients.append(torch.autograd.grad(total, leaf)[0])
        return torch.stack(gradients)

    def concordance(self, comparisons: Comparisons) -> Concordance:
        """Return in how many comparisons each candidate's losses are in the right order."""
        return concordance(self.losses(comparisons.log_probs_RC[None], comparisons.labels_R), comparisons)

    def weight_profile(self, p_G: Tensor) -> Tensor:
        """Return w_P2G = -(dloss/dz_y) / (1 - p_y), rivals uniform [:, 0] and with one dominant rival [:, 1]."""
        log_probs_2GC = profile_log_probs(p_G, self.num_classes)
        rows = log_probs_2GC.flatten(0, 1)
        labels = torch.full((len(rows),), PROFILE_LABEL, device=rows.device)
        gradient_PB = self.gradients(rows[None], labels)[:, :, PROFILE_LABEL]
        return gradient_PB.reshape(-1, 2, len(p_G)) / torch.expm1(log_probs_2GC[:, :, PROFILE_LABEL])

    def take(self, index: Tensor) -> Self:
        """Return the population of the candidates at ``index``."""
        return type(self)(self.q_P[index], self.smoothing_P[index], self.num_classes)

    def _own(self, values_PBC: Tensor) -> Tensor:
        return values_PBC.expand(self.num_solutions, -1, -1)


def _loss(q: Tensor, smoothing: Tensor, log_probs_BC: Tensor, labels_B: Tensor) -> Tensor:
    q, smoothing = q.to(log_probs_BC.dtype), smoothing.to(log_probs_BC.dtype)
    g_BC = -torch.expm1(q * log_probs_BC) / q
    own_B = g_BC.gather(1, labels_B[:, None]).squeeze(1)
    return (1.0 - smoothing) * own_B + smoothing * g_BC.mean(dim=1)
