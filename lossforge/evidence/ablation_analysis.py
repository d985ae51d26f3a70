"""What may be concluded from an ablation: measures of each arm, and tests against the reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lossforge.evidence.ablation_run import Curve
from lossforge.evidence.rank_tests import PairedDifference, compare_pairs, holm
from lossforge.evidence.step_variance import StepSize
from lossforge.spec import RunSpec
from lossforge.spec.ablation import AblationSpec


@dataclass(frozen=True)
class Arm:
    """One variant in one setting: a spec a seed, and, once they have run, a curve a seed."""

    setting: str
    variant: str
    specs: tuple[RunSpec, ...]
    steps: StepSize | None
    curves: tuple[Curve, ...] = ()

    @property
    def title(self) -> str:
        """Both names."""
        return f"{self.setting} / {self.variant}"


MEASURES: dict[str, Callable[[Curve, float], float]] = {
    "area": lambda curve, target: curve.area,
    "end": lambda curve, target: curve.end,
    "evaluations": lambda curve, target: curve.evaluations_to(target),
}
"""Name to measure of a curve, given the setting's target; lower is better."""


@dataclass(frozen=True)
class Row:
    """A variant beside the reference of its setting, in one measure."""

    setting: str
    variant: str
    measure: str
    median: float
    difference: PairedDifference | None
    adjusted_p: float | None


@dataclass(frozen=True)
class Ablation:
    """Everything that came out.

    Attributes:
        spec: what was asked.
        arms: setting by setting, variants in the order of the spec.
        targets: setting to the fitness that ``evaluations`` counts up to.
        rows: arm by arm, a row a measure; p-values are Holm-adjusted over all comparisons of a measure.
    """

    spec: AblationSpec
    arms: tuple[Arm, ...]
    targets: dict[str, float]
    rows: tuple[Row, ...]


def analyse(spec: AblationSpec, arms: Sequence[Arm]) -> Ablation:
    """Compare every variant with the reference of its setting."""
    targets = {setting: _target(spec, setting, arms) for setting in spec.settings}
    rows = [row for measure in MEASURES for row in _rows(spec, arms, targets, measure)]
    position = {(arm.setting, arm.variant): index for index, arm in enumerate(arms)}
    rows.sort(key=lambda row: position[row.setting, row.variant])
    return Ablation(spec, tuple(arms), targets, tuple(rows))


def _rows(spec: AblationSpec, arms: Sequence[Arm], targets: dict[str, float], measure: str) -> Iterator[Row]:
    """Yield the rows of one measure, their p-values adjusted for one another."""
    values = {
        (arm.setting, arm.variant): [MEASURES[measure](curve, targets[arm.setting]) for curve in arm.curves]
        for arm in arms
    }
    differences = {
        key: compare_pairs(found, values[key[0], spec.reference_variant], spec.confidence)
        for key, found in values.items()
        if key[1] != spec.reference_variant
    }
    adjusted = dict(zip(differences, holm([each.p_value for each in differences.values()]), strict=True))
    for key, found in values.items():
        median = sorted(found)[(len(found) - 1) // 2]
        yield Row(*key, measure, median, differences.get(key), adjusted.get(key))


def _target(spec: AblationSpec, setting: str, arms: Sequence[Arm]) -> float:
    """Return the fitness to be reached: the spec's, or the median of what the reference's curves end at."""
    if setting in spec.targets:
        return spec.targets[setting]
    (reference,) = (arm for arm in arms if (arm.setting, arm.variant) == (setting, spec.reference_variant))
    ends = [math.inf if curve.fitness[-1] is None else curve.fitness[-1] for curve in reference.curves]
    return statistics.median_high(ends)
