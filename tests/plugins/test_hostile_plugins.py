"""Plugins that misbehave are felt by those commands alone that need them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SPEC = """\
name: tiny
search:
  parameterization: toy_family
  sampler: mixture
  objective: gradient_shape
  strategy: {type: mu_plus_lambda, population_size: 8, num_parents: 2}
  mutation: toy_good
  generations: 2
  batch_size: 32
  selection_batch_size: 64
  gates: {weight_band: null, signs: null}
"""

SURVIVED = ("toy-missing", "toy-bad", "toy-first", "toy-second", "toy-shadow")
"""Those whose import a process survives."""

BROKEN = {
    "toy_missing": "ModuleNotFoundError: No module named 'a_package_nobody_has'; mend or uninstall toy-missing",
    "toy_import": "ImportError: libfoo is not there; mend or uninstall toy-bad",
    "toy_assert": "AssertionError: wrong torch; mend or uninstall toy-bad",
    "toy_exit": "SystemExit: no licence; mend or uninstall toy-bad",
    "toy_old": "was written for plugin API 0, this lossforge has 1; pip install --upgrade toy-bad",
    "toy_base": "is registered as mutations but its base class belongs to losses; update or uninstall toy-bad",
    "toy_mutable": "has the mutable list [0.1, 0.2] as default of field 'lengths'; make it a tuple",
    "toy_contested": "is claimed by toy-first 2.5 (toy_contested_module:Toy) and by toy-second 2.5",
}
"""What is said to those who need one of them."""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return path


def test_the_list_tells_how_each_stands_and_is_json_whatever_they_print(hostile):
    outcome = hostile.using(*SURVIVED).lossforge("plugins", "list", "--kind", "mutations", "--json")
    assert outcome.code == 0
    rows = {(row["type"], row["distribution"]): row for row in json.loads(outcome.out)}
    failed = {"toy_missing", "toy_import", "toy_assert", "toy_exit", "toy_base", "toy_mutable"}
    expected = dict.fromkeys(failed, "failed") | {"toy_old": "old api", "toy_loud": "ok", "toy_slow": "ok"}
    for name, status in expected.items():
        row = rows[name, "toy-missing" if name == "toy_missing" else "toy-bad"]
        assert (row["status"], row["version"]) == (status, "2.5")
        assert BROKEN.get(name, "Steps of no use.") in row["summary"]
    assert {rows["toy_contested", name]["status"] for name in ("toy-first", "toy-second")} == {"conflict"}
    assert (rows["gaussian", "toy-shadow"]["status"], rows["gaussian", "lossforge"]["status"]) == ("shadowed", "ok")
    lines = outcome.err.splitlines()
    assert [line for line in lines if line in ("{hello}", "world")] == ["{hello}", "world"]
    assert len([line for line in lines if "toy_loud_module:Toy) prints while it is imported" in line]) == 1
    assert "importing toy-bad (toy_slow_module:Toy) takes long ..." in lines
    assert len(lines) == 4


def test_only_commands_that_need_a_bad_plugin_fail(hostile, spec, tmp_path):
    sound = ("--set", "search.parameterization=power")
    outcomes = hostile.using(*SURVIVED).commands(
        ("validate", str(spec), *sound, "--set", "search.mutation=cauchy"),
        ("show", "edl"),
        ("presets", "list"),
        ("plugins", "describe", "cauchy"),
        ("run", str(spec), *sound, "--set", "search.mutation=cauchy", "--out", "run"),
        ("report", "run"),
        ("runs", "list", "--root", "."),
        ("export", "run"),
        *(("validate", str(spec), *sound, "--set", f"search.mutation={name}") for name in BROKEN),
        *(("plugins", "describe", name) for name in BROKEN),
        cwd=tmp_path,
    )
    others, broken = outcomes[: -2 * len(BROKEN)], outcomes[-2 * len(BROKEN) :]
    assert [(outcome.code, "toy" in outcome.out + outcome.err) for outcome in others] == [(0, False)] * len(others)
    for (name, text), outcome in zip([*BROKEN.items()] * 2, broken, strict=True):
        assert (outcome.code, outcome.out) == (3, ""), name
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ")
        assert text in line


def test_what_is_loud_or_has_a_name_of_lossforges_own_changes_no_result(hostile, spec, tmp_path):
    sound = (str(spec), "--set", "search.parameterization=power", "--set")
    one, two, described, resolved, loud = hostile.using(*SURVIVED).commands(
        ("validate", *sound, "search.mutation=gaussian"),
        ("validate", *sound, "search.mutation=gaussian"),
        ("plugins", "describe", "gaussian", "--json"),
        ("run", *sound, "search.mutation=gaussian", "--out", "shadowed"),
        ("validate", *sound, "search.mutation=toy_loud"),
        cwd=tmp_path,
    )
    assert one.err == (
        "mutations 'gaussian' is lossforge's own; that of plugin toy-shadow 2.5 (gaussian_module:Toy) is not used\n"
    )
    assert (one.code, two.code, two.err) == (0, 0, "")
    assert json.loads(described.out)[0]["distribution"] == "lossforge"
    assert (loud.code, loud.out.count("\n")) == (0, 1)
    assert loud.out.startswith(str(spec))
    assert "{hello}" in loud.err
    alone = hostile.using().lossforge("run", *sound, "search.mutation=gaussian", "--out", "alone", cwd=tmp_path)
    assert (resolved.code, alone.code) == (0, 0)
    assert (tmp_path / "alone/history.jsonl").read_bytes() == (tmp_path / "shadowed/history.jsonl").read_bytes()
    assert json.loads((tmp_path / "shadowed/manifest.json").read_text())["plugins"]


def test_a_run_whose_plugin_is_gone_names_it_and_how_to_get_it_back(hostile, good, spec, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(good, site)
    environment = type(hostile)(hostile.folder, (site,), "toy-good")
    assert environment.lossforge("run", spec, "--out", "runs/tiny", cwd=tmp_path).code == 0
    shutil.rmtree(site)
    report, runs, resume, export = environment.commands(
        ("report", "runs/tiny"), ("runs", "list"), ("resume", "runs/tiny"), ("export", "runs/tiny"), cwd=tmp_path
    )
    assert (report.code, runs.code) == (0, 0)
    assert "tiny" in runs.out
    assert "finished" in runs.out
    assert (resume.code, export.code) == (2, 2)
    for outcome, kind, name in (
        (resume, "mutations", "toy_good"),
        (resume, "parameterizations", "toy_family"),
        (export, "parameterizations", "toy_family"),
    ):
        assert f"unknown type '{name}'" in outcome.err
        assert f"error: {kind} '{name}' came from toy-good 2.5 when the run began; get it back with: " in outcome.err
        assert "pip install toy-good==2.5" in outcome.err
    assert "toy_good" not in export.err
    assert "loss.py has the same loss, and needs torch alone" in export.err
