"""TaylorGLO's bivariate Taylor polynomials as a family of losses for lossforge."""

from lossforge_taylor.invariant import Invariant
from lossforge_taylor.null_epoch import NullEpoch
from lossforge_taylor.taylor import Taylor

__all__ = ["Invariant", "NullEpoch", "Taylor"]
