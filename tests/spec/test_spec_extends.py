"""A spec that extends another is the lines in which it differs; places are those of the file they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lossforge.errors import SpecError
from lossforge.spec import AblationSpec, RunSpec, preset_files, read_spec, spec_from_text
from lossforge.spec.extends import MAX_CHAIN

BASE = """\
name: base
search:
  parameterization: toy_family
  sampler: {type: toy_sampler, weights: {a: 1, b: 2}}
  objective: {type: toy_goal, span: [0, 2], title: base}
  strategy: {type: toy_evolving, num_children: 4}
  mutation: {type: toy_step, sigma: 0.5}
training:
  dataset: {type: toy_images, folder: /data}
  model: toy_net
  optimizer: {momentum: 0.5}
  schedule: cosine
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "presets").mkdir()
    monkeypatch.setattr(preset_files, "_folder", lambda: tmp_path / "presets")
    return tmp_path


def merged(text: str, *path: str, overrides: tuple[str, ...] = ()) -> Any:
    value = spec_from_text(f"extends: base.yaml\n{text}", overrides=overrides).model_dump(mode="json")
    for name in path:
        value = value[name]
    return value


def told(text: str) -> list[str]:
    Path("my.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(Path("my.yaml"))
    return list(caught.value.problems)


def test_a_spec_is_the_lines_that_differ() -> None:
    spec = spec_from_text("extends: base.yaml\nname: mine\nsearch: {strategy: {num_children: 8}}\n")
    assert spec == spec_from_text(
        BASE.replace("name: base", "name: mine").replace("num_children: 4", "num_children: 8")
    )
    assert "extends" not in spec.to_yaml()
    assert spec_from_text("extends: base.yaml") == spec_from_text(BASE)


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("search: {sampler: {weights: {b: 3}}}", ("search", "sampler", "weights"), {"a": 1.0, "b": 3.0}),
        ("search: {objective: {span: [1, 3]}}", ("search", "objective", "span"), [1.0, 3.0]),
        ("search: {objective: {span: [1, 3]}}", ("search", "objective", "title"), "base"),
        ("search: {strategy: {}}", ("search", "strategy", "num_children"), 4),
        ("search: {strategy: toy_evolving}", ("search", "strategy", "num_children"), 4),
        ("search: {strategy: toy_drawing, mutation: null}", ("search", "strategy"), {"type": "toy_drawing"}),
        ("search: {strategy: {type: toy_evolving}}", ("search", "strategy", "num_children"), 4),
        ("search: {strategy: {type: toy_drawing}, mutation: null}", ("search", "strategy"), {"type": "toy_drawing"}),
        ("search: {parameterization: {hidden: [3]}}", ("search", "parameterization", "type"), "toy_family"),
        ("search: {gates: {signs: null}}", ("search", "gates", "signs"), None),
        ("training: null", ("training",), None),
        ("training: {optimizer: {nesterov: false}}", ("training", "optimizer", "momentum"), 0.5),
        ("training: {optimizer: {type: sgd, nesterov: false}}", ("training", "optimizer", "momentum"), 0.5),
        ("training: {optimizer: {type: adamw}}", ("training", "optimizer", "type"), "adamw"),
        ("training: {schedule: {final_factor: 0.1}}", ("training", "schedule", "type"), "cosine"),
        ("training: {schedule: {type: step}}", ("training", "schedule", "type"), "step"),
    ],
)
def test_mappings_merge_and_all_else_is_replaced(text: str, path: tuple[str, ...], expected: object) -> None:
    assert merged(text, *path) == expected


def test_overrides_come_on_top_of_all() -> None:
    assert merged("seed: 1", "seed", overrides=("seed=2",)) == 2
    assert merged("", "search", "mutation", "sigma", overrides=("search.mutation.sigma=2",)) == 2.0
    with pytest.raises(SpecError, match=r"^--set extends=base.yaml: this comes on top of what a file extends; write"):
        spec_from_text(BASE, overrides=("extends=base.yaml",))


def test_a_chain_of_files_and_presets_relative_to_each_file(folder: Path) -> None:
    (folder / "presets" / "plain.yaml").write_text(BASE.replace("name: base", "extends: root"))
    (folder / "presets" / "root.yaml").write_text("name: root\nseed: 1\ndescription: root\ndevice: cpu\n")
    (folder / "inner").mkdir()
    (folder / "inner" / "own.yml").write_text("extends: plain\nseed: 2\ndescription: own\n")
    (folder / "inner" / "side.yaml").write_text("extends: ./own.yml\nseed: 3\n")
    for path in ("inner/side.yaml", str(folder / "inner" / "side.yaml")):
        Path("my.yaml").write_text(f"extends: {path}\nevidence: {{seeds: 5}}\n")
        spec = RunSpec.from_yaml("my.yaml")
        assert (spec.name, spec.seed, spec.description, spec.device) == ("root", 3, "own", "cpu")
        assert spec.evidence is not None
        assert spec.evidence.seeds == 5


