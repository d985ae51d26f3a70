"""What synthetic objectives say of the losses of a zoo: on the same batches and draws for all, kept by content."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lossforge import answers
from lossforge.errors import RunDirectoryError
from lossforge.evidence.modules_population import ModulesPopulation
from lossforge.evidence.store import identity_hash
from lossforge.evidence.zoo import Member
from lossforge.files import to_json, write_atomically
from lossforge.search import apply_gates
from lossforge.spec.gates import GateSpec
from lossforge.spec.judged import JudgingSpec, NamedObjective
from lossforge.streams import derive_generator
from lossforge.threads import one_thread
from lossforge.types import PredictionBatch

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Figures:
    """What an objective says of one loss, by batch; None: not a finite number."""

    fitness: tuple[float | None, ...]
    metrics: Mapping[str, tuple[float | None, ...]]

    def mean(self, measure: str) -> float:
        """Return the mean over batches of ``fitness`` or of a metric; infinite where it is not finite in one."""
        values = self.fitness if measure == "fitness" else self.metrics[measure]
        finite = [value for value in values if value is not None]
        return math.fsum(finite) / len(finite) if len(finite) == len(values) else math.inf

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {"fitness": list(self.fitness), "metrics": {name: list(each) for name, each in self.metrics.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figures:
        """Return the figures that :meth:`to_json` gave."""
        return cls(tuple(data["fitness"]), {name: tuple(each) for name, each in data["metrics"].items()})


@dataclass(frozen=True)
class Judged:
    """What an objective says of a zoo.

    Attributes:
        name: of the objective.
        figures: by the name of the loss.
        seconds: that it took for a loss and a batch, when it was first asked, with other losses beside it.
    """

    name: str
    figures: Mapping[str, Figures]
    seconds: float


def judge(
    named: NamedObjective, judging: JudgingSpec, seed: int, members: Sequence[Member], folder: Path | None
) -> Judged:
    """Have an objective judge losses; those that it has judged before, on the same draws, are read back.

    Raises:
        RunDirectoryError: what is in the folder is damaged.
        PluginError: the objective breaks its contract.
    """
    setting = {
        "objective": named.objective.model_dump(mode="json"),
        "judging": judging.model_dump(mode="json", exclude={"gates"}),
        "seed": seed,
    }
    path = None if folder is None else folder / f"{named.name}-{identity_hash(setting)[:12]}.json"
    known, seconds = _read(path)
    missing = [member for member in members if member.identity not in known]
    if missing:
        began = time.perf_counter()
        known |= zip([each.identity for each in missing], _judged(named, judging, seed, missing), strict=True)
        seconds = seconds or (time.perf_counter() - began) / (len(missing) * judging.batches)
        if path is not None:
            _write(path, known, seconds)
    return Judged(named.name, {member.name: known[member.identity] for member in members}, seconds)


def gate_violations(
    gates: GateSpec, members: Sequence[Member], batch: PredictionBatch
) -> dict[str, dict[str, float | None]]:
    """Return by the name of each loss its violation of each gate; None where that is not finite."""
    gates = gates.model_copy(update={"duplicate": None})
    found = {member.name: apply_gates(gates, member.population, batch).violations for member in members}
    return {
        loss: {gate: _finite(float(violation_P[0])) for gate, violation_P in violations.items()}
        for loss, violations in found.items()
    }


def _judged(named: NamedObjective, judging: JudgingSpec, seed: int, members: Sequence[Member]) -> list[Figures]:
    population = ModulesPopulation(tuple(member.module for member in members), judging.num_classes)
    evaluations = []
    for index in range(judging.batches):
        with one_thread():
            generator = derive_generator(seed, "correlate.sampler", index)
            batch = answers.sample(judging.sampler, judging.batch_size, judging.num_classes, generator, 1.0)
            draws = derive_generator(seed, "correlate.objective", index)
            with torch.no_grad():
                evaluations.append(answers.evaluate(named.objective, population, batch, draws))
    return [
        Figures(
            tuple(_finite(float(each.fitness_P[place])) for each in evaluations),
            {
                name: tuple(_finite(float(each.metrics[name][place])) for each in evaluations)
                for name in sorted(evaluations[0].metrics)  # as they are read back
            },
        )
        for place in range(len(members))
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(path: Path | None) -> tuple[dict[str, Figures], float]:
    if path is None or not path.exists():
        return {}, 0.0
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {content['format_version']}, this version reads {FORMAT_VERSION}")
        return {key: Figures.from_json(each) for key, each in content["losses"].items()}, float(content["seconds"])
    except (ValueError, KeyError, TypeError) as cause:
        raise RunDirectoryError(f"{path}: damaged ({cause}); delete it to have the losses judged again") from cause


def _write(path: Path, known: Mapping[str, Figures], seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    losses = {identity: figures.to_json() for identity, figures in known.items()}
    write_atomically(path, to_json({"format_version": FORMAT_VERSION, "seconds": seconds, "losses": losses}))
