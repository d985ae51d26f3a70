"""Flawed parameterizations: each breaks a contract, which its docstring tells."""

from typing import Literal

import torch

from lossforge.parameterizations import ClasswiseMLP


class OtherSource(ClasswiseMLP):
    """Its code is another loss."""

    type: Literal["other_source"] = "other_source"

    def source(self, solution_D):
        return (
            "class Network(nn.Module):\n"
            "    def forward(self, log_probs, target):\n"
            "        return -log_probs.gather(1, target[:, None]).squeeze(1)\n"
        )


class NeedsNumPy(ClasswiseMLP):
    """Its code needs more than torch."""

    type: Literal["needs_numpy"] = "needs_numpy"

    def source(self, solution_D):
        return "import numpy as np\n" + super().source(solution_D)


class Autocast(ClasswiseMLP):
    """It is computed in bfloat16 under autocast."""

    type: Literal["autocast"] = "autocast"

    def loss(self, solutions_PD, log_probs_PBC, labels_B):
        loss_PB = super().loss(solutions_PD, log_probs_PBC, labels_B)
        one = torch.eye(len(labels_B), dtype=loss_PB.dtype)
        return (loss_PB.nan_to_num(1e9) @ one).to(loss_PB.dtype).where(loss_PB.isfinite(), loss_PB)


class Ordered(ClasswiseMLP):
    """It favours classes with large indices."""

    type: Literal["ordered"] = "ordered"

    def loss(self, solutions_PD, log_probs_PBC, labels_B):
        return super().loss(solutions_PD, log_probs_PBC, labels_B) * (1 + labels_B)


class DoublePrior(ClasswiseMLP):
    """Its prior is float64."""

    type: Literal["double_prior"] = "double_prior"

    def init(self, num, generator):
        return super().init(num, generator).double()
