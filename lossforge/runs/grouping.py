"""Which runs compare: those of one setting."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossforge.runs.summary import RunSummary
from lossforge.spec import leaves


@dataclass(frozen=True)
class Group:
    """Runs that compare, best first, and by dotted key the setting that sets them apart from the other groups."""

    setting: Mapping[str, Any]
    runs: tuple[RunSummary, ...]


def grouped(runs: Sequence[RunSummary], metric: str, *, maximise: bool) -> list[Group]:
    """Return the runs that have a value of a metric, a group for each setting; the largest group comes first."""
    by_setting: dict[str, list[RunSummary]] = {}
    for run in runs:
        if metric in run.figures:
            by_setting.setdefault(json.dumps(run.setting(metric), sort_keys=True), []).append(run)
    groups = sorted(by_setting.values(), key=len, reverse=True)
    contrasts = _contrasts([group[0].setting(metric) for group in groups])
    return [
        Group(contrast, tuple(sorted(group, key=lambda run: run.figures[metric], reverse=maximise)))
        for group, contrast in zip(groups, contrasts, strict=True)
    ]


def _contrasts(settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return of each setting the values that tell it from the others."""
    options = [dict(leaves(dict(setting))) for setting in settings]
    keys = dict.fromkeys(itertools.chain.from_iterable(options))
    # Components of different types have different options: an option that some lack tells little, the type all.
    told = [key for key in keys if len({repr(each[key]) for each in options if key in each}) > 1]
    contrasts = [{key: each[key] for key in told if key in each} for each in options]
    if len(set(map(repr, contrasts))) == len(contrasts):
        return list(contrasts)
    told = [key for key in keys if len({repr(each.get(key)) for each in options}) > 1]
    return [{key: each.get(key) for key in told} for each in options]
