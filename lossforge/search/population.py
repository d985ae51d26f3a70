"""Candidates evaluated together: losses, gradients and weight profiles in blocks of fixed shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.interfaces import LossParameterization

BLOCK_SOLUTIONS = 16
BLOCK_ITEMS = 1 << 18
"""Most candidates, and most (candidate, pair, class) items, in a block: memory is bounded by their hidden units."""

PAIRS_MULTIPLE = 16
"""Batches are padded to a multiple of this: candidates then start at multiples of 64 bytes, on which BLAS rounding
depends."""

_Evaluate = Callable[[Tensor, Tensor, Tensor], Tensor]

DOMINANT_SHARE = 0.9
"""Share of 1 - p_y that the dominant rival has in the second kind of weight profile."""


@dataclass(frozen=True)
class ParameterPopulation:
    """A population of solutions of one parameterization.

    Candidates are evaluated in blocks whose shape depends on the batch alone; the last block is padded with its first
    candidate, and every batch with its first pair. Rounding therefore depends neither on P nor on where in a block a
    candidate stands.
    """

    parameterization: LossParameterization
    solutions_PD: Tensor
    num_classes: int

    @property
    def num_solutions(self) -> int:
        """P, the number of candidates."""
        return len(self.solutions_PD)

    def take(self, index: Tensor) -> ParameterPopulation:
        """Return the population of the candidates at ``index``."""
        return ParameterPopulation(self.parameterization, self.solutions_PD[index], self.num_classes)

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        with torch.no_grad():
            return self._in_blocks(log_probs_PBC, labels_B, self.parameterization.loss)

    def gradients(self, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivative of each candidate's per-sample losses in its own copy of the logits."""
        return self._in_blocks(logits_PBC, labels_B, self._gradient_block)

    def weight_profile(self, p_G: Tensor) -> Tensor:
        """Return w_P2G = -(dloss/dz_y) / (1 - p_y), rivals uniform [:, 0] and with one dominant rival [:, 1].

        With two classes both kinds are the same.
        """
        log_probs_2GC = profile_log_probs(p_G, self.num_classes)
        rows = log_probs_2GC.flatten(0, 1)
        labels = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        gradient_P2G = self.gradients(rows[None], labels)[:, :, 0].reshape(-1, *log_probs_2GC.shape[:2])
        w_P2G: Tensor = gradient_P2G / torch.expm1(log_probs_2GC[:, :, 0])
        return w_P2G

    def _gradient_block(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        # One leaf a candidate: a shared leaf would sum the gradients over candidates.
        leaf = logits_PBC.detach().expand(len(solutions_PD), -1, -1).clone().requires_grad_()
        with torch.enable_grad():
            loss_PB = self.parameterization.loss(solutions_PD, torch.log_softmax(leaf, dim=-1), labels_B)
            (gradient,) = torch.autograd.grad(loss_PB.sum(), leaf)
        return gradient

    def _in_blocks(self, inputs_PBC: Tensor, labels_B: Tensor, evaluate: _Evaluate) -> Tensor:
        num_solutions, num_pairs, shared = self.num_solutions, len(labels_B), inputs_PBC.shape[0] == 1
        if num_pairs % PAIRS_MULTIPLE:
            rows = torch.arange(num_pairs + -num_pairs % PAIRS_MULTIPLE, device=labels_B.device)
            rows = torch.where(rows < num_pairs, rows, 0)
            inputs_PBC, labels_B = inputs_PBC[:, rows], labels_B[rows]
        size = max(1, min(BLOCK_SOLUTIONS, BLOCK_ITEMS // inputs_PBC[0].numel()))
        results = []
        for start in range(0, num_solutions, size):
            index = torch.arange(start, start + size, device=self.solutions_PD.device)
            index = torch.where(index < num_solutions, index, start)
            block = evaluate(self.solutions_PD[index], inputs_PBC if shared else inputs_PBC[index], labels_B)
            results.append(block[: num_solutions - start, :num_pairs])
        return torch.cat(results)


def profile_log_probs(p_G: Tensor, num_classes: int) -> Tensor:
    """Return log-probabilities (2, G, C) with p_y at class 0: rivals uniform, then one with 9/10 of what is left."""
    rest_G = torch.log1p(-p_G)
    num_rivals = num_classes - 1
    shares = p_G.new_full((2, num_rivals), 1.0 / num_rivals)
    if num_rivals > 1:
        shares[1] = (1 - DOMINANT_SHARE) / (num_rivals - 1)
        shares[1, 0] = DOMINANT_SHARE
    rivals_2GC = rest_G[None, :, None] + shares.log()[:, None, :]
    return torch.cat((p_G.log()[None, :, None].expand(2, -1, 1), rivals_2GC), dim=2)
