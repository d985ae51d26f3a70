"""What comes of comparing a sampler with recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lossforge.evidence.gap.comparison import GapFigures
from lossforge.interfaces import SyntheticSampler
from lossforge.spec.gap import GapSpec

ALL = "all"
"""Name of the group of all outputs."""

Judge = Literal["other trainings", "other outputs of the same trainings"]


@dataclass(frozen=True)
class WeightFit:
    """Proposed weights, found on one half of the recordings and judged on the other.

    Attributes:
        weights: of the sampler's regimes, as they are.
        proposed: those that are proposed.
        judged_on: what the other half is.
        num_fitted: outputs that they were found on.
        energy: energy distance to these, with the weights as they are and with those proposed.
        before: the gap to the other half, with the weights as they are.
        after: with those proposed.
        sampler: the sampler with them.
    """

    weights: Mapping[str, float]
    proposed: Mapping[str, float]
    judged_on: Judge
    num_fitted: int
    energy: tuple[float, float]
    before: GapFigures
    after: GapFigures
    sampler: SyntheticSampler

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "weights": dict(self.weights),
            "proposed": dict(self.proposed),
            "judged_on": self.judged_on,
            "num_fitted": self.num_fitted,
            "energy": list(self.energy),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "sampler": self.sampler.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Gap:
    """How far a sampler's predictions are from the outputs of real trainings.

    Attributes:
        sampler: what was compared.
        options: how.
        recordings: names of the recordings, and how many outputs each has.
        groups: the gap to ``all`` outputs, to those of each epoch where there are several, and of each loss.
        itself: the gap between two samples of the sampler: what there is where there is none.
        fit: proposed weights, where they were asked for.
    """

    sampler: SyntheticSampler
    options: GapSpec
    recordings: Mapping[str, int]
    groups: Mapping[str, GapFigures]
    itself: GapFigures
    fit: WeightFit | None = None

    @property
    def all(self) -> GapFigures:
        """The gap to all outputs."""
        return self.groups[ALL]

    def __repr__(self) -> str:
        """Return one line: what was compared, and how well the two can be told apart."""
        auc, shift = self.all.auc, self.all.wasserstein["p_y"]
        fitted = "" if self.fit is None else f", {self.fit.after.auc.value:.3f} with proposed weights"
        return (
            f"<Gap of {self.sampler.label} to {len(self.recordings)} recording(s): AUC {auc.value:.3f} "
            f"[{auc.low:.3f}, {auc.high:.3f}]{fitted}, W1 of p_y {shift.value:.3f}>"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "sampler": self.sampler.model_dump(mode="json"),
            "options": self.options.model_dump(mode="json"),
            "recordings": dict(self.recordings),
            "groups": {name: figures.to_json() for name, figures in self.groups.items()},
            "itself": self.itself.to_json(),
            "fit": None if self.fit is None else self.fit.to_json(),
        }
