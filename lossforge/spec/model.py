"""What a run is: the frozen models that a spec file is read into."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from lossforge.blame import blamed
from lossforge.component import Count, Options
from lossforge.fields import (
    AnyLoss,
    AnyMutation,
    AnyObjective,
    AnyParameterization,
    AnySampler,
    AnyStrategy,
    AnyTracker,
)
from lossforge.spec.evidence import EvidenceSpec, obstacle
from lossforge.spec.file import FileSpec
from lossforge.spec.gates import GateSpec
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.training import TrainingSpec

LARGEST_GROWTH = 9
"""Decimal logarithm of how many times the population of a run's last search may be as large as that of its first."""

Backend = Literal["compiled", "triton", "eager"]
"""What evaluates candidates: C++ compiled for the family and this CPU, Triton kernels on CUDA, or torch operations."""


class StopSpec(Options):
    """When a search ends before its generations are done; null: never for that reason.

    ``evaluations``, ``wall_time`` and ``target_fitness`` end the whole run; ``stagnation`` ends one search, and the
    next of ``restarts`` begins.
    """

    evaluations: Count | None = Field(
        default=None, ge=1, description="evaluations that all searches together may cost; no generation exceeds it"
    )
    wall_time: float | None = Field(
        default=None, gt=0, description="seconds of searching, interruptions left out; such a run cannot be repeated"
    )
    target_fitness: float | None = Field(
        default=None, description="stop once a generation's best feasible fitness, on its own batch, is no higher"
    )
    stagnation: Count | None = Field(
        default=None,
        ge=2,
        description="stop once the (lower) median best fitness of so many generations is no lower than that of as many "
        "before",
    )