def test_a_merge_key_may_be_what_differs() -> None:
    text = "search:\n  mutation: &steps {type: toy_step, sigma: 9}\n  <<: {strategy: {num_children: 2}}\n"
    assert merged(text, "search", "mutation", "sigma") == 9.0
    assert merged(text, "search", "strategy", "num_children") == 2


def test_all_mistakes_of_all_files_are_told_at_their_places_but_not_what_is_replaced() -> None:
    Path("between.yaml").write_text(
        "extends: base.yaml\nsearch:\n  strategy: {num_childen: 3}\n  mutation: {sigma: wrong}\n  generations: 0\n"
        "  generations: 1\ntraining: !!map {epochs: 0}\n"
    )
    assert told("extends: between.yaml\nsede: 3\nsearch:\n  mutation: {sigma: 1, map: tnet}\n  batch_size: 1\n") == [
        "my.yaml:2:1: sede: unknown field (did you mean 'seed'?)",
        "my.yaml:4:29: search.mutation.map: expected one of 'logistic' or 'tent', got the string 'tnet' "
        "(did you mean 'tent'?)",
        "my.yaml:5:15: search.batch_size: must be at least 2, got 1",
        "between.yaml:3:14: search.strategy.num_childen: unknown field (did you mean 'num_children'?)",
        "between.yaml:5:16: search.generations: must be at least 1, got 0",
        "between.yaml:6:3: search.generations: duplicate key (first on line 5)",
        "between.yaml:7:11: training: tag '!!map' is not supported; leave it out",
    ]


def test_options_of_another_type_are_no_mistake_but_those_of_the_same_are() -> None:
    Path("base.yaml").write_text(BASE.replace("momentum: 0.5", "momentum: 2"))
    assert merged("training: {optimizer: {type: adamw}}", "training", "optimizer", "type") == "adamw"
    assert told("extends: base.yaml\ntraining: {optimizer: {nesterov: false}}") == [
        "base.yaml:11:25: training.optimizer.momentum: must be less than 1, got 2"
    ]


