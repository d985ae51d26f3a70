"""An explanation as files: ``explanation.json`` with every number, tables as CSV, figures as SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lossforge.errors import OutputError
from lossforge.evidence.explanation import Explanation
from lossforge.files import to_json, write_atomically
from lossforge.report.explanation_answers import answers, assumptions
from lossforge.report.explanation_figures import explanation_figures

CONTENT = "explanation.json"
"""By this file a folder is known to hold an explanation, which may be written anew."""


def write_explanation(explanation: Explanation, folder: Path) -> tuple[Path, ...]:
    """Write all files into ``folder``, which is made where there is none, and return their paths.

    Raises:
        OutputError: it holds something else, or cannot be written.
    """
    refuse_occupied(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, content in _files(explanation):
            write_atomically(folder / name, content)
            paths.append(folder / name)
    except OSError as cause:
        raise OutputError(f"{folder}: cannot be written: {cause.strerror}; choose another with --out") from cause
    return tuple(paths)


def refuse_occupied(folder: Path) -> None:
    """Raise OutputError where something else is than an explanation."""
    if folder.exists() and not (folder / CONTENT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is there already, and holds no {CONTENT}; choose another with --out")


def _files(explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield from explanation_figures(explanation)
    for name, rows in _tables(explanation):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        yield f"{name}.csv", buffer.getvalue()
    words = {"answers": dict(answers(explanation)), "assumptions": assumptions(explanation)}
    yield CONTENT, to_json({**explanation.to_json(), **words})


def _tables(explanation: Explanation) -> Iterator[tuple[str, Iterable[Sequence[object]]]]:
    profile, field = explanation.profile, explanation.field
    head = ("p", "loss_rivals_uniform", "loss_rival_dominant", "weight_rivals_uniform", "weight_rival_dominant")
    yield "profile", [head, *zip(profile.p, *profile.loss, *profile.weight, strict=True)]
    if field is not None:
        columns = tuple(f"{what}_{index}" for what in ("p", "gradient", "cross_entropy") for index in range(3))
        points = zip(field.p, field.gradient, field.reference, strict=True)
        yield "field", [columns, *((*p, *own, *reference) for p, own, reference in points)]
    rows = [
        (each.posterior, len(each.q), index, q, p, str(each.end), each.distance)
        for each in explanation.consistency.minimisers
        for index, (q, p) in enumerate(zip(each.q, each.p, strict=True))
    ]
    yield "minimisers", [("posterior", "num_classes", "class", "q", "p", "end", "distance"), *rows]
    yield (
        "neighbours",
        [
            ("loss", "distance", "value_distance", "scale"),
            *((each.label, each.distance, each.value_distance, each.scale) for each in explanation.neighbours),
        ],
    )
