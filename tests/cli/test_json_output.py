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


def test_what_is_wrong_with_a_spec(lossforge, search_spec):
    told = json.loads(lossforge("validate", search_spec, "--json").out)
    assert (told["valid"], told["problems"], told["name"]) == (True, [], "tiny")
    outcome = lossforge("validate", search_spec, "--json", "--set", "search.generatons=3", "--set", "seed=x")
    told = json.loads(outcome.out)
    assert (outcome.code, outcome.err, told["valid"]) == (2, "", False)
    assert [problem.partition(": ")[0] for problem in told["problems"]] == ["--set search.generatons=3", "--set seed=x"]
    outcome = lossforge("validate", "nothing", "--json")
    assert (outcome.code, len(json.loads(outcome.out)["problems"])) == (2, 1)
