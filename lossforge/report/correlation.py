"""Which objectives predict real accuracy: tables for the terminal, CSV files and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lossforge.evidence.correlated import Correlated
from lossforge.evidence.correlation import FITNESS, Correlation
from lossforge.files import write_atomically
from lossforge.report.correlation_figures import interval_plot, scatter_plot
from lossforge.report.evidence_rows import Row, as_csv
from lossforge.report.numbers import coefficient, count, percentage
from lossforge.report.tables import table


def write_correlation(correlated: Correlated, out: Path) -> None:
    """Write ``tables/correlations.csv``, ``tables/zoo.csv`` and ``figures/*.svg`` into a folder."""
    for folder in ("tables", "figures"):
        (out / folder).mkdir(exist_ok=True)
    write_atomically(out / "tables" / "correlations.csv", as_csv(correlation_rows(correlated)))
    write_atomically(out / "tables" / "zoo.csv", as_csv(zoo_rows(correlated)))
    write_atomically(out / "figures" / "correlations.svg", interval_plot(correlated))
    write_atomically(out / "figures" / "objectives.svg", scatter_plot(correlated))


def correlation_rows(correlated: Correlated) -> Iterator[Row]:
    """Yield each objective, metric and gate, in each group of losses."""
    seconds = {each.name: each.seconds for each in correlated.judged}
    for row in correlated.correlations:
        each = row.spearman
        yield {
            "objective": row.objective,
            "measure": row.measure,
            "group": row.group,
            "rho": None if each is None else each.rho,
            "low": None if each is None else each.low,
            "high": None if each is None else each.high,
            "confidence": correlated.spec.confidence,
            "kendall": row.kendall,
            "pearson": row.pearson,
            "n": row.num,
            "num_infinite": row.num_infinite,
            "behind_best": row.behind,
            "seconds_a_loss": seconds.get(row.objective),
        }


def zoo_rows(correlated: Correlated) -> Iterator[Row]:
    """Yield each loss: its accuracy, what tuning came to, and what objectives and gates say of it."""
    for loss in correlated.losses:
        row: Row = {
            "loss": loss.name,
            "role": loss.role,
            "accuracy": loss.accuracy,
            "sd": loss.sd,
            "n": len(loss.accuracies),
            "num_diverged": loss.num_diverged,
            "learning_rate": loss.tuned.point.learning_rate,
            "weight_decay": loss.tuned.point.weight_decay,
            "is_at_edge": loss.tuned.is_at_edge,
        }
        for each in correlated.judged:
            figures = each.figures[loss.name]
            row[each.name] = figures.mean(FITNESS)
            row |= {f"{each.name}.{metric}": figures.mean(metric) for metric in figures.metrics}
        yield row | {f"gates.{gate}": size for gate, size in loss.violations.items()}


def correlation_tables(correlated: Correlated) -> Iterator[Table | str]:
    """Yield the table of objectives, that of losses, and what must be said with them."""
    yield _objectives(correlated)
    yield _losses(correlated)
    yield "\n".join(("", *_notes(correlated)))


def _objectives(correlated: Correlated) -> Table:
    level = f"{100 * correlated.spec.confidence:g}%"
    heads = ("rho", level, "n", "behind\nbest", "rho of\nworking", level, "n", "seconds\na loss")
    made = table("Fitness against real accuracy", "objective", *heads)
    working = {row.objective: row for row in correlated.of_fitness("working")}
    seconds = {each.name: each.seconds for each in correlated.judged}
    for row in correlated.of_fitness():
        made.add_row(
            Text(row.objective),
            *_rho(row),
            "" if row.behind is None else f"{100 * row.behind:.0f}%",
            *_rho(working[row.objective]),
            f"{seconds[row.objective]:.2g}",
        )
    share = f"{100 * correlated.spec.working_share:g}%"
    made.caption = Text(
        f"Spearman's rho, positive where a better fitness goes with a higher accuracy on images held out. Working: "
        f"losses that reach {share} of the best accuracy. Behind best: share of resamples in which rho is below that "
        "of the first row."
    )
    return made


def _rho(row: Correlation) -> tuple[str, str, str]:
    return *coefficient(row.spearman), str(row.num)


def _losses(correlated: Correlated) -> Table:
    made = table("The zoo", "loss", "role", "accuracy\n%", "n", "rate")
    for loss in sorted(correlated.losses, key=lambda each: each.accuracy, reverse=True):
        spread = "" if loss.sd is None else f" ± {percentage(loss.sd, 2)}"
        edge = " (edge)" if loss.tuned.is_at_edge else ""
        cells = (
            loss.name,
            loss.role,
            percentage(loss.accuracy, 2) + spread,
            str(len(loss.accuracies)),
            f"{loss.tuned.point.learning_rate:.3g}{edge}",
        )
        made.add_row(*map(Text, cells))
    made.caption = Text("Accuracy on images held out: mean ± sd over fresh seeds, at the best rate.")
    return made


def _notes(correlated: Correlated) -> Iterator[str]:
    first, *others = correlated.of_fitness()
    rho, interval, num = _rho(first)
    if first.spearman is None or first.spearman.low <= 0:
        told = f"{first.objective}: {rho} {interval}, n {num}"
        yield f"No objective is shown to predict accuracy here; the first is {told}."
    else:
        rivals = [row.objective for row in others if row.behind is not None and row.behind < _level(correlated)]
        told = f"{first.objective} predicts accuracy best here: {rho} {interval}, n {num}"
        yield f"{told}; not told apart from it: {', '.join(rivals) or 'none'}."
    diverged = [
        f"{count(loss.num_diverged, 'training')} with {loss.name}" for loss in correlated.losses if loss.num_diverged
    ]
    if diverged:
        yield f"Diverged, and counted as guessing: {', '.join(diverged)}."
    edges = [loss.name for loss in correlated.losses if loss.tuned.is_at_edge]
    if edges:
        yield f"Best at an edge of the rates that were tried: {', '.join(edges)}; raise tuning.widenings."


def _level(correlated: Correlated) -> float:
    """Return the share of resamples from which on an objective is told apart from the best, one-sided."""
    return (1 + correlated.spec.confidence) / 2
