"""The statistics of comparisons, one method a module; ``docs/science.md`` says which is for what."""

from lossforge.evidence.statistics.auc import AUC, auc
from lossforge.evidence.statistics.crossed_bootstrap import CrossedInterval, crossed_bootstrap
from lossforge.evidence.statistics.effect_size import EffectSize, effect_size, pooled_sd
from lossforge.evidence.statistics.examples import EXAMPLE_METRICS, ExampleValues, example_values
from lossforge.evidence.statistics.improvement import ProbabilityOfImprovement, probability_of_improvement
from lossforge.evidence.statistics.multiplicity import holm
from lossforge.evidence.statistics.permutation import PermutationTest, permutation_test
from lossforge.evidence.statistics.power import PowerRow, power, power_table, seeds_needed
from lossforge.evidence.statistics.rank_correlation import RankCorrelation, rank_correlation, share_below
from lossforge.evidence.statistics.samples import Difference, MeanAndSD, mean_and_sd
from lossforge.evidence.statistics.signed_rank import PairedDifference, compare_pairs, median
from lossforge.evidence.statistics.welch import WelchTest, welch_interval, welch_test

__all__ = [
    "AUC",
    "EXAMPLE_METRICS",
    "CrossedInterval",
    "Difference",
    "EffectSize",
    "ExampleValues",
    "MeanAndSD",
    "PairedDifference",
    "PermutationTest",
    "PowerRow",
    "ProbabilityOfImprovement",
    "RankCorrelation",
    "WelchTest",
    "auc",
    "compare_pairs",
    "crossed_bootstrap",
    "effect_size",
    "example_values",
    "holm",
    "mean_and_sd",
    "median",
    "permutation_test",
    "pooled_sd",
    "power",
    "power_table",
    "probability_of_improvement",
    "rank_correlation",
    "seeds_needed",
    "share_below",
    "welch_interval",
    "welch_test",
]
