"""What losses need that set each class against its rivals: statistics of all other classes, for all at once."""

from __future__ import annotations

from abc import ABC

import torch
from torch import Tensor

from lossforge.interfaces import ClasswiseLoss


class RivalLoss(ClasswiseLoss, ABC):
    """A loss of a class and of its rivals, which are all classes but that one.

    To take one class's part from a total loses the digits of a small rest; so the largest part, which alone can be most
    of the total, is left out before the rest is summed. Cost: O(C) a row, for all C classes together.

    They are methods, so that the exported code of a loss carries them along.
    """

    def is_largest(self, values_BC: Tensor) -> Tensor:
        """Return True for the largest entry of each row, the first of equals."""
        classes_C = torch.arange(values_BC.shape[-1], device=values_BC.device)
        return classes_C == values_BC.argmax(-1, keepdim=True)

    def sum_of_rivals(self, values_BC: Tensor) -> Tensor:
        """Return sum_{j != k} v_j for every class k, (B, C); the values are not negative."""
        largest_BC = self.is_largest(values_BC)
        others_B1 = values_BC.masked_fill(largest_BC, 0.0).sum(-1, keepdim=True)
        return torch.where(largest_BC, others_B1, values_BC.sum(-1, keepdim=True) - values_BC)

    def log_sum_of_rivals(self, logits_BC: Tensor) -> Tensor:
        """Return log sum_{j != k} exp z_j for every class k, (B, C)."""
        largest_BC = self.is_largest(logits_BC)
        others_B1 = logits_BC.masked_fill(largest_BC, -torch.inf).logsumexp(-1, keepdim=True)
        # log(S - exp z_k) = log S + log(1 - p_k), where p_k is at most 1/2 for all but the largest.
        p_BC = torch.softmax(logits_BC, dim=-1).masked_fill(largest_BC, 0.0)
        return torch.where(largest_BC, others_B1, logits_BC.logsumexp(-1, keepdim=True) + torch.log1p(-p_BC))

    def largest_rival(self, logits_BC: Tensor) -> Tensor:
        """Return max_{j != k} z_j for every class k, (B, C)."""
        largest_BC = self.is_largest(logits_BC)
        first_B1 = logits_BC.masked_fill(~largest_BC, -torch.inf).amax(-1, keepdim=True)
        second_B1 = logits_BC.masked_fill(largest_BC, -torch.inf).amax(-1, keepdim=True)
        return torch.where(largest_BC, second_B1, first_B1)
