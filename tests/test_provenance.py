"""What a stored run says of plugins that are gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lossforge import registry
from lossforge.artifact import load_artifact
from lossforge.errors import ArtifactError, SpecError
from lossforge.provenance import lost, naming_lost_plugins, naming_lost_plugins_of, providers

LAPLACE = {"distribution": "toy-plugin", "version": "2.5", "components": {"mutations": ["laplace", "gaussian"]}}


@pytest.fixture
def manifest(tmp_path):
    def write(*plugins):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps({"lossforge": "0.1.0", "plugins": plugins}))
        return path

    return write


def test_a_component_that_is_used_and_gone_is_named_with_its_plugin(manifest):
    (line,) = lost(manifest(LAPLACE), "search:\n  mutation: {type: laplace}\n  # gaussian is there still\n")
    assert line == (
        "mutations 'laplace' came from toy-plugin 2.5 when the run began; get it back with: pip install toy-plugin==2.5"
    )


@pytest.mark.parametrize("text", ["mutation: gaussian", "mutation: laplace_steps", ""])
def test_what_is_not_used_or_is_there_still_is_not(manifest, text):
    assert lost(manifest(LAPLACE), text) == []


def test_a_manifest_that_does_not_say_who_had_what_names_all_that_are_gone(manifest):
    lines = lost(manifest({"distribution": "toy-plugin", "version": "2.5"}), "mutation: laplace")
    assert lines == [
        "when the run began there was toy-plugin 2.5, which may have had it; get it back with: "
        "pip install toy-plugin==2.5"
    ]


def test_one_that_is_only_left_out_is_not_gone(manifest, monkeypatch):
    monkeypatch.setattr(registry, "hidden", lambda: ("toy-plugin",))
    assert lost(manifest(LAPLACE), "mutation: laplace") == []


def test_a_kind_that_this_version_does_not_know_is_gone_as_well(manifest):
    entry = {**LAPLACE, "components": {"trees": ["laplace"]}}
    assert lost(manifest(entry), "tree: laplace")[0].startswith("trees 'laplace' came from toy-plugin 2.5")


@pytest.mark.parametrize("content", ["{", "[]", '{"plugins": 3}', "[" * 100_000, f"{json.dumps({})}{' ' * 1_000_000}"])
def test_a_manifest_that_cannot_be_read_hides_no_error(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    assert lost(tmp_path / "manifest.json", "laplace") == []
    assert lost(tmp_path / "none.json", "laplace") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"distribution": "-r evil"},
        {"distribution": "https://evil.example/x"},
        {"version": "2.5 --index-url=x"},
        {"version": "2.5", "components": {"mutations\nerror": ["laplace"]}},
    ],
)
def test_no_command_is_told_that_pip_would_not_take_for_a_name_and_a_version(manifest, changes):
    assert lost(manifest({**LAPLACE, **changes}), "laplace") == []
    assert len(lost(manifest({**LAPLACE, **changes}, LAPLACE), "laplace")) == 1


def test_neither_a_pipe_nor_a_link_is_read(manifest, tmp_path):
    (tmp_path / "link.json").symlink_to(manifest(LAPLACE))
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("link.json", "pipe.json", "."):
        assert lost(tmp_path / name, "laplace") == []


def test_an_artifact_has_no_manifest_read_beside_it_but_a_run_directory_has(manifest, tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    content = {"format_version": 1, "name": "x", "parameterization": {"type": "laplace"}, "scale": 1.0}
    (folder / "loss.json").write_text(json.dumps(content))
    manifest({**LAPLACE, "components": {"parameterizations": ["laplace"]}})
    for given, is_told in ((folder, False), (tmp_path, False), (tmp_path, True)):
        if is_told:
            (tmp_path / "spec.yaml").write_text("")
        with pytest.raises(ArtifactError) as caught:
            load_artifact(given)
        assert ("pip install toy-plugin==2.5" in str(caught.value)) is is_told


def test_an_error_in_a_stored_spec_keeps_its_lines_and_gets_more(manifest, tmp_path):
    (tmp_path / "spec.yaml").write_text("mutation: laplace")
    with pytest.raises(SpecError) as caught, naming_lost_plugins(tmp_path / "spec.yaml", manifest(LAPLACE)):
        raise SpecError(["unknown type 'laplace'"])
    assert caught.value.problems[0] == "unknown type 'laplace'"
    assert "came from toy-plugin 2.5" in caught.value.problems[1]
    with pytest.raises(SpecError) as plain, naming_lost_plugins(tmp_path / "spec.yaml", manifest()):
        raise SpecError(["wrong"])
    assert plain.value.problems == ("wrong",)


@pytest.mark.parametrize(("name", "is_told"), [("spec.yaml", True), ("training.yaml", True), ("mine.yaml", False)])
def test_only_a_stored_spec_has_the_manifest_beside_it(manifest, tmp_path, name, is_told):
    (tmp_path / name).write_text("mutation: laplace")
    for there, expected in ((False, 1), (True, 1 + is_told)):
        if there:
            manifest(LAPLACE)
        with pytest.raises(SpecError) as caught, naming_lost_plugins_of(tmp_path / name):
            raise SpecError(["unknown type 'laplace'"])
        assert len(caught.value.problems) == expected


def test_nothing_but_lossforge_provides_nothing():
    assert providers() == []


def test_a_path_that_cannot_be_asked_about_keeps_its_error(manifest, tmp_path, monkeypatch):
    with naming_lost_plugins_of(tmp_path / ("a" * 300) / "spec.yaml"):
        pass
    manifest(LAPLACE)
    (tmp_path / "spec.yaml").write_text("mutation: laplace")

    def denied(*_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(SpecError, match="cannot be read"), naming_lost_plugins_of(tmp_path / "spec.yaml"):
        raise SpecError(["cannot be read"])
