"""The losses of a zoo: published, evolved, drawn at random, and of a stated shape, each on cross-entropy's scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lossforge import answers, registry
from lossforge.artifact import Artifact
from lossforge.errors import SearchError, SpecError
from lossforge.evidence.alike import is_usable_name
from lossforge.evidence.contenders import Contender, Rescaled, always
from lossforge.evidence.modules_population import ModulesPopulation
from lossforge.evidence.random_control import drawn_member
from lossforge.evidence.sources import found_source
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Loss, LossParameterization
from lossforge.losses import FixedLoss, LossModule
from lossforge.search.evaluator import GATE_BATCH_SIZE
from lossforge.search.population import ParameterPopulation
from lossforge.search.references import PublishedLoss
from lossforge.search.runner import OnGeneration
from lossforge.spec import GateSpec
from lossforge.spec.judged import JudgingSpec
from lossforge.spec.zoo import FoundLoss, RandomLoss, ShapedLoss, ZooSpec
from lossforge.streams import derive_generator
from lossforge.threads import one_thread
from lossforge.types import PredictionBatch

SCALE_PAIRS = 4096
"""Pairs of the batch on which gradients are scaled."""

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)

MemberRole = Literal["published", "found", "random", "random gated", "shaped"]


@dataclass(frozen=True)
class Member:
    """A loss of a zoo.

    Attributes:
        name: in tables and of folders.
        role: how it came to be.
        module: what objectives judge.
        contender: what networks are trained with.
        population: what gates look at.
    """

    name: str
    role: MemberRole
    module: LossModule
    contender: Contender
    population: ParameterPopulation

    @property
    def identity(self) -> str:
        """A string that changes with what it computes."""
        return self.contender.identity


@dataclass(frozen=True)
class Zookeeper:
    """Brings the losses of a zoo together.

    Attributes:
        spec: which.
        judging: its sampler and number of classes.
        seed: of what is drawn at random.
        out: folder that searches are kept in; None: nothing is written.
        on_generation: told of their progress.
    """

    spec: ZooSpec
    judging: JudgingSpec
    seed: int
    out: Path | None
    on_generation: OnGeneration | None

    def members(self) -> list[Member]:
        """Return the losses.

        Raises:
            SpecError: two are of one name, one cannot be scaled, or a name cannot be that of a folder.
            ArtifactError, SearchError: a found loss is not to be had, or no random one passes the gates.
        """
        members = [
            *map(self._published, self.spec.published),
            *(member for each in self.spec.found for member in self._found(each)),
            *(member for each in self.spec.random for member in self._random(each)),
            *map(self._shaped, self.spec.shaped),
        ]
        names = [member.name for member in members]
        for name in names:
            if names.count(name) > 1:
                raise SpecError([f"zoo: two losses are called {name!r}; give one of them another name"])
            if not is_usable_name(name):
                raise SpecError([f"zoo: {name!r} cannot be the name of a folder; leave options at their defaults"])
        return members

    @cached_property
    def gate_batch(self) -> PredictionBatch:
        """What gates look at."""
        return self._batch("correlate.gates", GATE_BATCH_SIZE)

    @cached_property
    def _scale_batch(self) -> PredictionBatch:
        return self._batch("correlate.scale", SCALE_PAIRS)

    def _batch(self, stream: str, num: int) -> PredictionBatch:
        with one_thread():
            generator = derive_generator(self.seed, stream)
            return answers.sample(self.judging.sampler, num, self.judging.num_classes, generator, 1.0)

    def _population(self, family: LossParameterization, solution_D: Tensor) -> ParameterPopulation:
        return ParameterPopulation(family, solution_D[None], self.judging.num_classes)

    def _published(self, loss: Loss) -> Member:
        module = FixedLoss(loss)
        with one_thread():
            population = ModulesPopulation((module,), self.judging.num_classes)
            scale = float(gradient_scale(population, self._scale_batch))
        if not 0 < scale < math.inf:
            raise SpecError([f"zoo.published: the gradient of {loss.label!r} cannot be scaled; leave it out"])
        contender = always(loss.label, "published", f"{scale!r} times {loss!r}", lambda: Rescaled(module, scale))
        family = PublishedLoss(published=loss)
        return Member(loss.label, "published", module, contender, self._population(family, torch.zeros(0)))

    def _found(self, each: FoundLoss) -> Iterator[Member]:
        for number in range(each.searches):
            artifact = found_source(each.source, number).obtain(self.out, self.on_generation)
            if number:
                artifact = dataclasses.replace(artifact, name=f"{artifact.name}-{number + 1}")
            yield self._member(artifact, "found")

    def _random(self, each: RandomLoss) -> Iterator[Member]:
        for number in range(each.num):
            name = f"{each.name}-{number + 1}" if number else each.name
            generator = derive_generator(self.seed, f"correlate.random.{each.name}", number)
            gates = each.gates or NO_GATES
            drawn = drawn_member(each.family, gates, self.gate_batch, self._scale_batch, generator)
            if drawn is None:
                raise SearchError(f"zoo.random: no member of {name!r} passes its gates; leave them out")
            yield self._member(Artifact(name, each.family, *drawn), "random" if each.gates is None else "random gated")

    def _shaped(self, each: ShapedLoss) -> Member:
        family = cast("Any", registry.get("parameterizations", "weight_profile"))()
        solution_D = family.solution(each.a, each.b, each.c).float()
        with one_thread():
            scale = float(gradient_scale(self._population(family, solution_D), self._scale_batch))
        return self._member(Artifact(each.name, family, solution_D, scale), "shaped")

    def _member(self, artifact: Artifact, role: MemberRole) -> Member:
        family, required = artifact.parameterization, artifact.parameterization.class_count
        if required not in (None, self.judging.num_classes):
            raise SpecError([f"zoo: {artifact.name!r} is for {required} classes; set judging.num_classes to that"])
        contender = always(artifact.name, "found", artifact.identity(), artifact.loss)
        return Member(artifact.name, role, artifact.loss(), contender, self._population(family, artifact.solution_D))
