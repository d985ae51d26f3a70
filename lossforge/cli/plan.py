"""What a run would do, and about how long it would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossforge.cli.durations import duration

if TYPE_CHECKING:
    from lossforge.evidence.estimate import Planned
    from lossforge.spec import RunSpec
    from lossforge.training import PreparedData

_TRAINING_NOTE = "one after the other, not compiled; seven steps timed here"


def print_plan(spec: RunSpec, path: Path, *, as_json: bool) -> None:
    """Print the plan of a resolved spec in ``path``; its images are read, evaluations and steps are timed.

    Raises:
        SpecError, DataError: what the run itself would refuse before it searches.
    """
    plan = _plan(spec, path)
    if as_json:
        click.echo(json.dumps(plan, indent=2))
        return
    click.echo(f"{spec.name}: would run in {path}")
    for line in (*_search_lines(spec, plan), *_training_lines(spec, plan)):
        click.echo(f"  {line}")
    click.echo("  nothing was run (--dry-run)")


def _plan(spec: RunSpec, path: Path) -> dict[str, Any]:
    from lossforge.evidence.estimate import planned, search_seconds
    from lossforge.pipeline import checked_data

    data = checked_data(spec)  # before anything is timed
    click.echo("timing a few evaluations" + ("" if spec.training is None else " and training steps"), err=True)
    searches = list(planned(spec.search))
    return {
        "name": spec.name,
        "path": str(path),
        "num_searches": len(searches),
        "searches": [_search(spec, search) for search in (*searches[:1], *searches[1:][-1:])],  # the first, the last
        "evaluations": sum(search.evaluations for search in searches),
        "backend": spec.search.backend,
        "device": spec.device,
        "stop": spec.search.stop.model_dump(exclude_none=True),
        "search_seconds": search_seconds(spec),
        **_trainings(spec, data),
    }


def _trainings(spec: RunSpec, data: PreparedData | None) -> dict[str, Any]:
    from lossforge.cli.compare_plan import lines_of
    from lossforge.evidence.estimate import training_seconds
    from lossforge.evidence.plan import plan, plan_further
    from lossforge.search import existing_device

    if spec.training is None or spec.evidence is None or data is None:
        return {"trainings": 0, "training_seconds": None}
    if spec.evidence.is_plain:
        trainings = spec.evidence.seeds * len(_losses(spec))
        return {"trainings": trainings, "training_seconds": training_seconds(spec, data)}
    baselines, device = len(spec.evidence.baselines), existing_device(spec.device)
    planned = plan(spec.evidence, spec.training, baselines, [spec.name], spec.seed, device)
    further = plan_further(spec.evidence, planned[0], 1)
    parts = [*planned, *further]
    return {
        "trainings": sum(each.num_trainings for each in parts),
        "training_seconds": sum(each.seconds for each in parts),
        "training_parts": lines_of(planned, further, {}),
    }


def _search(spec: RunSpec, search: Planned) -> dict[str, int]:
    return {
        "generations": search.generations,
        "num_solutions": search.num_solutions,
        "batch_size": spec.search.batch_size,
        "evaluations": search.evaluations,
        "num_parameters": spec.search.parameterization.num_parameters,
    }


def _losses(spec: RunSpec) -> list[str]:
    assert spec.evidence is not None
    return [spec.name, *(baseline.label for baseline in spec.evidence.baselines)]


def _search_lines(spec: RunSpec, plan: dict[str, Any]) -> list[str]:
    searches, num_searches = plan["searches"], plan["num_searches"]
    lines = []
    for number, search in zip((1, num_searches), searches, strict=False):
        name = "search" if num_searches == 1 else f"search {number} of {num_searches}"
        lines.append(
            f"{name}: {search['generations']:,} generations of {search['num_solutions']:,} candidates on "
            f"{search['batch_size']:,} pairs: {search['evaluations']:,} evaluations of {search['num_parameters']} "
            "parameters"
        )
    if num_searches > 1:
        lines.append(f"all {num_searches} searches: {plan['evaluations']:,} evaluations")
    lines.append(f"evaluated by the back end {plan['backend']!r} on {plan['device']}")
    lines.append(f"time: about {duration(plan['search_seconds'])}, by evaluations timed here")
    if plan["stop"]:
        lines.append(f"stopped by: {', '.join(f'{limit} {value}' for limit, value in plan['stop'].items())}")
    return lines


def _training_lines(spec: RunSpec, plan: dict[str, Any]) -> list[str]:
    if spec.training is None or spec.evidence is None:
        return ["training: none"]
    setting = f"training: {spec.training.model.type} on {spec.training.dataset.type}, {spec.training.epochs} epochs"
    if "training_parts" in plan:
        return [setting, *plan["training_parts"]]
    return [
        f"{setting}, {spec.evidence.seeds} seeds of {' and '.join(_losses(spec))}: {plan['trainings']} trainings",
        f"time: about {duration(plan['training_seconds'])}, {_TRAINING_NOTE}",
    ]
