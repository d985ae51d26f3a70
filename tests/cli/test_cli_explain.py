"""``explain``: what a loss is like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_a_published_loss_with_options(lossforge):
    outcome = lossforge("explain", "{type: gce, q: 0.5}", "--classes", "3", "--out", "told")
    assert (outcome.code, outcome.err) == (0, "")
    assert "gce(q=0.5)" in outcome.out
    assert "w(p) = p^(1/2); of p alone" in outcome.out
    assert "p* = q^2, normalised" in outcome.out.replace("\n", " ").replace("  ", " ")
    assert "told: explanation.json" in outcome.out
    assert {path.suffix for path in Path("told").iterdir()} == {".json", ".csv", ".svg"}


def test_a_found_loss_as_json(lossforge, finished):
    outcome = lossforge("explain", finished.path, "--classes", "3", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert (told["name"], told["num_classes"]) == ("tiny", 3)
    assert len(told["profile"]["p"]) == len(told["profile"]["weight"][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gec",), "did you mean 'gce'"),
        (("{type: gce, q: 2}",), "q: "),
        (("no/where",), "no such path, and no loss is called so"),
        (("gce", "--classes", "1"), "--classes"),
        (("{type: gce",), "error: "),
    ],
)
def test_what_is_no_loss(lossforge, arguments, message):
    outcome = lossforge("explain", *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_folder_that_holds_something_else_is_left_alone(lossforge, folder):
    (folder / "mine").write_text("mine")
    outcome = lossforge("explain", "mae", "--classes", "2", "--out", folder)
    assert outcome.code == 2
    assert "holds no explanation.json" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["mine"]