class SearchSpec(Options):
    """A search: its components and its size."""

    parameterization: AnyParameterization
    sampler: AnySampler
    objective: AnyObjective
    strategy: AnyStrategy
    mutation: AnyMutation | None = None
    generations: Count = Field(default=150, ge=1)
    num_classes: Count = Field(default=10, ge=2, description="classes of the synthetic predictions")
    batch_size: Count = Field(default=512, ge=2, description="synthetic pairs a generation")
    selection_batch_size: Count = Field(
        default=4096, ge=2, description="synthetic pairs of the selection and the held-out stream, each"
    )
    gates: GateSpec = GateSpec()
    stop: StopSpec = StopSpec()
    references: tuple[AnyLoss, ...] = Field(
        default=("cross_entropy",),
        validate_default=True,
        description="published losses that the objective judges beside the winner, on the held-out batch",
    )
    restarts: int = Field(
        default=1, ge=1, le=10**6, description="independent searches, one after the other; the best one counts"
    )
    population_growth: float = Field(
        default=1.0, ge=1, description="factor on the population from one search to the next"
    )
    backend: Literal["auto"] | Backend = Field(
        default="auto",
        description="what evaluates candidates: compiled C++ on the CPU, triton on CUDA, or torch operations (eager); "
        "auto: by a fixed rule",
    )
    generations_per_launch: Literal["auto"] | Annotated[Count, Field(ge=1)] = Field(
        default="auto",
        description="generations that are run before what they came to is read, for which a GPU is waited for; results "
        "are the same. auto: 16 where a GPU is asked for nothing else, else 1",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="processes that evaluate, 16 candidates at a time, with the eager back end; 1: this one alone. The "
        "compiled one uses as many threads as torch",
    )
    checkpoint_every: Count = Field(default=10, ge=1, description="generations between checkpoints")
    checkpoint_seconds: float = Field(default=60.0, gt=0, description="seconds after which one is saved anyway")

    def strategy_of(self, restart: int) -> AnyStrategy:
        """Return the strategy of one of the searches, counted from 0, with its population grown."""
        growth = self.population_growth**restart
        return self.strategy if growth == 1 else self.strategy.grown(growth)

    @field_validator("mutation")
    @classmethod
    def _mutation_is_used(cls, mutation: AnyMutation | None, info: ValidationInfo) -> AnyMutation | None:
        strategy = info.data.get("strategy")
        if strategy is None:
            return mutation
        if strategy.uses_mutation and mutation is None:
            raise ValueError(f"strategy {strategy.type!r} needs a mutation operator")
        if mutation is not None and not strategy.uses_mutation:
            raise ValueError(f"strategy {strategy.type!r} uses no mutation operator; leave it out, or set it to null")
        return mutation

    @field_validator("mutation")
    @classmethod
    def _mutation_fits(cls, mutation: AnyMutation | None, info: ValidationInfo) -> AnyMutation | None:
        from lossforge.interfaces import SelectiveMutation

        parameterization = info.data.get("parameterization")
        if parameterization is None or not isinstance(mutation, SelectiveMutation):
            return mutation
        with blamed(f"mutation {mutation.type!r} fails to say whether it fits", "update or uninstall its plugin"):
            misfit = mutation.misfit(parameterization)
        if misfit is not None:
            raise ValueError(misfit)
        return mutation

    @field_validator("num_classes")
    @classmethod
    def _class_count_fits(cls, num_classes: int, info: ValidationInfo) -> int:
        parameterization = info.data.get("parameterization")
        if parameterization is not None and parameterization.class_count not in (None, num_classes):
            raise ValueError(
                f"parameterization {parameterization.type!r} works for {parameterization.class_count} classes only; "
                "set search.num_classes to that, or the family's own number to this one"
            )
        return num_classes

    @field_validator("population_growth")
    @classmethod
    def _last_population_is_possible(cls, population_growth: float, info: ValidationInfo) -> float:
        restarts = info.data.get("restarts", 1)
        magnitude = (restarts - 1) * math.log10(population_growth)
        if magnitude > LARGEST_GROWTH:
            raise ValueError(
                f"the last of {restarts} searches would have a population 10^{magnitude:.0f} times as large as the "
                "first; lower it, or restarts"
            )
        return population_growth

    @field_validator("stop")
    @classmethod
    def _fitness_can_be_compared(cls, stop: StopSpec, info: ValidationInfo) -> StopSpec:
        objective = info.data.get("objective")
        for name in ("target_fitness", "stagnation"):
            if getattr(stop, name) is not None and objective is not None and objective.fitness_is_relative:
                raise ValueError(
                    f"{name} compares the fitness of generations, but that of {objective.type!r} is an order within "
                    "one; leave it out, and stop by generations, evaluations or wall_time"
                )
        return stop

    @field_validator("stop")
    @classmethod
    def _budget_lasts(cls, stop: StopSpec, info: ValidationInfo) -> StopSpec:
        strategy = info.data.get("strategy")
        if strategy is not None and stop.evaluations is not None and stop.evaluations < strategy.num_solutions:
            raise ValueError(
                f"{stop.evaluations} evaluations are less than a generation, which costs {strategy.num_solutions}"
            )
        return stop


class RunSpec(FileSpec):
    """A whole run; ``model_dump(mode="json")`` is the spec again, with every default written out."""

    SCHEMA_FILE: ClassVar[str] = "lossforge.schema.json"

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is one, else the CPU"
    )
    search: SearchSpec
    training: TrainingSpec | None = None
    evidence: EvidenceSpec | None = None
    trackers: tuple[AnyTracker, ...] = Field(default=(), description="what is told how the run gets on")

    @field_validator("evidence")
    @classmethod
    def _evidence_goes_with_training(cls, evidence: EvidenceSpec | None, info: ValidationInfo) -> EvidenceSpec | None:
        if "training" not in info.data:
            return evidence
        if info.data["training"] is None and evidence is not None:
            raise ValueError("evidence needs a 'training' section that says what to train on")
        if info.data["training"] is not None and evidence is None:
            evidence = EvidenceSpec()
        if evidence is not None and info.data["training"] is not None:
            why = obstacle(evidence, info.data["training"])
            if why is not None:
                raise ValueError(why)
        if evidence is not None and info.data.get("name") in {baseline.label for baseline in evidence.baselines}:
            raise ValueError(f"the run is called {info.data['name']!r} like a baseline; give it another name")
        return evidence
