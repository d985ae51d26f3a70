"""Distributions of synthetic prediction-label pairs."""

from lossforge.samplers.dirichlet import DirichletSampler
from lossforge.samplers.mixture import MixtureSampler, MixtureWeights

__all__ = ["DirichletSampler", "MixtureSampler", "MixtureWeights"]
