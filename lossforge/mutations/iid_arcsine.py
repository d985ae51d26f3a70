"""Independent arcsine steps: what is left of chaotic mutation without chaos.

The invariant density of the logistic map: Ulam and von Neumann, "On combination of stochastic and deterministic
processes", Bull. AMS 53, 1947. That an ablation needs this control is our own demand.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lossforge.mutations.independent import IndependentMutation, uniform


class IidArcsineMutation(IndependentMutation):
    """Independent arcsine steps: the control of chaotic mutation, with its distribution and without its dynamics.

    theta' = theta + sigma zeta, where zeta has the density 1 / (pi sqrt(2 - zeta^2)) on (-sqrt 2, sqrt 2), mean 0 and
    variance 1, as a step of the operator ``chaotic`` has with the logistic map and the form ``standardised``.
    """

    type: Literal["iid_arcsine"] = "iid_arcsine"

    def steps(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return sqrt(2) sin(pi (u - 1/2)), u uniform on [0, 1)."""
        return math.sqrt(2.0) * torch.sin(math.pi * (uniform(shape, generator) - 0.5))
