"""Families of losses to search in."""

from lossforge.parameterizations.class_correlation import ClassCorrelation
from lossforge.parameterizations.classwise_mlp import ClasswiseMLP
from lossforge.parameterizations.loss_mixture import LossMixture
from lossforge.parameterizations.monotone import Monotone
from lossforge.parameterizations.pairwise_mlp import PairwiseMLP
from lossforge.parameterizations.polyloss import PolyLoss
from lossforge.parameterizations.power import Power
from lossforge.parameterizations.tempered import Tempered
from lossforge.parameterizations.weight_profile import WeightProfile

__all__ = [
    "ClassCorrelation",
    "ClasswiseMLP",
    "LossMixture",
    "Monotone",
    "PairwiseMLP",
    "PolyLoss",
    "Power",
    "Tempered",
    "WeightProfile",
]
