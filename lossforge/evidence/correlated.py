"""What comes of holding synthetic objectives against the real accuracy of a zoo of losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossforge.evidence.correlation import FITNESS, Correlation
from lossforge.evidence.judging import Judged
from lossforge.evidence.statistics import mean_and_sd
from lossforge.evidence.tuning import Tuned
from lossforge.spec.correlate import CorrelateSpec


@dataclass(frozen=True)
class ZooLoss:
    """A loss of the zoo, and what became of networks that were trained with it.

    Attributes:
        name: of it.
        role: how it came to be.
        accuracies: on the images held out, at the best rate, over fresh seeds; of a training that diverged, that of
            guessing: one over the number of classes.
        num_diverged: trainings that did.
        tuned: what tuning came to.
        violations: of gates; None where one is not finite.
    """

    name: str
    role: str
    accuracies: tuple[float, ...]
    num_diverged: int
    tuned: Tuned
    violations: Mapping[str, float | None]

    @property
    def accuracy(self) -> float:
        """The mean."""
        return math.fsum(self.accuracies) / len(self.accuracies)

    @property
    def sd(self) -> float | None:
        """The standard deviation over seeds; None of one."""
        return mean_and_sd(self.accuracies).sd

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "name": self.name,
            "role": self.role,
            "accuracies": list(self.accuracies),
            "num_diverged": self.num_diverged,
            "tuned": self.tuned.to_json(),
            "violations": dict(self.violations),
        }


@dataclass(frozen=True)
class Correlated:
    """What a zoo says of synthetic objectives.

    Attributes:
        spec: of it.
        losses: the zoo.
        judged: what each objective says of each loss.
        correlations: of each objective, metric and gate with accuracy, over all losses, then over those that work.
    """

    spec: CorrelateSpec
    losses: tuple[ZooLoss, ...]
    judged: tuple[Judged, ...]
    correlations: tuple[Correlation, ...]

    def of_fitness(self, group: str = "all") -> list[Correlation]:
        """Return the correlations of objectives, the largest first; those that do not exist last."""
        rows = [row for row in self.correlations if row.measure == FITNESS and row.group == group]
        return sorted(rows, key=lambda row: -math.inf if row.spearman is None else row.spearman.rho, reverse=True)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "spec": self.spec.model_dump(mode="json"),
            "losses": [loss.to_json() for loss in self.losses],
            "objectives": [
                {
                    "name": each.name,
                    "seconds": each.seconds,
                    "figures": {loss: figures.to_json() for loss, figures in each.figures.items()},
                }
                for each in self.judged
            ],
            "correlations": [row.to_json() for row in self.correlations],
        }

    def __repr__(self) -> str:
        """Return a line for each objective."""
        lines = []
        for row in self.of_fitness():
            each = row.spearman
            told = "none" if each is None else f"{each.rho:+.2f} [{each.low:+.2f}, {each.high:+.2f}]"
            lines.append(f"{row.objective}: {told} over {row.num} losses")
        return "\n".join(lines)
