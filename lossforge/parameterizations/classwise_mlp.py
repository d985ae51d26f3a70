"""A network that sees one class at a time.

The form of the loss network of ML3 (Bechtle et al., "Meta Learning via Learned Loss", ICPR 2020, arXiv:1906.05374):
one perceptron of (p_c, y_c) for every class, summed over classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from lossforge.forms import PerceptronForm
from lossforge.parameterizations.mlp import MLPParameterization


class ClasswiseMLP(MLPParameterization):
    """A perceptron on (class probability, is it the label), summed over classes: sum_c f(phi(p_c), y_c).

    Permutation-equivariant and free of the number of classes. ``features`` as in ``pairwise_mlp``. From this
    prior, the default sign gate has not been seen to be passed within 150 generations: set ``gates.signs`` to null.
    """

    type: Literal["classwise_mlp"] = "classwise_mlp"

    @property
    def form(self) -> PerceptronForm:
        """The network on all classes."""
        return self.form_over("classes")

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        phi = self.features_of(log_probs_PBC)
        is_label = F.one_hot(labels_B, phi.shape[2]).to(phi.dtype)[None]
        return self.evaluate(solutions_PD, phi, is_label).sum(dim=2)

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        return self.network_source(
            solution_D,
            "sum over classes c of f(phi(p_c), 1 if c is the target else 0).",
            "is_label = F.one_hot(target, phi.shape[1]).to(phi.dtype)\nreturn self.network(phi, is_label).sum(dim=1)",
        )
