"""Evaluation of solutions on named streams of synthetic batches; knows nothing of the state of a search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lossforge.search.gates import GateResult, apply_gates, constrained_rank
from lossforge.search.population import ParameterPopulation
from lossforge.spec import SearchSpec
from lossforge.streams import derive_generator
from lossforge.types import Evaluation, PredictionBatch

GATE_BATCH_SIZE = 256
"""Pairs of the fixed batch that gates look at."""


@dataclass(frozen=True)
class Assessment:
    """What is known of the solutions of one generation."""

    evaluation: Evaluation
    gates: GateResult

    @property
    def rank_P(self) -> Tensor:
        """Ranks, 0 is best: feasible by fitness, then the others by violation."""
        return constrained_rank(self.evaluation.fitness_P, self.gates.total_P)


@dataclass(frozen=True)
class Evaluator:
    """The evaluation that a search spec describes, as a pure function of (seed, stream, index) and the solutions."""

    spec: SearchSpec
    seed: int
    device: torch.device

    def in_generation(self, solutions_PD: Tensor, generation: int) -> Assessment:
        """Assess solutions on the batch of a generation, which all of them share."""
        batch = self._sample("sampler", generation, self.spec.batch_size)
        return self._assess(solutions_PD, batch, self.generator("objective", generation))

    def assess(self, solutions_PD: Tensor, stream: str) -> Assessment:
        """Assess solutions on the one large batch of a stream, such as ``selection``."""
        batch = self._sample(f"{stream}.sampler", 0, self.spec.selection_batch_size)
        return self._assess(solutions_PD, batch, self.generator(f"{stream}.objective"))

    def fixed_batch(self, stream: str) -> PredictionBatch:
        """Return a large batch of a stream of its own."""
        return self._sample(stream, 0, self.spec.selection_batch_size)

    def population(self, solutions_PD: Tensor) -> ParameterPopulation:
        """Return solutions as a population that can be evaluated."""
        return ParameterPopulation(self.spec.parameterization, solutions_PD.to(self.device), self.spec.num_classes)

    def generator(self, stream: str, index: int = 0) -> torch.Generator:
        """Return the generator of a named stream, on the evaluator's device."""
        return derive_generator(self.seed, stream, index, self.device)

    @cached_property
    def _gate_batch(self) -> PredictionBatch:
        return self._sample("gates", 0, GATE_BATCH_SIZE)

    def _assess(self, solutions_PD: Tensor, batch: PredictionBatch, generator: torch.Generator) -> Assessment:
        population = self.population(solutions_PD)
        evaluation = self.spec.objective.evaluate(population, batch, generator)
        return Assessment(evaluation, apply_gates(self.spec.gates, population, self._gate_batch))

    def _sample(self, stream: str, index: int, num: int) -> PredictionBatch:
        return self.spec.sampler.sample(num, self.spec.num_classes, self.generator(stream, index))
