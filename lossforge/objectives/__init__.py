"""What makes a loss fit, judged on synthetic pairs."""

from lossforge.objectives.gradient_shape import GradientShape
from lossforge.objectives.halving import Halving, HalvingRung
from lossforge.objectives.lexicographic import Lexicographic, LexicographicStage
from lossforge.objectives.pareto import Pareto
from lossforge.objectives.parts import Part
from lossforge.objectives.prediction_descent import PredictionDescent
from lossforge.objectives.proxy_training import ProxyTraining
from lossforge.objectives.ranking_consistency import RankingConsistency
from lossforge.objectives.weighted import Weighted, WeightedTerm

__all__ = [
    "GradientShape",
    "Halving",
    "HalvingRung",
    "Lexicographic",
    "LexicographicStage",
    "Pareto",
    "Part",
    "PredictionDescent",
    "ProxyTraining",
    "RankingConsistency",
    "Weighted",
    "WeightedTerm",
]
