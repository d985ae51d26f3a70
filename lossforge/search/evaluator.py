"""Evaluation of solutions on named streams of synthetic batches; knows nothing of the state of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from lossforge import answers, devices
from lossforge.interfaces import Population
from lossforge.search.backends import Kernel, kernel_of
from lossforge.search.blocks import BlockEvaluator, InProcess
from lossforge.search.fingerprint import Memory
from lossforge.search.gates import GateResult, apply_gates, constrained_rank
from lossforge.search.population import ParameterPopulation
from lossforge.spec import SearchSpec
from lossforge.streams import derive_generator
from lossforge.threads import one_thread
from lossforge.types import Evaluation, PredictionBatch

GATE_BATCH_SIZE = 256
"""Pairs of the fixed batch that gates look at."""


@dataclass(frozen=True)
class Assessment:
    """What is known of the solutions of one generation.

    Attributes:
        evaluation: fitness and metrics; not a number for candidates that a gate rejects, which are not evaluated.
        gates: violations.
        exhausted_P: True for candidates that ran out of memory.
    """

    evaluation: Evaluation
    gates: GateResult
    exhausted_P: Tensor

    @classmethod
    def of_fitness(cls, fitness_P: Tensor) -> Assessment:
        """Return the assessment of solutions that were evaluated elsewhere and pass whatever gates there are."""
        return cls(
            Evaluation(fitness_P, {}),
            GateResult({"finite": torch.zeros_like(fitness_P)}),
            torch.zeros_like(fitness_P, dtype=torch.bool),
        )

    @cached_property
    def feasible_P(self) -> Tensor:
        """True for candidates that pass every gate, have a fitness, and never ran out of memory."""
        return self.gates.feasible_P & (self.evaluation.fitness_P.abs() < torch.inf) & ~self.exhausted_P

    @cached_property
    def rank_P(self) -> Tensor:
        """Ranks, 0 is best: feasible by fitness, then the others by violation."""
        fitness_P = self.evaluation.fitness_P.masked_fill(self.exhausted_P, torch.inf)
        return constrained_rank(fitness_P, self.gates.total_P)


@dataclass(frozen=True)
class Evaluator:
    """The evaluation that a search spec describes, as a pure function of (seed, stream, index) and the solutions.

    It can be used anywhere, in another process or on another machine: what it returns is what a search takes in.
    """

    spec: SearchSpec
    seed: int
    device: torch.device
    blocks: BlockEvaluator = field(default_factory=InProcess)

    def in_generation(self, solutions_PD: Tensor, generation: int, memory: Memory | None = None) -> Assessment:
        """Assess solutions on the batch of a generation, which all of them share.

        Args:
            solutions_PD: any number of them.
            generation: from 0.
            memory: what the search has evaluated; without it there are no duplicates.
        """
        progress = min(1.0, generation / max(1, self.spec.generations - 1))
        batch = self._sample("sampler", self.spec.batch_size, generation, progress)
        return self._assess(solutions_PD, batch, self.generator("objective", generation), memory)

    def assess(self, solutions_PD: Tensor, stream: str) -> Assessment:
        """Assess solutions on the one large batch of a stream, such as ``selection``."""
        batch = self.fixed_batch(f"{stream}.sampler")
        return self._assess(solutions_PD, batch, self.generator(f"{stream}.objective"), None)

    def assess_afresh(self, solutions_PD: Tensor, stream: str) -> Assessment:
        """Assess solutions on batches that no search has seen: that of ``stream`` and, for gates, ``stream.gates``.

        The fitness of those that fail a gate there is evaluated as well.
        """
        population = self.population(solutions_PD)
        gates = apply_gates(self.spec.gates, population, self.fixed_batch(f"{stream}.gates"))
        return Assessment(self.evaluate_afresh(population, stream), gates, population.exhausted_P)

    def evaluate_afresh(self, population: Population, stream: str) -> Evaluation:
        """Return the objective's judgement on the batch that :meth:`assess_afresh` takes; of any population."""
        batch, generator = self.fixed_batch(f"{stream}.sampler"), self.generator(f"{stream}.objective")
        return answers.evaluate(self.spec.objective, population, batch, generator)

    def fixed_batch(self, stream: str) -> PredictionBatch:
        """Return a large batch of a stream of its own."""
        return self._sample(stream, self.spec.selection_batch_size)

    def population(self, solutions_PD: Tensor) -> ParameterPopulation:
        """Return solutions as a population that can be evaluated."""
        family, solutions_PD = self.spec.parameterization, solutions_PD.to(self.device)
        return ParameterPopulation(family, solutions_PD, self.spec.num_classes, self.blocks, self.kernel)

    def generator(self, stream: str, index: int = 0) -> torch.Generator:
        """Return the generator of a named stream, on the evaluator's device."""
        return derive_generator(self.seed, stream, index, self.device)

    @cached_property
    def kernel(self) -> Kernel | None:
        """The kernel of the spec's back end; None where candidates are evaluated in blocks alone."""
        return kernel_of(self.spec, self.device)

    @cached_property
    def gate_batch(self) -> PredictionBatch:
        """What the gates look at throughout a search."""
        return self._sample("gates", GATE_BATCH_SIZE)

    def _assess(
        self, solutions_PD: Tensor, batch: PredictionBatch, generator: torch.Generator, memory: Memory | None
    ) -> Assessment:
        population = self.population(solutions_PD)
        gates = apply_gates(self.spec.gates, population, self.gate_batch, memory)
        evaluation = self._evaluate_passing(population, gates.feasible_P, batch, generator)
        return Assessment(evaluation, gates, population.exhausted_P)

    def _evaluate_passing(
        self, population: ParameterPopulation, passes_P: Tensor, batch: PredictionBatch, generator: torch.Generator
    ) -> Evaluation:
        """Evaluate the candidates that pass the gates: an objective may be dear, and the others rank by violation.

        To know which these are is to wait for a GPU; there, all are evaluated where the objective allows it.
        """
        if devices.is_queued(self.device) and self.spec.objective.may_see_all:
            return _of_passing(answers.evaluate(self.spec.objective, population, batch, generator), passes_P)
        index = passes_P.nonzero().squeeze(1)
        if len(index) == population.num_solutions:
            return answers.evaluate(self.spec.objective, population, batch, generator)
        missing_P = torch.full((population.num_solutions,), torch.nan, device=population.solutions_PD.device)
        if len(index) == 0:
            return Evaluation(missing_P, {})
        evaluation = answers.evaluate(self.spec.objective, population.take(index), batch, generator)

        def spread(values: Tensor) -> Tensor:
            values = _with_nan(values)
            return missing_P.to(values.dtype).index_copy(0, index, values)

        metrics = {name: spread(values) for name, values in evaluation.metrics.items()}
        trade_offs = {name: spread(values) for name, values in evaluation.trade_offs.items()}
        return Evaluation(spread(evaluation.fitness_P), metrics, trade_offs)

    def _sample(self, stream: str, num: int, index: int = 0, progress: float = 1.0) -> PredictionBatch:
        with one_thread():
            return answers.sample(
                self.spec.sampler, num, self.spec.num_classes, self.generator(stream, index), progress
            )


def _of_passing(evaluation: Evaluation, passes_P: Tensor) -> Evaluation:
    """Return an evaluation with NaN in place of the values of candidates that do not pass."""

    def passing(values: Tensor) -> Tensor:
        return _with_nan(values).masked_fill(~passes_P, torch.nan)

    metrics = {name: passing(values) for name, values in evaluation.metrics.items()}
    trade_offs = {name: passing(values) for name, values in evaluation.trade_offs.items()}
    return Evaluation(passing(evaluation.fitness_P), metrics, trade_offs)


def _with_nan(values: Tensor) -> Tensor:
    """Return values of a type that has NaN."""
    return values if values.is_floating_point() else values.float()
