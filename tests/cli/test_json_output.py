"""``--json``: what a program gets on stdout is JSON alone, from every command that tells something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lossforge.cli import main


def test_a_run_and_its_resumption(lossforge, training_spec):
    outcome = lossforge("run", training_spec, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["name"], found["path"]) == ("tiny", "runs/tiny")
    assert found["loss"]["held_out"]["metrics"]["ranking_accuracy"] > 0.5
    assert [loss["name"] for loss in found["comparison"]["losses"]] == ["tiny", "cross_entropy", "gce"]
    assert found["evidence"] is None
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


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


def test_every_command_has_the_option():
    lacking = {name for name, command in commands(main) if not any("--json" in each.opts for each in command.params)}
    assert lacking == set(), "without exception"


def test_presets_schemas_and_new_plugins(lossforge):
    def told(*arguments):
        return json.loads(lossforge(*arguments, "--json").out)

    assert told("presets", "show", "edl")["text"] == lossforge("presets", "show", "edl").out
    assert told("presets", "copy", "edl", "my.yaml") == {"path": "my.yaml", "preset": "edl"}
    assert told("schema", "--out", "x.json")["num_components"] > 20
    assert told("schema") == json.loads(Path("x.json").read_bytes())
    new = told("plugins", "new", "toy", "--kind", "mutations")
    assert (new["path"], new["type"], "lossforge-toy/pyproject.toml" in new["files"]) == ("lossforge-toy", "toy", True)


def test_runs_that_are_gone_on_with(lossforge, finished):
    outcome = lossforge("runs", "resume", "--root", finished.path.parent, "--json")
    assert json.loads(outcome.out) == {
        "resumed": [],
        "skipped": [{"path": str(finished.path), "why": "it is finished"}],
    }
