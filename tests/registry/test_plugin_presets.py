"""Presets of plugins: found by their entry points and read without an import."""

from __future__ import annotations

from typing import Any

import pytest

from lossforge import presets, registry
from lossforge.errors import PluginConflictError, PluginLoadError, SpecError
from lossforge.spec import RunSpec

PRESET = """
extends: edl
name: toy
description: Toy preset
search: {generations: 3}
"""


def offer(install: Any, name: str, preset: str = "toy", text: str | None = PRESET) -> None:
    package = name.replace("-", "_")
    install(name, f"[lossforge.presets]\n{preset} = {package}\n")
    (install.folder / f"{package}.py").unlink()
    folder = install.folder / package / "presets"
    folder.mkdir(parents=True)
    (install.folder / package / "__init__.py").write_text("raise RuntimeError('it is imported')")
    if text is not None:
        (folder / f"{preset}.yaml").write_text(text)


def test_it_is_listed_loaded_and_extended(install: Any, tmp_path: Any) -> None:
    offer(install, "toy-presets")
    assert "toy" in presets.names()
    assert (presets.description("toy"), presets.origin("toy")) == ("Toy preset", "toy-presets 1.0")
    assert presets.load("toy").search.generations == 3
    (tmp_path / "mine.yaml").write_text("extends: toy\nseed: 4\n")
    spec = RunSpec.from_yaml(tmp_path / "mine.yaml")
    assert (spec.seed, spec.search.generations) == (4, 3)


def test_lossforges_own_names_stay_its_own(install: Any) -> None:
    offer(install, "toy-presets", "edl")
    assert presets.load("edl").search.generations == 150
    assert presets.origin("edl") is None


def test_two_plugins_with_one_name(install: Any) -> None:
    offer(install, "toy-first")
    offer(install, "toy-second")
    with pytest.raises(PluginConflictError, match=r"preset .toy. is claimed by toy-first 1\.0 .* and by toy-second"):
        presets.text("toy")
    assert presets.load("edl").name == "edl"


@pytest.mark.parametrize("target", ["toy_presets", "gone_package", "toy_presets.inner"])
def test_a_file_that_is_not_there(install: Any, target: str) -> None:
    offer(install, "toy-presets", text=None)
    points = install.folder / "toy_presets-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[lossforge.presets]\ntoy = {target}\n")
    registry.refresh()
    with pytest.raises(
        PluginLoadError, match=rf"plugin toy-presets 1\.0 .*: no package '{target}' with presets/toy.yaml"
    ):
        presets.text("toy")


def test_hidden_plugins_offer_none(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(install, "toy-presets")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    assert "toy" not in presets.names()
    assert "toy-presets" in registry.hidden()
    with pytest.raises(
        SpecError, match=r"unknown preset 'toy' \(that of toy-presets is left out by LOSSFORGE_PLUGINS\)"
    ):
        presets.text("toy")


def test_a_file_that_is_no_text_is_its_plugins_fault(install: Any) -> None:
    offer(install, "toy-presets")
    file = install.folder / "toy_presets" / "presets" / "toy.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        PluginLoadError, match=r"plugin toy-presets 1\.0 .*toy\.yaml cannot be read: .*utf-8.*; update or"
    ):
        presets.description("toy")


@pytest.mark.parametrize("name", ["../out", "a/b", "toy.yaml", "toy.yml", ".toy"])
def test_a_name_that_is_none_is_ignored(install: Any, name: str) -> None:
    install("toy-presets", f"[lossforge.presets]\n{name} = toy_presets\n")
    assert [each.type for each in registry.preset_offers()] == [name]
    assert presets.names() == tuple(each for each in presets.names() if presets.origin(each) is None)
