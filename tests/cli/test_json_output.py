"""``--json``: what a program gets on stdout is JSON alone, from every command that tells something."""

from __future__ import annotations

import json

import pytest


def test_a_run_and_its_resumption(lossforge, training_spec):
    outcome = lossforge("run", training_spec, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["name"], found["path"]) == ("tiny", "runs/tiny")
    assert found["loss"]["held_out"]["metrics"]["ranking_accuracy"] > 0.5
    assert [loss["name"] for loss in found["comparison"]["losses"]] == ["tiny", "cross_entropy", "gce"]
    assert json.loads(lossforge("resume", "runs/tiny", "--json").out) == found


def test_a_run_without_training(lossforge, search_spec):
    assert json.loads(lossforge("run", search_spec, "--json").out)["comparison"] is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [("export", {"path": "loss.py", "name": "tiny"}), ("report", {"path": "{run}/report.html"})],
)
def test_files_written(lossforge, finished, command, expected):
    outcome = lossforge(command, finished.path, "--json")
    assert json.loads(outcome.out) == {key: value.format(run=finished.path) for key, value in expected.items()}
