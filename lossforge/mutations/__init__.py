"""Sources of steps in parameter space."""

from lossforge.mutations.chaotic import ChaoticMutation
from lossforge.mutations.gaussian import GaussianMutation

__all__ = ["ChaoticMutation", "GaussianMutation"]
