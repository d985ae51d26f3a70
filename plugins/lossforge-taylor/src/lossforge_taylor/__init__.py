"""TaylorGLO's bivariate Taylor polynomials as a family of losses for lossforge."""

from pathlib import Path

from lossforge_taylor.invariant import Invariant
from lossforge_taylor.null_epoch import NullEpoch
from lossforge_taylor.taylor import Taylor

PRESET = Path(__file__).with_name("taylorglo.yaml")
"""A spec of TaylorGLO with the population, sigma and generations of the authors' experiments."""

__all__ = ["PRESET", "Invariant", "NullEpoch", "Taylor"]
