"""Blocks: the unit of evaluation, a fixed number of candidates on one batch, here or in another process.

What a block evaluates to depends on nothing but the block, so it does not matter who evaluates it, or how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from lossforge import answers
from lossforge.interfaces import LossParameterization, stated_form
from lossforge.search.blocked_perceptron import BlockedPerceptron
from lossforge.sizes import is_out_of_memory
from lossforge.threads import one_thread

Quantity = Literal["losses", "gradients"]
"""What is asked of a block: loss_PB, or their derivatives in the logits, grad_PBC."""


@dataclass(frozen=True)
class Block:
    """Candidates and what they are evaluated on.

    Attributes:
        solutions_PD: as many candidates as every block of the call has.
        inputs_PBC: log-probabilities (or logits, for gradients); a leading size of 1 is shared by all candidates.
        labels_B: class indices.
        num_padding: how many of the last candidates only fill the block up; nobody reads their values.
    """

    solutions_PD: Tensor
    inputs_PBC: Tensor
    labels_B: Tensor
    num_padding: int = 0

    @property
    def rows(self) -> range:
        """The candidates whose values are read."""
        return range(len(self.solutions_PD) - self.num_padding)

    def of_row(self, row: int) -> Block:
        """Return the block of the same shape in which every candidate is the one at ``row``."""
        index = torch.full((len(self.solutions_PD),), row, device=self.solutions_PD.device)
        inputs_PBC = self.inputs_PBC if len(self.inputs_PBC) == 1 else self.inputs_PBC[index]
        return Block(self.solutions_PD[index], inputs_PBC, self.labels_B, len(index) - 1)


@dataclass(frozen=True)
class BlockResult:
    """Values of a block, and which of its candidates ran out of memory; theirs are not a number."""

    values: Tensor
    exhausted_P: Tensor


class BlockEvaluator(Protocol):
    """Who evaluates blocks."""

    def evaluate(
        self, parameterization: LossParameterization, quantity: Quantity, blocks: Iterable[Block]
    ) -> Iterator[BlockResult]:
        """Yield the results in the order of the blocks."""


class InProcess:
    """Evaluates one block after the other."""

    def evaluate(
        self, parameterization: LossParameterization, quantity: Quantity, blocks: Iterable[Block]
    ) -> Iterator[BlockResult]:
        """Yield the results in the order of the blocks."""
        for block in blocks:
            yield evaluate_block(parameterization, quantity, block)


def evaluate_block(parameterization: LossParameterization, quantity: Quantity, block: Block) -> BlockResult:
    """Evaluate a block; if it runs out of memory, its candidates one by one, in blocks of the same shape.

    On one thread: more cores are for more workers.
    """
    with one_thread():
        return _evaluated(parameterization, quantity, block)


def _evaluated(parameterization: LossParameterization, quantity: Quantity, block: Block) -> BlockResult:
    try:
        values = _evaluate(parameterization, quantity, block)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return BlockResult(values, torch.zeros(len(values), dtype=torch.bool, device=values.device))
    return assembled(quantity, block, [_of_row(parameterization, quantity, block, row) for row in block.rows])


def assembled(quantity: Quantity, block: Block, rows: list[Tensor | None]) -> BlockResult:
    """Return the result of a block whose ``rows`` were evaluated alone; None: it ran out of memory."""
    inputs = block.inputs_PBC
    shape = inputs.shape[1:2] if quantity == "losses" else inputs.shape[1:]
    missing = torch.full(shape, torch.nan, dtype=inputs.dtype, device=inputs.device)
    padded = [*rows, *[None] * (len(block.solutions_PD) - len(rows))]
    values = torch.stack([missing if row is None else row for row in padded])
    return BlockResult(values, torch.tensor([row is None for row in padded], device=inputs.device))


def _of_row(parameterization: LossParameterization, quantity: Quantity, block: Block, row: int) -> Tensor | None:
    try:
        return _evaluate(parameterization, quantity, block.of_row(row))[0]
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _evaluate(parameterization: LossParameterization, quantity: Quantity, block: Block) -> Tensor:
    if quantity == "losses":
        form = stated_form(parameterization)
        with torch.no_grad():
            if form is not None and block.inputs_PBC.dtype == torch.float32 and block.inputs_PBC.device.type == "cpu":
                return BlockedPerceptron(form).losses(block.solutions_PD.float(), block.inputs_PBC, block.labels_B)
            return answers.loss(parameterization, block.solutions_PD, block.inputs_PBC, block.labels_B)
    # One leaf a candidate: a shared leaf would sum the gradients over candidates.
    leaf = block.inputs_PBC.detach().expand(len(block.solutions_PD), -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        loss_PB = answers.loss(parameterization, block.solutions_PD, torch.log_softmax(leaf, dim=-1), block.labels_B)
        (gradient_PBC,) = torch.autograd.grad(loss_PB.sum(), leaf)
    return gradient_PBC
