"""Plugins that misbehave are felt by those commands alone that need them."""

from __future__ import annotations

import json
import shutil

import pytest

import lossforge

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
    "toy_interrupt": "KeyboardInterrupt; mend or uninstall toy-bad",
    "toy_generator": "GeneratorExit; mend or uninstall toy-bad",
    "toy_old": "was written for plugin API 0, this lossforge has 1; pip install --upgrade toy-bad",
    "toy_base": "is registered as mutations but its base class belongs to losses; update or uninstall toy-bad",
    "toy_mutable": "has the mutable list [0.1, 0.2] as default of field 'lengths'; make it a tuple",
    "toy_contested": "is claimed by toy-first 2.5 (toy_contested_module:Toy) and by toy-second 2.5",
}
"""What is said to those who need one of them."""


SOUND = ("tiny.yaml", "--set", "search.parameterization=power", "--set")

OTHERS = (
    ("validate", *SOUND, "search.mutation=cauchy"),
    ("show", "edl"),
    ("presets", "list"),
    ("plugins", "describe", "cauchy"),
    ("run", *SOUND, "search.mutation=cauchy", "--out", "run"),
    ("report", "run"),
    ("runs", "list", "--root", "."),
    ("export", "run"),
)
"""Commands that need none of them."""

SHADOWED = (
    ("validate", *SOUND, "search.mutation=gaussian"),
    ("validate", *SOUND, "search.mutation=gaussian"),
    ("plugins", "describe", "gaussian", "--json"),
    ("run", *SOUND, "search.mutation=gaussian", "--out", "shadowed"),
    ("validate", *SOUND, "search.mutation=toy_loud"),
)

