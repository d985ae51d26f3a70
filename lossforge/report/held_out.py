"""What the objective said of losses on the held-out batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lossforge.report.numbers import label, percent, significant
from lossforge.report.verdict import RANKING_ACCURACY
from lossforge.run_content import Figures, ReferenceFigures


@dataclass(frozen=True)
class HeldOutRow:
    """A figure of the found loss and of each reference on the held-out batch."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """What the objective said of losses on the held-out batch; the found loss is the first column."""

    columns: tuple[str, ...]
    figures: tuple[HeldOutRow, ...]
    ranking: tuple[HeldOutRow, ...]
    by_regime: tuple[HeldOutRow, ...]

    @property
    def sections(self) -> tuple[tuple[HeldOutRow, ...], ...]:
        """The parts of the table that have rows."""
        return tuple(part for part in (self.figures, self.ranking, self.by_regime) if part)


def held_out(found: Figures, references: Sequence[ReferenceFigures]) -> HeldOut:
    """Return rows of fitness and metrics; ranking accuracy over all pairs, by kind of pair and by regime after them."""
    kinds = {
        RANKING_ACCURACY: "ranking, all pairs",
        f"{RANKING_ACCURACY}.random": "ranking, two random predictions",
        f"{RANKING_ACCURACY}.same_prediction": "ranking, one prediction, two labels",
    }
    prefix = f"{RANKING_ACCURACY}."
    regimes = {
        name: f"ranking, {label(name.removeprefix(prefix))}"
        for name in found.metrics
        if name.startswith(prefix) and name not in kinds
    }
    others = {name: name for name in found.metrics if name not in kinds and name not in regimes}
    losses = (found, *references)

    def rows(names: Mapping[str, str], write: Callable[[float | None], str]) -> tuple[HeldOutRow, ...]:
        return tuple(
            HeldOutRow(text, tuple(write(loss.metrics.get(name)) for loss in losses))
            for name, text in names.items()
            if name in found.metrics
        )

    fitness = HeldOutRow("fitness", tuple(significant(loss.fitness, 4) for loss in losses))
    return HeldOut(
        columns=("found loss", *(reference.loss for reference in references)),
        figures=(*([] if found.fitness_is_relative else [fitness]), *rows(others, lambda value: significant(value, 4))),
        ranking=rows(kinds, lambda value: percent(value, 2)),
        by_regime=rows(regimes, lambda value: percent(value, 2)),
    )
