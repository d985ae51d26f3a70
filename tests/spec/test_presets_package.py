"""Presets are listed and described from their text alone, and loaded like any spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossforge import presets
from lossforge.errors import SpecError
from lossforge.spec import preset_files, spec_from_text


@pytest.fixture
def folder(tmp_path: Path, spec_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy-b.yaml").write_text(spec_text + "description: >\n  A toy,\n  to test with\n")
    (tmp_path / "toy-a.yaml").write_text("name: a\nsearch: {mutation: of_nobody}\n")
    (tmp_path / "notes.txt").write_text("no preset")
    monkeypatch.setattr(preset_files, "_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_names_are_those_of_the_files() -> None:
    assert presets.names() == ("toy-a", "toy-b")


def test_the_text_is_the_file(folder: Path) -> None:
    assert presets.text("toy-b") == (folder / "toy-b.yaml").read_text()


@pytest.mark.usefixtures("folder")
def test_a_description_needs_no_component() -> None:
    assert presets.description("toy-b") == "A toy, to test with"
    assert presets.description("toy-a") == ""


@pytest.mark.usefixtures("folder")
def test_a_preset_is_loaded_with_overrides() -> None:
    assert presets.load("toy-b") == spec_from_text(presets.text("toy-b"))
    assert presets.load("toy-b", ["seed=5"]).seed == 5
    with pytest.raises(SpecError, match=r"preset toy-a:1:1: |preset toy-a:2:1: search: 'parameterization' is missing"):
        presets.load("toy-a")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("call", [presets.text, presets.description, presets.load])
def test_an_unknown_preset_is_told_with_the_nearest_and_all(call: object) -> None:
    with pytest.raises(
        SpecError, match=r"^unknown preset 'toy-c' \(did you mean 'toy-[ab]'\?\); presets: toy-a, toy-b$"
    ):
        call("toy-c")  # type: ignore[operator]
    with pytest.raises(SpecError, match=r"^unknown preset '\.\./x'; presets: toy-a, toy-b$"):
        call("../x")  # type: ignore[operator]


def test_the_presets_that_come_along_have_descriptions() -> None:
    for name in presets.names():
        assert presets.description(name)
