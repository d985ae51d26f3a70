"""The README is as short as it says, and leads somewhere; that its blocks run is a test of tests/docs."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def lines_of(word):
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if word in block]
    return [line for line in code.splitlines() if line.strip()]


def test_a_training_in_python_is_five_lines_and_a_search_ten():
    assert len(lines_of("lossforge.train(")) <= 5
    assert len(lines_of("SearchSpec")) == 10


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 20
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
