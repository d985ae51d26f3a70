"""A matrix that says which classes are akin, and which must be told apart.

The classification loss of C. Huang, S. Zhai, W. Talbott, M. A. Bautista, S.-Y. Sun, C. Guestrin and J. Susskind,
"Addressing the Loss-Metric Mismatch with Adaptive Loss Alignment", ICML 2019, arXiv 1905.05895, where a controller
changes the matrix during training; here it is fixed once found.
"""

from __future__ import annotations

import inspect
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.interfaces import LossParameterization
from lossforge.parameterizations.common import checked, full_precision, network_code


class ClassCorrelation(LossParameterization):
    """A matrix of class correlations: -y^T Phi log p = -sum_j Phi_yj log p_j, for one fixed number of classes.

    A solution lists Phi row by row: (C, C), row y for label y. The identity is cross-entropy. Where the label is y,
    Phi_yj > 0 favours class j as well, as label smoothing does for all classes, and Phi_yj < 0 drives the two apart;
    with R_y the sum of row y, dloss/dz_k = R_y p_k - Phi_yk.

    With ``squash`` the loss is -sigmoid(y^T Phi log p), which is bounded. For the identity it is -p_y / (1 + p_y),
    whose weight w = p / (1 + p)^2 vanishes for misclassified samples, as with the MAE.

    The number of classes is part of the family: another one is refused, and gates that take all classes to be treated
    alike are skipped.
    """

    type: Literal["class_correlation"] = "class_correlation"
    num_classes: Count = Field(default=10, ge=2, description="C, the one number of classes the loss is for")
    squash: bool = Field(default=False, description="the bounded form -sigmoid(y^T Phi log p)")
    spread: float = Field(default=0.05, gt=0, description="standard deviation of the prior around the identity")

    @property
    def num_parameters(self) -> int:
        """D = C^2."""
        return self.num_classes**2

    @property
    def class_count(self) -> int | None:
        """C."""
        return self.num_classes

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw Phi from N(identity, spread^2), entry by entry."""
        noise = torch.randn(num, self.num_parameters, generator=generator, device=generator.device)
        return torch.eye(self.num_classes, device=generator.device).flatten() + self.spread * noise

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P.

        Raises:
            ValueError: the predictions are over another number of classes.
        """
        if log_probs_PBC.shape[2] != self.num_classes:
            raise ValueError(
                f"this loss is for {self.num_classes} classes, got {log_probs_PBC.shape[2]}; search with "
                "parameterization.num_classes set to as many as there are"
            )
        log_probs_PBC = full_precision(log_probs_PBC)
        matrix_PCC = checked(solutions_PD, self.num_parameters).to(log_probs_PBC.dtype)
        matrix_PCC = matrix_PCC.reshape(-1, self.num_classes, self.num_classes)
        return correlation_loss(matrix_PCC[:, labels_B], log_probs_PBC, self.squash)

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        size = self.num_classes
        return network_code(
            [inspect.getsource(correlation_loss)],
            "-sum over classes j of Phi[target, j] log p_j, Phi row by row below.",
            checked(solution_D, self.num_parameters),
            f"rows = solution.reshape({size}, {size})[target]\nreturn correlation_loss(rows, log_probs, {self.squash})",
        )


def correlation_loss(rows: Tensor, log_probs: Tensor, squash: bool) -> Tensor:
    """Return -sum_j rows_j log p_j over the last dimension, or with ``squash`` -sigmoid of the sum."""
    similarity = (rows * log_probs).sum(-1)
    return -torch.sigmoid(similarity) if squash else -similarity
