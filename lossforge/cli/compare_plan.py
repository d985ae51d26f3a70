"""``compare --dry-run``: what would be trained, and what it could show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossforge.cli.durations import duration
from lossforge.errors import RunDirectoryError

if TYPE_CHECKING:
    from lossforge.evidence.plan import Planned
    from lossforge.spec.compare import CompareSpec

USUAL_SDS = (0.2, 0.5, 1.0)
"""Points of accuracy: standard deviations over seeds of strong networks, of small ones, and under label noise."""

USUAL = "as they are met often"


def print_plan(spec: CompareSpec, out: Path, *, as_json: bool) -> None:
    """Print the plan of a comparison, and its power; its images are read, and a few generations and steps are timed.

    Raises:
        SpecError, DataError, ArtifactError: what the comparison itself would refuse before it trains anything.
        RunDirectoryError: ``out`` holds something else, or damaged results.
    """
    from lossforge.compare_study import checks_of
    from lossforge.evidence.compare import checked_sources, refuse_occupied
    from lossforge.evidence.plan import plan, plan_further, plan_searches
    from lossforge.search import existing_device, resolve_device

    refuse_occupied(out)
    sources = checked_sources(spec, checks_of(spec, out), out)
    click.echo("timing a few training steps, and searches if there are any", err=True)
    searches = plan_searches(sources, out)
    device = existing_device(resolve_device(spec.device))
    found = [source.name for source in sources]
    planned = plan(spec.evidence, spec.training, len(spec.published), found, spec.seed, device)
    further = plan_further(spec.evidence, planned[0], len(found))
    sds, source = _sds(spec, out)
    rows = _power(spec, sds)
    if as_json:
        parts = {"conditions": _plain(planned), "further": _plain(further)}
        content = {"out": str(out), "search_seconds": searches, **parts, "sds_are": source, "power": rows}
        click.echo(json.dumps(content, indent=2))
        return
    click.echo(f"{spec.name}: would compare in {out}")
    for line in lines_of(planned, further, searches):
        click.echo(f"  {line}")
    shows = f"What {spec.evidence.seeds} seeds can show of one loss (several take more: p-values are corrected)"
    click.echo(f"\n{shows}, with standard deviations over seeds {source}:")
    _print_power(spec, rows)
    click.echo("nothing was trained (--dry-run)")


def lines_of(planned: list[Planned], further: list[Planned], searches: Mapping[str, float]) -> list[str]:
    """Return how many trainings there are for what, and how long they take; ``searches``: seconds of each before."""
    kinds = [*((each, "losses and controls") for each in planned), *((each, "losses besides") for each in further)]
    lines = [f"search of {name}: about {duration(seconds)}" for name, seconds in searches.items()]
    for each, losses in kinds:
        tuning = f"{each.num_points} to tune and " if each.num_points else ""
        lines.append(
            f"{each.condition}: {each.num_contenders} {losses}, {tuning}{each.num_seeds} final trainings each: "
            f"{each.num_trainings} trainings, about {duration(each.seconds)}"
        )
    seconds = duration(sum(searches.values()) + sum(each.seconds for each in (*planned, *further)))
    is_correlated = any(each.condition == "correlation" for each in further)
    but = "; without the searches and judgements of the correlation" if is_correlated else ""
    return [*lines, f"all: about {seconds}, one after the other, not compiled{but}"]


def _plain(planned: list[Planned]) -> list[dict[str, Any]]:
    return [{**asdict(each), "num_trainings": each.num_trainings} for each in planned]


def _sds(spec: CompareSpec, out: Path) -> tuple[list[float], str]:
    """Return standard deviations of accuracy in points: measured in a folder on such trainings, or usual ones."""
    path = out / "evidence.json"
    if not path.is_file():
        return list(USUAL_SDS), USUAL
    planned = [_setting(training.model_dump(mode="json")) for training in spec.evidence.under(spec.training).values()]
    try:
        conditions = json.loads(path.read_bytes())["conditions"]
        alike = [condition for condition in conditions if _setting(condition["training"]) in planned]
        samples = [loss["metrics"]["accuracy"]["sample"] for condition in alike for loss in condition["losses"]]
    except (ValueError, KeyError, TypeError) as cause:
        raise RunDirectoryError(f"{path}: damaged ({cause}); delete it, and give the command again") from cause
    sds = sorted(100 * sample["sd"] for sample in samples if sample is not None and sample["sd"])
    if not sds:
        return list(USUAL_SDS), USUAL
    return sorted({sds[0], sds[len(sds) // 2], sds[-1]}), f"measured in {out}"


def _setting(training: Mapping[str, Any]) -> list[Any]:
    """Return of a training what standard deviations hang on most."""
    return [training[name] for name in ("dataset", "model", "num_train", "epochs", "label_noise", "long_tail")]


def _power(spec: CompareSpec, sds: list[float]) -> list[dict[str, float]]:
    from lossforge.report.evidence_rows import power_rows

    return list(power_rows(sds, spec.evidence.margin, spec.evidence.confidence, spec.evidence.seeds))


def _print_power(spec: CompareSpec, rows: list[dict[str, float]]) -> None:
    from rich.console import Console

    from lossforge.report.tables import table

    shown = table("Power of a comparison", "sd\npoints", "difference\npoints", "power\n%", "seeds for\n80%")
    for row in rows:
        if row["seeds"] == spec.evidence.seeds:
            cells = (f"{row['sd']:.2f}", f"{row['difference']:g}", f"{100 * row['power']:.0f}", f"{row['needed']:,}")
            shown.add_row(*cells)
    Console().print(shown)
