"""The section of a report on what found losses are like."""

from __future__ import annotations

import base64
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from lossforge.report.explanation_files import CONTENT
from lossforge.report.reading import checked
from lossforge.report.sections import Section
from lossforge.run_content import Content

EXPLANATIONS = "explanations"
"""Folder of a run or comparison, with the explanation of each found loss."""

QUESTIONS = (
    "weight",
    "loss",
    "signs",
    "calibrated",
    "order of classes",
    "most likely class",
    "minimiser",
    "nearest built-in loss",
    "steepest",
    "curvature",
)
"""Order of the answers, which a file does not keep."""

FIGURES = {"field.svg": "Pull on the logits, by the prediction", "minimisers.svg": "Minimisers for soft posteriors"}


class ExplanationContent(Content):
    """What is shown of ``explanation.json``."""

    answers: dict[str, str]
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explained:
    """A found loss: the answers, and pictures as data of the page, with what they show."""

    name: str
    answers: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str], ...]
    assumptions: str


def explanation_section(directory: Path, names: Container[str]) -> Section | None:
    """Return the section on what the losses named are like; None where a folder holds no explanation of them.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    paths = [path for path in sorted((directory / EXPLANATIONS).glob(f"*/{CONTENT}")) if path.parent.name in names]
    if not paths:
        return None
    return Section("explained", "What the found loss is like", "explanation.html", tuple(map(_explained, paths)))


def _explained(path: Path) -> Explained:
    content = checked(ExplanationContent, path)
    figures = [(title, path.parent / name) for name, title in FIGURES.items()]
    return Explained(
        name=path.parent.name,
        answers=tuple((name, content.answers[name]) for name in QUESTIONS if name in content.answers),
        figures=tuple((title, _as_data(figure)) for title, figure in figures if figure.is_file()),
        assumptions=" ".join(content.assumptions),
    )


def _as_data(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
