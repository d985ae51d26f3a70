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


WEIGHTS = {}


class CachedWeights(ClasswiseMLP):
    """It keeps a tensor that may have been made in inference mode."""

    type: Literal["cached_weights"] = "cached_weights"

    def loss(self, solutions_PD, log_probs_PBC, labels_B):
        loss_PB = super().loss(solutions_PD, log_probs_PBC, labels_B)
        key = (loss_PB.shape, loss_PB.dtype)
        if key not in WEIGHTS:
            WEIGHTS[key] = torch.ones(loss_PB.shape, dtype=loss_PB.dtype)
        return loss_PB * WEIGHTS[key]


def changed(code, result):
    return code.replace("class Network", "class Inner") + (
        f"\n\nclass Network(Inner):\n    def forward(self, log_probs, target):\n        return {result}\n"
    )


class FiveClassSource(ClasswiseMLP):
    """Its code is the loss for five classes alone."""

    type: Literal["five_class_source"] = "five_class_source"

    def source(self, solution_D):
        return changed(super().source(solution_D), "super().forward(log_probs, target) * log_probs.shape[1] / 5")


class ClampedSource(ClasswiseMLP):
    """Its code is the loss for moderate probabilities alone."""

    type: Literal["clamped_source"] = "clamped_source"

    def source(self, solution_D):
        return changed(super().source(solution_D), "super().forward(log_probs.clamp(min=-25), target)")
