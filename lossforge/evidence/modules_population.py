"""Loss modules of any kind as one population, so that an objective judges them on the same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.losses import LossModule
from lossforge.profiles import PROFILE_LABEL, profile_log_probs


@dataclass(frozen=True)
class ModulesPopulation:
    """Each candidate is a loss module, evaluated by the code that trains with it; in the order that they are given."""

    modules: tuple[LossModule, ...]
    num_classes: int

    @property
    def num_solutions(self) -> int:
        """P, the number of candidates."""
        return len(self.modules)

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        with torch.no_grad():
            return self._each(lambda module, rows_BC: module.per_sample(rows_BC, labels_B), log_probs_PBC)

    def gradients(self, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivative of each candidate's per-sample losses in its own copy of the logits."""

        def gradient(module: LossModule, logits_BC: Tensor) -> Tensor:
            leaf = logits_BC.detach().clone().requires_grad_()
            with torch.enable_grad():
                (gradient_BC,) = torch.autograd.grad(module.per_sample(leaf, labels_B).sum(), leaf)
            return gradient_BC

        return self._each(gradient, logits_PBC)

    def concordance(self, comparisons: Comparisons) -> Concordance:
        """Return in how many comparisons each candidate's losses are in the right order."""
        rows, labels_R = comparisons.log_probs_RC[None], comparisons.labels_R
        parts = [concordance(alone.losses(rows, labels_R), comparisons) for alone in self._alone()]
        return Concordance(torch.cat([part.counts_PK for part in parts]), torch.cat([part.finite_P for part in parts]))

    def weight_profile(self, p_G: Tensor) -> Tensor:
        """Return w_P2G = -(dloss/dz_y) / (1 - p_y), rivals uniform [:, 0] and with one dominant rival [:, 1]."""
        log_probs_2GC = profile_log_probs(p_G, self.num_classes)
        rows = log_probs_2GC.flatten(0, 1)
        labels = torch.full((len(rows),), PROFILE_LABEL, device=rows.device)
        gradient_P2G = self.gradients(rows[None], labels)[:, :, PROFILE_LABEL].reshape(-1, *log_probs_2GC.shape[:2])
        w_P2G: Tensor = gradient_P2G / torch.expm1(log_probs_2GC[:, :, PROFILE_LABEL])
        return w_P2G

    def take(self, index: Tensor) -> Self:
        """Return the population of the candidates at ``index``."""
        return type(self)(tuple(self.modules[place] for place in index.tolist()), self.num_classes)

    def _alone(self) -> list[Self]:
        return [type(self)((module,), self.num_classes) for module in self.modules]

    def _each(self, value: Callable[[LossModule, Tensor], Tensor], inputs_PBC: Tensor) -> Tensor:
        rows = inputs_PBC.expand(self.num_solutions, -1, -1)
        return torch.stack([value(module, rows_BC) for module, rows_BC in zip(self.modules, rows, strict=True)])
