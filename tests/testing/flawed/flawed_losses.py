"""Flawed losses: each breaks a contract, which its docstring tells."""

from typing import Literal

import torch
from torch import nn

from lossforge.interfaces import ClasswiseLoss, LocalLoss, Loss


class Logarithm(LocalLoss):
    """It takes the logarithm of a probability."""

    type: Literal["logarithm"] = "logarithm"

    def of_log_prob(self, log_prob):
        return -log_prob.exp().log()


class Detached(LocalLoss):
    """A part of its gradient is lost."""

    type: Literal["detached"] = "detached"

    def of_log_prob(self, log_prob):
        return -log_prob * (2 - log_prob.exp().detach())


class Reduced(Loss):
    """A sample's loss depends on the others."""

    type: Literal["reduced"] = "reduced"

    def per_sample(self, logits_BC, labels_B):
        loss_B = nn.functional.cross_entropy(logits_BC, labels_B, reduction="none")
        return loss_B + 1e-3 * loss_B.mean()


class OtherClasses(ClasswiseLoss):
    """All classes at once are not each in turn."""

    type: Literal["other_classes"] = "other_classes"

    def per_sample(self, logits_BC, labels_B):
        return nn.functional.cross_entropy(logits_BC, labels_B, reduction="none")

    def per_class(self, logits_BC):
        return -logits_BC.log_softmax(1) + 1e-3


class FirstClass(ClasswiseLoss):
    """It favours the first class."""

    type: Literal["first_class"] = "first_class"

    def per_sample(self, logits_BC, labels_B):
        return self.per_class(logits_BC).gather(1, labels_B[:, None]).squeeze(1)

    def per_class(self, logits_BC):
        loss_BC = -logits_BC.log_softmax(1)
        return torch.cat((0.5 * loss_BC[:, :1], loss_BC[:, 1:]), dim=1)


WEIGHTS = {}


class Cached(LocalLoss):
    """It keeps a tensor that may have been made in inference mode."""

    type: Literal["cached"] = "cached"

    def of_log_prob(self, log_prob):
        key = (log_prob.shape, log_prob.dtype)
        if key not in WEIGHTS:
            WEIGHTS[key] = torch.ones(log_prob.shape, dtype=log_prob.dtype)
        return -log_prob * WEIGHTS[key]
