"""A found loss in the report: how it was searched for, its weights, and what the objective said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.report.figures import Chart, gate_chart, search_chart, weight_chart
from lossforge.report.held_out import HeldOut, held_out
from lossforge.report.numbers import amount, count, label
from lossforge.report.reading import type_of
from lossforge.run_content import FoundLoss, Generation


@dataclass(frozen=True)
class Found:
    """All that the page says of a found loss by itself."""

    name: str
    search: str
    search_charts: tuple[Chart, ...]
    weight_chart: Chart
    held_out: HeldOut
    num_held_out: str


def found_loss(name: str, found: FoundLoss, history: Sequence[Generation], prefix: str = "") -> Found:
    """Return what there is to say of a found loss.

    Args:
        name: as it is called here.
        found: from its artifact.
        history: of its search; empty where that is not at hand.
        prefix: of the ids of its charts.
    """
    charts = (search_chart(history, f"{prefix}fitness"), gate_chart(history, f"{prefix}gates")) if history else ()
    return Found(
        name=name,
        search=_search_story(found),
        search_charts=charts,
        weight_chart=weight_chart(found.weight_profile, f"{prefix}weight"),
        held_out=held_out(found.held_out, found.references),
        num_held_out=amount(found.search.get("selection_batch_size"), "synthetic pair"),
    )


def _search_story(found: FoundLoss) -> str:
    search = found.search
    kinds = {key: type_of(search, key) or "unknown" for key in ("parameterization", "sampler", "objective", "strategy")}
    mutation = type_of(search, "mutation")
    return (
        f"{count(found.generations, 'generation')} of {kinds['strategy']}"
        f"{f' with {mutation} mutation' if mutation else ''}, {count(found.evaluations, 'evaluation')} in all, over "
        f"{kinds['parameterization']} losses. Fitness: {kinds['objective']} on synthetic predictions of "
        f"{amount(search.get('num_classes'), 'class', 'classes')}, drawn by {kinds['sampler']}. Seed {found.seed}."
        f"{_searches(found)}{_rejections(found)}"
    )


def _searches(found: FoundLoss) -> str:
    """Return a sentence on why the search stopped, or on each of several searches."""
    ends = [
        f"{count(end.generations, 'generation')} of {end.num_solutions} candidates (stopped by {label(end.stopped)})"
        for end in found.searches
    ]
    if len(ends) < 2:
        return f" Stopped by {label(found.searches[0].stopped)}." if ends else ""
    listed = "; ".join(f"{index}: {end}" for index, end in enumerate(ends))
    return f" {len(ends)} independent searches: {listed}. The loss is that of search {found.restart}."


def _rejections(found: FoundLoss) -> str:
    counts = [f"{label(reason)} {number:,}" for reason, number in found.rejected.items() if number]
    return f" Candidates rejected, by the first reason that applied: {', '.join(counts)}." if counts else ""
