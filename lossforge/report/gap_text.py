"""The figures of a gap as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from lossforge.evidence.gap import Gap, GapFigures
from lossforge.report.gap_figures import LABELS
from lossforge.report.gap_tables import AFTER, BEFORE, ITSELF
from lossforge.report.numbers import fixed, percentage
from lossforge.report.tables import table


def gap_tables(gap: Gap) -> Iterator[Table]:
    """Yield the figures of a gap, its regimes, and where weights are proposed, these and what they change."""
    level = f"{100 * gap.options.confidence:g}%"
    rows = {**gap.groups, ITSELF: gap.itself}
    yield _apart_table("Synthetic predictions against real outputs", rows, level)
    yield _distances_table("Distances of the marginals", rows)
    yield _regimes_table(gap)
    if gap.fit is not None:
        weights = table("Weights of the regimes", "regime", "weight", "proposed")
        for name, weight in gap.fit.weights.items():
            weights.add_row(name, fixed(weight, 3), fixed(gap.fit.proposed[name], 3))
        yield weights
        judged = {BEFORE: gap.fit.before, AFTER: gap.fit.after}
        yield _apart_table(f"Proposed weights, judged on {gap.fit.judged_on}", judged, level)
        yield _distances_table("Distances of the marginals there", judged)


def _apart_table(title: str, rows: Mapping[str, GapFigures], level: str) -> Table:
    made = table(title, "outputs", "n", "AUC", f"{level} interval", "energy\ndistance", "covered\n%", "visited\n%")
    for name, figures in rows.items():
        made.add_row(
            Text(name),
            str(figures.num),
            fixed(figures.auc.value, 3),
            Text(f"[{fixed(figures.auc.low, 3)}, {fixed(figures.auc.high, 3)}]"),
            fixed(figures.energy, 3),
            percentage(figures.coverage, 1),
            percentage(figures.recall, 1),
        )
    return made


def _distances_table(title: str, rows: Mapping[str, GapFigures]) -> Table:
    made = table(title, "outputs", *(f"{figure}\n{name}" for figure in ("W1", "JS") for name in LABELS))
    for name, figures in rows.items():
        distances = (values[each].value for values in (figures.wasserstein, figures.jensen_shannon) for each in LABELS)
        made.add_row(Text(name), *(fixed(value, 3) for value in distances))
    return made


def _regimes_table(gap: Gap) -> Table:
    made = table("Regimes", "regime", "real\n%", "synthetic\n%", "real ones\ncovered %", "real ones\nvisited %")
    for row in gap.all.regimes:
        shares = (row.real, row.synthetic, row.coverage, row.recall)
        made.add_row(row.regime.replace("_", " "), *(percentage(share, 1) for share in shares))
    return made