NEEDED = tuple(
    command
    for name in BROKEN
    for command in (("validate", *SOUND, f"search.mutation={name}"), ("plugins", "describe", name))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile")
    (path / "tiny.yaml").write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def outcomes(hostile, folder):
    """What all commands came to, in their order."""
    return hostile.using(*SURVIVED).commands(*OTHERS, *NEEDED, *SHADOWED, cwd=folder)


def test_the_list_tells_how_each_stands_and_is_json_whatever_they_print(hostile):
    outcome = hostile.using(*SURVIVED).lossforge("plugins", "list", "--kind", "mutations", "--json")
    assert outcome.code == 0
    rows = {(row["type"], row["distribution"]): row for row in json.loads(outcome.out)}
    failed = {*BROKEN} - {"toy_old", "toy_contested"}
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


def test_what_kills_a_process_is_listed_and_left_out_of_the_schema(hostile, folder):
    listed, schema = hostile.using("toy-crash").commands(
        ("plugins", "list", "--kind", "mutations", "--json"), ("schema",), cwd=folder
    )
    causes = {
        "toy_crashes": "its import kills the process (SIGSEGV)",
        "toy_quits": "its import ends the process with exit code 9",
    }
    expected = {
        name: f"plugin toy-crash 2.5 ({name}_module:Toy) failed to load as mutations '{name}': {cause}; mend or "
        "uninstall toy-crash"
        for name, cause in causes.items()
    }
    rows = [row for row in json.loads(listed.out) if row["distribution"] == "toy-crash"]
    assert {row["type"]: row["summary"] for row in rows if row["status"] == "failed"} == expected
    assert [row["type"] for row in rows if row["status"] == "ok"] == ["toy_survives"]
    assert (listed.code, listed.err, schema.code) == (0, "", 0)
    assert schema.err.splitlines() == [f"warning: left out: {each}" for each in expected.values()]
    assert "toy_survives" in json.loads(schema.out)["$defs"]["mutations"]["anyOf"][0]["enum"]


def test_only_commands_that_need_a_bad_plugin_fail(outcomes):
    others, needed = outcomes[: len(OTHERS)], outcomes[len(OTHERS) : -len(SHADOWED)]
    assert [(outcome.code, "toy" in outcome.out + outcome.err) for outcome in others] == [(0, False)] * len(OTHERS)
    for command, outcome in zip(NEEDED, needed, strict=True):
        assert (outcome.code, outcome.out) == (3, ""), command
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ")
        assert BROKEN[command[-1].removeprefix("search.mutation=")] in line


def test_what_is_loud_or_has_a_name_of_lossforges_own_changes_no_result(outcomes, folder):
    one, two, described, run, loud = outcomes[-len(SHADOWED) :]
    assert one.err == (
        "mutations 'gaussian' is lossforge's own; that of plugin toy-shadow 2.5 (gaussian_module:Toy) is not used\n"
    )
    assert (one.code, two.code, two.err, run.code) == (0, 0, "", 0)
    assert json.loads(described.out)[0]["distribution"] == "lossforge"
    assert (loud.code, loud.out.count("\n")) == (0, 1)
    assert loud.out.startswith("tiny.yaml: valid")
    assert "{hello}" in loud.err
    alone = ("search.parameterization=power", "search.mutation=gaussian")
    lossforge.run(lossforge.RunSpec.from_yaml(folder / "tiny.yaml", alone), folder / "alone")
    assert (folder / "alone/history.jsonl").read_bytes() == (folder / "shadowed/history.jsonl").read_bytes()
    assert json.loads((folder / "shadowed/manifest.json").read_text())["plugins"]


def test_a_plugin_that_changes_the_process_moves_no_result(hostile, folder):
    one = hostile.using("toy-meddler")
    schema, listed, run = one.commands(
        ("schema", "--out", "schema.json"),
        ("plugins", "list", "--kind", "mutations"),
        ("run", *SOUND, "search.mutation=toy_meddles", "--out", "meddled"),
        cwd=folder,
    )
    told = (
        "plugin toy-meddler 2.5 (toy_meddles_module:Toy) changes sys.stderr and torch's default dtype and the current "
        "folder while it is imported; that was undone\n"
    )
    assert (schema.code, schema.err, listed.code, listed.err, run.code) == (0, told, 0, "", 0)
    assert "toy_meddles" in (folder / "schema.json").read_text()
    assert [line for line in listed.out.splitlines()[1:] if " ok " not in line] == []
    assert (folder / "meddled/manifest.json").is_file()


def test_a_run_whose_plugin_is_gone_names_it_and_how_to_get_it_back(hostile, good, tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPEC)
    site = tmp_path / "site"
    shutil.copytree(good, site)
    environment = type(hostile)(hostile.folder, (site,), "toy-good")
    assert environment.lossforge("run", "tiny.yaml", "--out", "runs/tiny", cwd=tmp_path).code == 0
    shutil.rmtree(site)
    spec = "runs/tiny/spec.yaml"
    report, runs, resume, export, validate, show = environment.commands(
        ("report", "runs/tiny"),
        ("runs", "list"),
        ("resume", "runs/tiny"),
        ("export", "runs/tiny"),
        ("validate", spec),
        ("show", spec),
        cwd=tmp_path,
    )
    assert (report.code, runs.code) == (0, 0)
    assert "tiny" in runs.out
    assert "finished" in runs.out
    assert (resume.code, export.code, validate.code, show.code) == (2, 2, 2, 2)
    for outcome, kind, name in (
        (resume, "mutations", "toy_good"),
        (resume, "parameterizations", "toy_family"),
        (export, "parameterizations", "toy_family"),
        (validate, "mutations", "toy_good"),
        (show, "parameterizations", "toy_family"),
    ):
        assert f"unknown type '{name}'" in outcome.err
        assert f"error: {kind} '{name}' came from toy-good 2.5 when the run began; get it back with: " in outcome.err
        assert "pip install toy-good==2.5" in outcome.err
    assert "toy_good" not in export.err
    assert "loss.py has the same loss, and needs torch alone" in export.err
