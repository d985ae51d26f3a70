"""A measured figure that a page repeats stands where it was measured, too, and the page leads there."""

from __future__ import annotations

import re

import pytest
from page_session import ROOT

DOCS = ROOT / "docs"
MEASURED = [DOCS / "science.md", *sorted((DOCS / "results").glob("*.md"))]
REPEATED = [
    "index.md",
    "concepts/ranking.md",
    *(f"howto/{path.name}" for path in sorted((DOCS / "howto").glob("*.md"))),
]
FIGURE = re.compile(r"[-+]?\d+\.\d+%|[-+]\d+\.\d+ \[[^\]]+\]")
"""A percentage, or a difference with its interval."""


def rounded(figure: str) -> str:
    """Return the figure with one digit after each point, as pages repeat it."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.1f}", figure)


KNOWN = {rounded(figure) for path in MEASURED for figure in FIGURE.findall(path.read_text("utf-8"))}


@pytest.mark.parametrize("name", REPEATED)
def test_figures_are_those_that_were_measured(name):
    text = (DOCS / name).read_text("utf-8")
    figures = set(FIGURE.findall(text))
    assert {figure for figure in figures if rounded(figure) not in KNOWN} == set()
    assert not figures or re.search(r"\]\((\.\./)?(science|results/[\w-]+)\.md", text)


def test_there_are_figures_to_look_at():
    assert sum(len(FIGURE.findall((DOCS / name).read_text("utf-8"))) for name in REPEATED) > 15
    assert "57.9%" not in KNOWN
