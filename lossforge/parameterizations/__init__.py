"""Families of losses to search in."""

from lossforge.parameterizations.classwise_mlp import ClasswiseMLP
from lossforge.parameterizations.pairwise_mlp import PairwiseMLP

__all__ = ["ClasswiseMLP", "PairwiseMLP"]
