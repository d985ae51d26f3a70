"""Candidates evaluated together: losses, gradients and weight profiles in blocks of fixed shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.interfaces import LossParameterization
from lossforge.profiles import PROFILE_LABEL, profile_log_probs
from lossforge.search.backends import GradientKernel, Kernel
from lossforge.search.blocks import Block, BlockEvaluator, InProcess, Quantity
from lossforge.search.padding import padded

BLOCK_SOLUTIONS = 16
BLOCK_ITEMS = 1 << 20
"""Most candidates, and most (candidate, pair, class) items, in a block: memory is bounded by their hidden units."""


def _itself(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class ParameterPopulation:
    """A population of solutions of one parameterization.

    Candidates are evaluated in blocks whose shape depends on the batch alone, and on ``most_of_a_block``; the last
    block is padded with its first candidate, and every batch with its first pair. Rounding therefore depends neither on
    P, nor on where in a block a candidate stands, nor on the process that evaluates the block. What a kernel does needs
    no blocks: it has no intermediates to bound, and each candidate's numbers are its own. Kernels are for float32.

    Evaluated in blocks, a candidate that runs out of memory comes to NaN, and is remembered in ``exhausted_P``; a
    kernel that finds no memory for its result ends the search.
    """

    parameterization: LossParameterization
    solutions_PD: Tensor
    num_classes: int
    blocks: BlockEvaluator = field(default_factory=InProcess)
    kernel: Kernel | None = None
    most_of_a_block: int | None = None
    _exhausted: Tensor | None = None  # of the population this one was taken from, shared with it
    _rows_P: Tensor | None = None  # where in it the candidates stand

    def __post_init__(self) -> None:
        if self._exhausted is None:
            device = self.solutions_PD.device
            object.__setattr__(self, "_exhausted", torch.zeros(self.num_solutions, dtype=torch.bool, device=device))
            object.__setattr__(self, "_rows_P", torch.arange(self.num_solutions, device=device))

    @property
    def num_solutions(self) -> int:
        """P, the number of candidates."""
        return len(self.solutions_PD)

    @property
    def exhausted_P(self) -> Tensor:
        """True for candidates that ran out of memory in an evaluation so far, of this population or one taken of it."""
        assert self._exhausted is not None
        return self._exhausted[self._rows_P]

    def take(self, index: Tensor) -> Self:
        """Return the population of the candidates at ``index``."""
        assert self._rows_P is not None
        return type(self)(
            self.parameterization,
            self.solutions_PD[index],
            self.num_classes,
            self.blocks,
            self.kernel,
            self.most_of_a_block,
            self._exhausted,
            self._rows_P[index],
        )

    def of_one_size(self) -> Self:
        """Return the population for a caller who always asks for as many candidates: its blocks are no larger."""
        return dataclasses.replace(self, most_of_a_block=self.num_solutions)

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        if self.kernel is not None and log_probs_PBC.dtype == torch.float32:
            return self.kernel.losses(self.solutions_PD, log_probs_PBC, labels_B)
        return self._in_blocks("losses", log_probs_PBC, labels_B)

    def gradients(self, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivative of each candidate's per-sample losses in its own copy of the logits."""
        if isinstance(self.kernel, GradientKernel) and logits_PBC.dtype == torch.float32:
            return self.kernel.gradients(self.solutions_PD, logits_PBC, labels_B)
        return self._in_blocks("gradients", logits_PBC, labels_B)

    def concordance(self, comparisons: Comparisons) -> Concordance:
        """Return in how many comparisons each candidate's losses are in the right order."""
        if self.kernel is not None and comparisons.log_probs_RC.dtype == torch.float32:
            return self.kernel.concordance(self.solutions_PD, comparisons)
        rows, labels_R = comparisons.log_probs_RC[None], comparisons.labels_R

        def compared(loss_PR: Tensor) -> Tensor:
            found = concordance(loss_PR, comparisons)
            return torch.cat((found.counts_PK, found.finite_P[:, None].long()), dim=1)

        found_PK = self._in_blocks("losses", rows, labels_R, compared)
        return Concordance(found_PK[:, :-1], found_PK[:, -1].bool())

    def weight_profile(self, p_G: Tensor) -> Tensor:
        """Return w_P2G = -(dloss/dz_y) / (1 - p_y), rivals uniform [:, 0] and with one dominant rival [:, 1].

        With two classes both kinds are the same.
        """
        log_probs_2GC = profile_log_probs(p_G, self.num_classes)
        rows = log_probs_2GC.flatten(0, 1)
        labels = torch.full((len(rows),), PROFILE_LABEL, device=rows.device)
        gradient_P2G = self.gradients(rows[None], labels)[:, :, PROFILE_LABEL].reshape(-1, *log_probs_2GC.shape[:2])
        w_P2G: Tensor = gradient_P2G / torch.expm1(log_probs_2GC[:, :, PROFILE_LABEL])
        return w_P2G

    def _in_blocks(
        self, quantity: Quantity, inputs_PBC: Tensor, labels_B: Tensor, reduce: Callable[[Tensor], Tensor] = _itself
    ) -> Tensor:
        """Return what ``reduce`` makes of the values of each block; of candidates without values it is given NaN."""
        num_pairs = len(labels_B)
        inputs_PBC, labels_B = padded(inputs_PBC, labels_B)
        most = min(BLOCK_SOLUTIONS, self.most_of_a_block or BLOCK_SOLUTIONS)
        size = max(1, min(most, BLOCK_ITEMS // inputs_PBC[0].numel()))
        left = (~self.exhausted_P).nonzero().squeeze(1)  # what ran out of memory once is not tried again
        blocks = self._blocks(left, size, inputs_PBC, labels_B)
        parts, exhausted = [], [left.new_zeros(0, dtype=torch.bool)]
        for start, result in enumerate(self.blocks.evaluate(self.parameterization, quantity, blocks)):
            num = min(size, len(left) - start * size)
            parts.append(reduce(result.values[:num, :num_pairs]))
            exhausted.append(result.exhausted_P[:num])
        self._mark_exhausted(left[torch.cat(exhausted)])
        if len(left) == self.num_solutions and parts:
            return torch.cat(parts)
        shape = inputs_PBC.shape[1:2] if quantity == "losses" else inputs_PBC.shape[1:]
        missing = reduce(inputs_PBC.new_full((1, *shape), torch.nan)[:, :num_pairs])
        result_P = missing.repeat(self.num_solutions, *[1] * (missing.dim() - 1))
        return result_P.index_copy(0, left, torch.cat(parts)) if parts else result_P

    def _blocks(self, left: Tensor, size: int, inputs_PBC: Tensor, labels_B: Tensor) -> Iterator[Block]:
        """Yield blocks of the candidates at the positions ``left``; the last is filled up with its first one."""
        for start in range(0, len(left), size):
            index = left[start : start + size]
            num_padding = size - len(index)
            index = torch.cat((index, index[:1].expand(num_padding)))
            inputs = inputs_PBC if len(inputs_PBC) == 1 else inputs_PBC[index]
            yield Block(self.solutions_PD[index], inputs, labels_B, num_padding)

    def _mark_exhausted(self, index: Tensor) -> None:
        assert self._exhausted is not None
        assert self._rows_P is not None
        self._exhausted[self._rows_P[index]] = True
