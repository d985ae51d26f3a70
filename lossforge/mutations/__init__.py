"""Sources of steps in parameter space."""

from lossforge.mutations.cauchy import CauchyMutation
from lossforge.mutations.chaotic import ChaoticMutation
from lossforge.mutations.chaotic_evolution import ChaoticEvolution
from lossforge.mutations.gaussian import GaussianMutation
from lossforge.mutations.iid_arcsine import IidArcsineMutation
from lossforge.mutations.polynomial import PolynomialMutation
from lossforge.mutations.uniform import UniformMutation

__all__ = [
    "CauchyMutation",
    "ChaoticEvolution",
    "ChaoticMutation",
    "GaussianMutation",
    "IidArcsineMutation",
    "PolynomialMutation",
    "UniformMutation",
]