def test_what_is_missing_is_told_in_the_file_that_was_asked_for() -> None:
    Path("base.yaml").write_text("search:\n  sampler: toy_sampler\n")
    assert told("# nothing but this\nextends: base.yaml\n") == [
        "my.yaml:2:1: 'name' is missing",
        *[f"base.yaml:1:1: search: {part!r} is missing" for part in ("parameterization", "objective", "strategy")],
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bse.yaml", "my.yaml:2:10: extends: bse.yaml: no such file; did you mean the preset 'base'?"),
        ("no/where", "my.yaml:2:10: extends: no/where: no such file"),
        ("bsae", "my.yaml:2:10: extends: unknown preset 'bsae' (did you mean 'base'?); presets: base; a file's name "
         "ends in .yaml"),
        ("../presets", "my.yaml:2:10: extends: ../presets: no such file"),
        ("./presets", "my.yaml:2:10: extends: presets: no regular file"),
        ("my.yaml", "my.yaml:2:10: extends: these extend each other: my.yaml -> my.yaml"),
        ("./a/../my.yaml", "my.yaml:2:10: extends: a/../my.yaml: no such file"),
        ("3", "my.yaml:2:10: extends: expected a preset, or the path of a file, got the number 3"),
        ("[a, b]", "my.yaml:2:1: extends: expected a preset, or the path of a file, got a list"),
        ("", "my.yaml:2:1: extends: expected a preset, or the path of a file, got nothing"),
        ('"a\\0.yaml"', "my.yaml:2:10: extends: no preset and no path: the string 'a\\x00.yaml'"),
        (f"{'x' * 5000}.yaml", f"my.yaml:2:10: extends: no preset and no path: the string '{'x' * 57}...'"),
        (f"{'x' * 300}.yaml", f"my.yaml:2:10: extends: {'x' * 300}.yaml: cannot be read: File name too long"),
        ("base.yaml/x.yaml", "my.yaml:2:10: extends: base.yaml/x.yaml: no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_told_at_its_place_with_what_is_known_besides(
    folder: Path, name: str, message: str
) -> None:
    (folder / "presets" / "base.yaml").write_text(BASE)
    assert told(f"seed: !!int 1\nextends: {name}\nsede: 3\n") == [
        "my.yaml:1:7: seed: tag '!!int' is not supported; leave it out",
        message,
        "my.yaml:3:1: sede: unknown field (did you mean 'seed'?)",
    ]


def test_without_what_it_extends_a_spec_is_checked_for_what_that_cannot_mend() -> None:
    text = """\
extends: nothing.yaml
seed: x
search:
  strategy: {num_children: x}  # of which type, is written there
  mutation: {type: toy_step, sigma: high}
  sampler: toy_smpler
training:
  optimizer: {momentom: 1}
  epochs: 0
"""
    with pytest.raises(SpecError) as caught:
        spec_from_text(text, "my.yaml", overrides=("trackers.0.x=1", "nothing", "search.generatons=1"))
    assert [problem.partition(" (")[0].partition(";")[0] for problem in caught.value.problems] == [
        "my.yaml:1:10: extends: nothing.yaml: no such file",
        "my.yaml:2:7: seed: expected a whole number, got the string 'x'",
        "my.yaml:5:37: search.mutation.sigma: expected a number, got the string 'high'",
        "my.yaml:6:12: search.sampler: unknown type 'toy_smpler'",
        "my.yaml:9:11: training.epochs: must be at least 1, got 0",
        "--set nothing: expected KEY=VALUE, such as search.generations=50",
        "--set search.generatons=1: search.generatons: unknown field",
    ]


def test_extends_is_among_the_fields_at_the_root() -> None:
    assert "my.yaml:1:1: extend: unknown field (did you mean 'extends'?)" in told("extend: base.yaml\n")


def test_a_circle_and_a_long_chain_are_told_by_the_one_that_closes_it() -> None:
    Path("a.yaml").write_text("extends: ./b.yaml\n")
    Path("b.yaml").write_text("extends: my.yaml\n")
    assert told("extends: a.yaml\n") == [
        "b.yaml:1:10: extends: these extend each other: my.yaml -> a.yaml -> b.yaml -> my.yaml"
    ]
    for index in range(MAX_CHAIN + 1):
        Path(f"c{index}.yaml").write_text(f"extends: c{index - 1}.yaml\n" if index else BASE)
    assert told(f"extends: c{MAX_CHAIN}.yaml\n") == ["c1.yaml:1:10: extends: more than 8 specs that extend one another"]
    Path("my.yaml").write_text(f"extends: c{MAX_CHAIN - 1}.yaml\n")
    assert read_spec(Path("my.yaml")).name == "base"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "base.yaml:1:5: invalid YAML: "),
        ("", "base.yaml:1:1: the spec is empty; "),
        ("schema_version: 2\nsede: 1", "base.yaml:1:17: schema_version: 2 is newer than this lossforge "),
        (b"name: \xff", "base.yaml:1:7: not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_a_base_that_cannot_be_read_is_told_at_its_own_place(content: str | bytes, message: str) -> None:
    Path("base.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told("extends: base.yaml\nsede: 3\n")[0] == "my.yaml:2:1: sede: unknown field (did you mean 'seed'?)"
    (problem,) = told("extends: base.yaml\nseed: 3\n")
    assert problem.startswith(message)


def test_an_ablation_extends_another() -> None:
    Path("study.yaml").write_text("name: study\nbase: base.yaml\nvariants: {a: {}, b: {device: cpu}}\nseeds: 5\n")
    Path("longer.yaml").write_text("extends: study.yaml\nseeds: 50\nvariants: {b: {device: cuda}, c: {}}\n")
    study = AblationSpec.from_yaml("longer.yaml", ["curve_points=3"])
    assert (study.seeds, study.curve_points, study.variants) == (50, 3, {"a": {}, "b": {"device": "cuda"}, "c": {}})
    assert AblationSpec.from_yaml("study.yaml").seeds == 5


def test_a_preset_extends_presets_only(folder: Path) -> None:
    (folder / "presets" / "open.yaml").write_text(f"extends: {folder / 'base.yaml'}\n")
    (problem,) = told("extends: open\n")
    assert problem.startswith("preset open:1:10: extends: a preset can extend presets only, got the string '/")


def test_a_type_that_is_named_above_takes_the_options_that_the_base_has_without_one(tmp_path):
    base = BASE.replace("{type: toy_evolving, num_children: 4}", "{num_children: 4}")
    assert "num_children: 4" in base
    (tmp_path / "base.yaml").write_text(base)
    top = f"extends: {tmp_path / 'base.yaml'}\nname: above\nsearch: {{strategy: {{type: toy_evolving}}}}\n"
    assert spec_from_text(top, "above").search.strategy.num_children == 4
