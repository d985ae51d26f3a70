"""Losses that are expressions in p, y and constants.

GLO (Gonzalez and Miikkulainen, arXiv 1905.11528), EvoMAL (Raymond et al., arXiv 2209.08907) and AutoLoss-Zero (Li et
al., arXiv 2103.14026) search such expressions; functions and protections are in :mod:`lossforge_gp.functions`.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from lossforge.interfaces import LossParameterization
from lossforge_gp.draws import Draws
from lossforge_gp.grammar import Grammar
from lossforge_gp.growth import half_and_half
from lossforge_gp.machine import evaluated
from lossforge_gp.rejection import drawn_until_accepted
from lossforge_gp.source import network_code
from lossforge_gp.tree import decoded, encoded


class GPExpression(LossParameterization):
    """An expression f of p_c, y_c and constants, averaged over classes: (1 / C) sum_c f(p_c, y_c).

    p_c is the probability of class c, y_c is 1 for the label and 0 for the others. Permutation-equivariant and free of
    the number of classes. Computed in float64, since differences of probabilities lose the digits of float32; log p is
    the log-probability itself, so that cross-entropy has its gradient however small p is.

    A solution is N codes of nodes in prefix order and N numbers, which count where a node is a constant. Every vector
    stands for an expression: codes are rounded to the nearest there is, what is too many is ignored, what is missing is
    p. Any function is evaluated, whether or not the grammar has it; the grammar says what is drawn.

    Which operations are run depends on the solution, so that torch.compile has to break its graph here; the exported
    code has no such choice in it.
    """

    type: Literal["gp_expression"] = "gp_expression"
    grammar: Grammar = Field(
        default=Grammar(), description="the expressions there are; that of gp_mutation is the same"
    )
    init_min_depth: int = Field(default=2, ge=1, le=16, description="least depth asked for in the prior")
    init_max_depth: int = Field(default=4, ge=1, le=16, description="greatest depth asked for in the prior")

    @model_validator(mode="after")
    def _depths_fit(self) -> Self:
        if not self.init_min_depth <= self.init_max_depth <= self.grammar.max_depth:
            raise ValueError(
                f"init_min_depth ({self.init_min_depth}), init_max_depth ({self.init_max_depth}) and grammar.max_depth "
                f"({self.grammar.max_depth}) must not fall"
            )
        return self

    @property
    def num_parameters(self) -> int:
        """D = 2 N, a code and a number a node."""
        return self.grammar.num_parameters

    @property
    def class_count(self) -> int | None:
        """None: the family works for any number of classes."""
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw expressions ramped half and half: different losses of at most 1e4, in which labels matter.

        Raises:
            SearchError: the grammar has none.
        """
        draws = Draws(generator)
        depths = self.init_min_depth, self.init_max_depth
        trees = drawn_until_accepted(
            lambda _: half_and_half(self.grammar, *depths, False, draws), range(num), self.grammar, differ=True
        )
        return encoded(trees, self.grammar.max_nodes).to(generator.device)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        dtype = torch.float64 if log_probs_PBC.dtype == torch.float64 else torch.float32
        with torch.autocast(log_probs_PBC.device.type, enabled=False):
            log_p_PBC = log_probs_PBC.double()
            is_label_BC = F.one_hot(labels_B, log_p_PBC.shape[2]).double()
            value_PBC = evaluated(self._checked(solutions_PD).double(), log_p_PBC, is_label_BC)
            # What is not a number stays so where the expression does not look at it.
            return torch.where(log_p_PBC.isnan(), torch.nan, value_PBC).mean(dim=2).to(dtype)

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        solution_D = self._checked(solution_D)
        return network_code(decoded(solution_D[None])[0], solution_D)

    def _checked(self, solutions_PD: Tensor) -> Tensor:
        if solutions_PD.shape[-1] != self.num_parameters:
            raise ValueError(f"a solution has {self.num_parameters} parameters, got {solutions_PD.shape[-1]}")
        return solutions_PD
