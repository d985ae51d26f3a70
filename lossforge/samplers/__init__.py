"""Distributions of synthetic prediction-label pairs."""

from lossforge.samplers.curriculum import CurriculumSampler
from lossforge.samplers.dirichlet import DirichletSampler
from lossforge.samplers.imbalanced import ImbalancedSampler
from lossforge.samplers.logit_normal import LogitNormalSampler
from lossforge.samplers.mixture import MixtureSampler, MixtureWeights
from lossforge.samplers.noisy_labels import NoisyLabelsSampler
from lossforge.samplers.replay import ReplaySampler, record_predictions

__all__ = [
    "CurriculumSampler",
    "DirichletSampler",
    "ImbalancedSampler",
    "LogitNormalSampler",
    "MixtureSampler",
    "MixtureWeights",
    "NoisyLabelsSampler",
    "ReplaySampler",
    "record_predictions",
]
