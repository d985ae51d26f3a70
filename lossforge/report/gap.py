"""A gap as files: ``gap.json`` with every number, tables as CSV, figures as SVG, and a spec with proposed weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossforge.evidence.gap import Gap
from lossforge.files import to_json, write_atomically
from lossforge.report import gap_figures, gap_tables
from lossforge.spec import RunSpec
from lossforge.spec.dump import mapping_to_yaml

GAP, FITTED = "gap.json", "fitted.yaml"
OF_FIT = ("weights.csv", "fit.svg", FITTED)
"""Files that there are where weights are proposed."""


def write_gap(gap: Gap, spec: RunSpec, out: Path, source: str | None = None) -> None:
    """Write all files into ``out``.

    Args:
        gap: what is written.
        spec: has the sampler.
        out: an existing folder.
        source: preset or spec file that ``fitted.yaml`` is to extend; None: it stands alone.
    """
    texts = {
        "gap.csv": gap_tables.figures_csv(gap),
        "regimes.csv": gap_tables.regimes_csv(gap),
        "histograms.csv": gap_tables.histograms_csv(gap),
        "gap.svg": gap_figures.distributions(gap),
        "regimes.svg": gap_figures.regime_shares(gap),
    }
    if gap.fit is not None:
        texts["weights.csv"] = gap_tables.weights_csv(gap.fit)
        texts["fit.svg"] = gap_figures.fitted_distributions(gap.fit)
        texts[FITTED] = fitted_spec(gap, spec, None if source is None else _from(out, source))
    for name in OF_FIT:
        if name not in texts:
            (out / name).unlink(missing_ok=True)  # of an earlier gap
    for name, text in texts.items():
        write_atomically(out / name, text)
    write_atomically(out / GAP, to_json(gap.to_json()))


def is_gap_folder(path: Path) -> bool:
    """Return whether a gap was written into a folder."""
    return (path / GAP).is_file()


def fitted_spec(gap: Gap, spec: RunSpec, extended: str | None) -> str:
    """Return a spec of the proposed weights as YAML: what they change of another one, or all of it.

    Raises:
        ValueError: no weights are proposed.
    """
    if gap.fit is None:
        raise ValueError("no weights are proposed; ask for them with GapSpec(fit=True)")
    name = f"{spec.name[:93]}-fitted"
    if extended is None:
        search = spec.search.model_copy(update={"sampler": gap.fit.sampler})
        return spec.model_copy(update={"name": name, "search": search}).to_yaml()
    before, after = (each.model_dump(mode="json") for each in (gap.sampler, gap.fit.sampler))
    changes = {"extends": extended, "name": name, "search": {"sampler": _changes(before, after)}}
    return mapping_to_yaml(changes)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a component that are others now; those of components within it, and groups as a whole."""
    changed = {name: value for name, value in after.items() if value != before[name]}
    return {
        name: _changes(before[name], value) if isinstance(value, Mapping) and "type" in value else value
        for name, value in changed.items()
    }


def _from(out: Path, source: str) -> str:
    """Return a preset's name, or where a file is, seen from a folder."""
    if not Path(source).is_file():
        return source
    path = os.path.relpath(source, out)
    return path if path.startswith(".") else f"./{path}"
