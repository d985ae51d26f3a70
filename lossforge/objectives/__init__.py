"""What makes a loss fit, judged on synthetic pairs."""

from lossforge.objectives.proxy_training import ProxyTraining
from lossforge.objectives.ranking_consistency import RankingConsistency

__all__ = ["ProxyTraining", "RankingConsistency"]
