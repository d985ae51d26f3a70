"""The figures of a gap as tables: rows of plain values, which become CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from lossforge.evidence.gap import Estimate, Gap, GapFigures, WeightFit

ITSELF = "sampler against itself"
BEFORE, AFTER = "weights as they are", "weights proposed"

Row = tuple[Any, ...]


def figures_csv(gap: Gap) -> str:
    """Return every figure of every group, a row each."""
    head = ("group", "num", "figure", "marginal", "value", "low", "high")
    rows = [row for name, figures in _groups(gap) for row in _figure_rows(name, figures)]
    return _csv(head, rows)


def regimes_csv(gap: Gap) -> str:
    """Return the regimes of every group."""
    head = ("group", "regime", "real_share", "synthetic_share", "num_real", "coverage", "recall")
    rows = [
        (name, row.regime, row.real, row.synthetic, row.num_real, row.coverage, row.recall)
        for name, figures in _groups(gap)
        for row in figures.regimes
    ]
    return _csv(head, rows)


def histograms_csv(gap: Gap) -> str:
    """Return the histograms of every group, a row a bin."""
    head = ("group", "marginal", "from", "to", "real", "synthetic")
    return _csv(head, (row for name, figures in _groups(gap) for row in _bins(name, figures)))


def weights_csv(fit: WeightFit) -> str:
    """Return the weights of the sampler's regimes."""
    rows = [(name, weight, fit.proposed[name]) for name, weight in fit.weights.items()]
    return _csv(("regime", "weight", "proposed"), rows)


def _groups(gap: Gap) -> Iterator[tuple[str, GapFigures]]:
    yield from gap.groups.items()
    yield ITSELF, gap.itself
    if gap.fit is not None:
        yield f"{gap.fit.judged_on}: {BEFORE}", gap.fit.before
        yield f"{gap.fit.judged_on}: {AFTER}", gap.fit.after


def _figure_rows(name: str, figures: GapFigures) -> Iterator[Row]:
    def row(figure: str, marginal: str, value: Estimate) -> Row:
        return (name, figures.num, figure, marginal, value.value, value.low, value.high)

    for marginal, value in figures.wasserstein.items():
        yield row("wasserstein", marginal, value)
    for marginal, value in figures.jensen_shannon.items():
        yield row("jensen_shannon", marginal, value)
    yield row("auc", "", figures.auc)
    for figure in ("energy", "coverage", "recall"):
        yield (name, figures.num, figure, "", getattr(figures, figure), "", "")


def _bins(name: str, figures: GapFigures) -> Iterator[Row]:
    for marginal, real in figures.real.items():
        width = real.largest / len(real.counts)
        pairs = zip(real.counts, figures.synthetic[marginal].counts, strict=True)
        for index, counts in enumerate(pairs):
            yield (name, marginal, width * index, width * (index + 1), *counts)


def _csv(head: Row, rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()
