"""What may be concluded from an ablation: measures of each arm, and tests against the reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lossforge.evidence.ablation_run import Curve
from lossforge.evidence.statistics import PairedDifference, compare_pairs, holm, median
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


@dataclass(frozen=True)
class Scale:
    """What the curves of one setting are measured by.

    Attributes:
        target: fitness to be reached.
        budget: evaluations of the longest search.
        nothing: what a search is worth that has found nothing yet: the worst that any had found at any time.
    """

    target: float
    budget: int
    nothing: float


MEASURES: dict[str, Callable[[Curve, Scale], float]] = {
    "area": lambda curve, scale: curve.area(scale.budget, scale.nothing),
    "end": lambda curve, scale: curve.end,
    "evaluations": lambda curve, scale: curve.evaluations_to(scale.target),
}
"""Name to measure of a curve; lower is better."""


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

    def __repr__(self) -> str:
        """Return one line: what was compared."""
        spec = self.spec
        variants = ", ".join(spec.variants)
        return f"<Ablation {spec.name!r}: {variants} in {len(spec.settings)} setting(s) over {spec.seeds} seeds>"


def analyse(spec: AblationSpec, arms: Sequence[Arm]) -> Ablation:
    """Compare every variant with the reference of its setting."""
    scales = {setting: _scale(spec, setting, arms) for setting in spec.settings}
    rows = [row for measure in MEASURES for row in _rows(spec, arms, scales, measure)]
    position = {(arm.setting, arm.variant): index for index, arm in enumerate(arms)}
    rows.sort(key=lambda row: position[row.setting, row.variant])
    return Ablation(spec, tuple(arms), {name: scale.target for name, scale in scales.items()}, tuple(rows))


def _rows(spec: AblationSpec, arms: Sequence[Arm], scales: dict[str, Scale], measure: str) -> Iterator[Row]:
    """Yield the rows of one measure, their p-values adjusted for one another."""
    values = {
        (arm.setting, arm.variant): [MEASURES[measure](curve, scales[arm.setting]) for curve in arm.curves]
        for arm in arms
    }
    differences = {
        key: compare_pairs(found, values[key[0], spec.reference_variant], spec.confidence)
        for key, found in values.items()
        if key[1] != spec.reference_variant
    }
    adjusted = dict(zip(differences, holm([each.p_value for each in differences.values()]), strict=True))
    for key, found in values.items():
        yield Row(*key, measure, median(found), differences.get(key), adjusted.get(key))


def _scale(spec: AblationSpec, setting: str, arms: Sequence[Arm]) -> Scale:
    """Return the scale of a setting.

    Its target is the spec's, or the upper median of what the reference's curves end at: more than half reach it.
    """
    here = [arm for arm in arms if arm.setting == setting]
    curves = [curve for arm in here for curve in arm.curves]
    (reference,) = (arm for arm in here if arm.variant == spec.reference_variant)
    ends = [math.inf if curve.fitness[-1] is None else curve.fitness[-1] for curve in reference.curves]
    return Scale(
        target=spec.targets.get(setting, statistics.median_high(ends)),
        budget=max(curve.evaluations[-1] for curve in curves),
        nothing=max((value for curve in curves for value in curve.fitness if value is not None), default=math.inf),
    )
