"""TaylorGLO's family of losses: bivariate Taylor polynomials around a centre that is searched with the coefficients."""

from __future__ import annotations

import inspect
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LossParameterization
from lossforge_taylor.invariant import Invariant, zero_error_margin
from lossforge_taylor.polynomial import Divisors, Factorials, divisors, in_powers, taylor_loss


class Taylor(LossParameterization):
    """A polynomial of label x and prediction y: -1/C sum over classes of f(x, y), x = 1 for the label and 0 for others.

    f(x, y) = sum over i >= 0, j >= 1, i + j <= k of theta_ij / d_ij (x - t0)^i (y - t1)^j, k = ``order``; terms without
    y change no gradient and are left out. d_ij is

    * ``mixed``: i! j!, the Taylor polynomial, as the paper prints it;
    * ``total``: (i + j)!, as the authors' program has it where it divides;
    * ``none``: 1, with which that program searches.

    A solution is (t0, t1, theta_01, ..., theta_0k, theta_11, ..., theta_1,k-1, ...): 8 numbers for k = 3, theta_0 to
    theta_7 of the paper. All three hold the same losses: theta_ij times the ratio of divisors.

    Gonzalez and Miikkulainen, "Optimizing Loss Functions Through Multivariate Taylor Polynomial Parameterization",
    GECCO 2021, arXiv 2002.00059. Patents claim the method; see README.md.

    Weight profile with uniform rivals: w(p) = (p / C) (gamma_1(p) - gamma_0((1 - p) / (C - 1))), gamma_x(y) = df/dy at
    label x. It is O(p), so that misclassified samples count little, as with the MAE: the default weight-band gate
    refuses all members, and that of signs almost all.
    """

    type: Literal["taylor"] = "taylor"
    order: int = Field(default=3, ge=2, le=9, description="k, the order of the polynomial; the authors go up to 9")
    factorials: Factorials = Field(default="mixed", description="what the coefficients are divided by")
    spread: float = Field(default=1.2, gt=0, description="standard deviation of the prior around 0")
    invariant: Invariant | None = Field(
        default=None, description="what every draw of the prior satisfies; null: nothing is asked of it"
    )

    @property
    def num_parameters(self) -> int:
        """D = 2 + k (k + 1) / 2."""
        return 2 + self.order * (self.order + 1) // 2

    @property
    def class_count(self) -> int | None:
        """None: the family works for any number of classes."""
        return None

    @property
    def divisors(self) -> Divisors:
        """Return d_ij, i in rows, j = 1 .. k - i in each."""
        return divisors(self.order, self.factorials)

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw from N(0, spread^2), what CMA-ES draws first from 0 with that sigma; with ``invariant``, given it holds.

        The margin changes its sign with the coefficients, and the distribution does not: a draw with a negative margin
        gets the opposite coefficients, and is then distributed as rejection would have it.
        """
        shape = (num, self.num_parameters)
        solutions_PD = self.spread * torch.randn(shape, generator=generator, device=generator.device)
        if self.invariant is None:
            return solutions_PD
        is_wrong_P = self.margin(solutions_PD, self.invariant) < 0
        centre, coefficients = solutions_PD[:, :2], solutions_PD[:, 2:]
        return torch.cat((centre, torch.where(is_wrong_P[:, None], -coefficients, coefficients)), dim=1)

    def margin(self, solutions_PD: Tensor, invariant: Invariant) -> Tensor:
        """Return margin_P, positive for solutions that satisfy the invariant."""
        return invariant.margin(self._checked(solutions_PD), self.divisors)

    def zero_error_margin(self, solutions_PD: Tensor) -> Tensor:
        """Return margin_P, positive for solutions that zero training error attracts, negative for those it repels."""
        return zero_error_margin(self._checked(solutions_PD), self.divisors)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P.

        Raises:
            ValueError: solutions of another length.
        """
        if log_probs_PBC.dtype != torch.float64:
            log_probs_PBC = log_probs_PBC.float()
        solutions_PD = self._checked(solutions_PD).to(log_probs_PBC.dtype)
        return taylor_loss(solutions_PD, log_probs_PBC, labels_B, self.divisors)

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution: the text of the formula, and the numbers."""
        numbers = self._checked(solution_D).float().cpu()
        # float32 written as float64 reads back as the same float32
        return (
            f"{inspect.getsource(in_powers)}\n\n{inspect.getsource(taylor_loss)}\n\n"
            "class Network(nn.Module):\n"
            f'    """-1/C sum over classes of a polynomial of order {self.order} in label and prediction."""\n\n'
            "    def __init__(self) -> None:\n"
            "        super().__init__()\n"
            f'        self.register_buffer("solution", torch.tensor({numbers.tolist()}, dtype=torch.float32))\n\n'
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
            "        solution = self.solution.to(log_probs.dtype)\n"
            f"        return taylor_loss(solution[None], log_probs[None], target, {self.divisors})[0]\n"
        )

    def _checked(self, solutions_PD: Tensor) -> Tensor:
        if solutions_PD.shape[-1] != self.num_parameters:
            raise ValueError(f"a solution has {self.num_parameters} parameters, got {solutions_PD.shape[-1]}")
        return solutions_PD
