"""A network that compares the true class with each rival.

The "1 vs 1" form of the loss networks of Z. Hai, L. Pan, X. Liu, Z. Liu and M. Yunita, "L2T-DLN: Learning to Teach with
Dynamic Loss Network", NeurIPS 2023, arXiv 2310.19313, here in log-probability space and without its constant inputs.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.forms import PerceptronForm
from lossforge.parameterizations.mlp import MLPParameterization


class PairwiseMLP(MLPParameterization):
    """A perceptron on (true class, rival), averaged over rivals: 1/(C-1) sum_{j != y} f(phi(p_y), phi(p_j)).

    Permutation-equivariant and free of the number of classes: a loss found with 10 classes is defined for 100. With
    ``features="log_prob"``, phi(p) = -log p / log_scale; with ``"prob"``, phi(p) = p, whose gradient with respect to
    the logits vanishes as p -> 0, so that misclassified samples stop counting, and with many classes nearly all samples
    do.
    """

    type: Literal["pairwise_mlp"] = "pairwise_mlp"

    @property
    def form(self) -> PerceptronForm:
        """The network on the rivals of the label."""
        return self.form_over("rivals")

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        phi = self.features_of(log_probs_PBC)
        leading, num, num_classes = phi.shape
        own = phi.gather(2, labels_B[None, :, None].expand(leading, num, 1))
        steps = torch.arange(1, num_classes, device=labels_B.device)
        rivals = (labels_B[:, None] + steps) % num_classes
        others = phi.gather(2, rivals.expand(leading, num, num_classes - 1))
        return self.evaluate(solutions_PD, own, others).mean(dim=2)

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        return self.network_source(
            solution_D,
            "1/(C-1) sum over rivals j of f(phi(p_target), phi(p_j)).",
            "steps = torch.arange(1, phi.shape[1], device=phi.device)\n"
            "rivals = (target[:, None] + steps) % phi.shape[1]\n"
            "return self.network(phi.gather(1, target[:, None]), phi.gather(1, rivals)).mean(dim=1)",
        )
