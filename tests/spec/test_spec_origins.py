"""``show`` says where each value of a spec comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossforge.spec import preset_files, read_spec, spec_from_text, trace_preset, trace_spec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, spec_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preset_files, "_folder", lambda: tmp_path)
    (tmp_path / "toy.yaml").write_text(spec_text)
    (tmp_path / "my.yaml").write_text(
        "extends: toy\nname: mine\ndescription: |\n  two\n  lines\n"
        "search: {strategy: {num_children: 3}, sampler: &s {<<: {type: toy_sampler}, inner: toy_sampler}}\n"
    )
    return tmp_path


OVERRIDES = ["search.mutation.schedule={end: 3}", "seed=1", "evidence.baselines.1.gamma=5"]


def test_every_value_has_one_origin() -> None:
    traced = trace_spec(Path("my.yaml"), OVERRIDES)
    assert traced.spec == read_spec(Path("my.yaml"), OVERRIDES)
    origins = {".".join(map(str, path)): origin for path, origin in traced.origins.items()}
    told = {name: origin for name, origin in origins.items() if origin != "default"}
    assert told == {
        "name": "my.yaml:2",
        "description": "my.yaml:3",
        "seed": "--set seed=1",
        "search.parameterization.type": "preset toy:3",
        "search.sampler.type": "my.yaml:6",
        "search.sampler.inner.type": "my.yaml:6",
        "search.objective.type": "preset toy:5",
        "search.objective.span.0": "preset toy:5",
        "search.objective.span.1": "preset toy:5",
        "search.strategy.type": "preset toy:6",
        "search.strategy.num_children": "my.yaml:6",
        "search.mutation.type": "preset toy:8",
        "search.mutation.sigma": "preset toy:9",
        "search.mutation.schedule.end": "--set search.mutation.schedule={end: 3}",
        "training.dataset.type": "preset toy:11",
        "training.dataset.folder": "preset toy:11",
        "training.model.type": "preset toy:12",
        "evidence.baselines.0.type": "preset toy:14",
        "evidence.baselines.1.type": "preset toy:14",
        "evidence.baselines.1.gamma": "--set evidence.baselines.1.gamma=5",
    }
    assert origins["search.parameterization.class_count"] == "default"


def test_yaml_with_origins_reads_back_as_the_same_spec() -> None:
    traced = trace_spec(Path("my.yaml"), OVERRIDES)
    text = traced.to_yaml()
    assert spec_from_text(text) == traced.spec
    lines = text.splitlines()
    assert lines[0] == "# yaml-language-server: $schema=lossforge.schema.json"
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "name: mine # my.yaml:2", "description: | # my.yaml:3", "two", "lines"
    ]  # fmt: skip
    assert len({line.rindex("  # ") for line in lines[1:] if "  # " in line}) == 1


def test_a_preset_by_itself() -> None:
    assert trace_preset("toy").origins["name",] == "preset toy:1"


def test_no_override_ends_its_comment() -> None:
    traced = trace_preset("toy", ["description='a\n\n  b: 1'", "search.objective.title='x\u2028y\x85z'"])
    assert spec_from_text(traced.to_yaml()) == traced.spec
    assert traced.to_yaml().replace("\n", "").isprintable()
