"""Mistakes in an ablation: all in one pass, each once, at its place in the file it stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossforge.errors import SpecError
from lossforge.spec import AblationSpec

STUDY = """\
name: study
base: base.yaml
settings:
  small: {search.mutation.sigma: 0.1}
  v1.0, large: {search.mutation.sigma: 1}
variants:
  plain: {}
  big:
    search.mutation: {type: toy_step, sigma: 2}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec_text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(spec_text)


def study(text: str, *overrides: str) -> AblationSpec:
    Path("study.yaml").write_text(text)
    return AblationSpec.from_yaml("study.yaml", overrides)


def told(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        study(text, *overrides)
    return list(caught.value.problems)


def test_the_mistakes_of_the_file_of_all_changes_and_of_the_base_come_in_one_pass(spec_text: str) -> None:
    Path("base.yaml").write_text(spec_text.replace("name: toy", "nam: toy\nseed: -1"))
    text = STUDY.replace("base: base.yaml", "base: base.yaml\nsede: 3").replace("sigma: 0.1", "sgima: 0.1")
    text += "    search.generations: 1e-3\n    seed: 1\n    search..x: 1\n    search.mutation.sigma.x: 1\n"
    assert told(text, "variants.plain.search.generations=many", "seeds=1") == [
        "study.yaml:3:1: sede: unknown field (did you mean 'seeds'?)",
        "study.yaml:5:11: settings.small.search.mutation.sgima: unknown field (did you mean 'sigma'?) (in "
        "small / plain)",
        "study.yaml:11:25: variants.big.search.generations: expected a whole number, got the number 1e-3",
        "study.yaml:12:5: variants.big.seed: an ablation counts its seeds from 0 by itself; leave it out, and "
        "say seeds: n",
        "study.yaml:13:5: variants.big.search..x: expected a field of the spec, such as search.generations",
        "study.yaml:14:5: variants.big.search.mutation.sigma.x: search.mutation.sigma is the number 2, which holds "
        "no fields",
        "--set variants.plain.search.generations=many: variants.plain.search.generations: expected a whole number, got "
        "the string 'many'",
        "--set seeds=1: seeds: must be at least 2, got 1",
        "base.yaml:1:1: 'name' is missing",
        "base.yaml:1:1: nam: unknown field (did you mean 'name'?)",
        "base.yaml:2:7: seed: must be at least 0, got -1",
    ]


def test_a_mistake_of_some_arms_alone_names_them() -> None:
    text = STUDY.replace("search.mutation.sigma: 0.1", "search.strategy: toy_drawing")
    what = "search.mutation: strategy 'toy_drawing' uses no mutation operator; leave it out, or set it to null"
    assert told(text) == [
        f"study.yaml:9:5: variants.big.{what} (in small / big)",
        f"base.yaml:7:3: {what} (in small / plain)",
    ]
    without = text.replace("plain: {}", "plain: {search.mutation: null}")
    assert told(without)[0] == (
        "study.yaml:7:28: variants.plain.search.mutation: strategy 'toy_evolving' needs a mutation operator "
        "(in v1.0, large / plain)"
    )


def test_a_mistake_of_all_arms_is_told_without_them(spec_text: str) -> None:
    Path("base.yaml").write_text(spec_text.replace("sigma: 1e-2", "sigma: 1e-2\n    map: tant"))
    (some,) = told(STUDY)
    assert some.startswith("base.yaml:10:10: search.mutation.map: expected one of 'logistic' or 'tent', got the string")
    assert some.endswith("(did you mean 'tent'?) (in small / plain, v1.0, large / plain)"), "big replaces it"
    (all_,) = told(STUDY.partition("  big:")[0] + "  other: {}\n")
    assert all_.endswith("(did you mean 'tent'?)")


def test_an_override_changes_one_field_of_a_variant_or_a_setting_even_with_dots_in_its_name() -> None:
    overrides = ("settings.v1.0, large.search.mutation.sigma=3", "variants.plain.search.generations=7", "seeds=5")
    changed = study(STUDY, *overrides)
    assert changed.settings["v1.0, large"] == {"search.mutation.sigma": 3}
    assert changed.variants["plain"] == {"search.generations": 7}
    assert study(STUDY, "settings.new.search.generations=7").settings["new"] == {"search.generations": 7}
    assert study(STUDY, "variants.new={search.generations: 7}").variants["new"] == {"search.generations": 7}


def test_a_change_within_another_is_that_of_its_arm_alone() -> None:
    text = STUDY.replace("search.mutation.sigma: 0.1", "search.objective: {type: toy_goal, steps: 3}")
    made = study(text.replace("plain: {}", "plain: {search.objective.steps: 4}"))
    assert made.settings["small"] == {"search.objective": {"type": "toy_goal", "steps": 3}}
    labels = {key: spec.search.objective.label for key, spec in made.arms(Path()).items()}
    assert labels["small", "plain"] == "toy_goal(steps=4)"
    assert labels["small", "big"] == "toy_goal(steps=3)"


@pytest.mark.parametrize(
    ("base", "content", "problems"),
    [
        ("nothing.yaml", None, ["study.yaml:2:7: base: nothing.yaml: no such file"]),
        ("edll", None, ["study.yaml:2:7: base: edll: no such file; did you mean the preset 'edl'?"]),
        (".", None, ["study.yaml:2:7: base: .: no regular file"]),
        ("3", None, ['study.yaml:2:7: base: expected a string, got the number 3; quote it: "3"']),
        ("new.yaml", "name: [", ["new.yaml:1:8: invalid YAML: "]),
        ("new.yaml", "extends: nothing.yaml\nsede: 1", [
            "new.yaml:1:10: extends: nothing.yaml: no such file",
            "new.yaml:2:1: sede: unknown field (did you mean 'seed'?)",
        ]),
        ("new.yaml", "schema_version: 2", ["new.yaml:1:17: schema_version: 2 is newer than this lossforge "]),
    ],
)  # fmt: skip
def test_a_base_that_cannot_be_had_is_told_with_the_rest(base: str, content: str | None, problems: list[str]) -> None:
    if content is not None:
        Path(base).write_text(content)
    found = told(STUDY.replace("base.yaml", base) + "sede: 1\n")
    assert found[0 if base == "new.yaml" else 1] == "study.yaml:10:1: sede: unknown field (did you mean 'seeds'?)"
    found = told(STUDY.replace("base.yaml", base))
    assert [each[: len(problem)] for each, problem in zip(found, problems, strict=True)] == problems


def test_what_cannot_be_read_or_is_no_mapping_is_told_once_and_the_rest_is_checked() -> None:
    text = STUDY.replace("small: {search.mutation.sigma: 0.1}", "small: 3").replace("plain: {}", "plain: &p {sede: 1}")
    text += "    search.generations: !!int 3\n    seed: 1\n    seed: 2\n  twin: *p\n"
    assert told(text) == [
        "study.yaml:4:10: settings.small: expected a mapping, got the number 3",
        "study.yaml:7:14: variants.plain.sede: unknown field (did you mean 'seed'?)",
        "study.yaml:7:14: variants.twin.sede: unknown field (did you mean 'seed'?)",
        "study.yaml:10:25: variants.big.search.generations: tag '!!int' is not supported; leave it out",
        "study.yaml:11:5: variants.big.seed: an ablation counts its seeds from 0 by itself; leave it out, and "
        "say seeds: n",
        "study.yaml:12:5: variants.big.seed: duplicate key (first on line 11)",
    ]
    assert told("name: study\nbase: base.yaml\nvariants: 3\nsettings: {a: {sede: 1}}\n") == [
        "study.yaml:3:11: variants: expected a mapping, got the number 3",
        "study.yaml:4:16: settings.a.sede: unknown field (did you mean 'seed'?)",
    ]


def test_what_an_ablation_extends_keeps_its_places() -> None:
    Path("first.yaml").write_text(STUDY.replace("sigma: 2", "sgima: 2"))
    assert told("extends: first.yaml\nvariants: {plain: {sede: 1}}\n") == [
        "study.yaml:2:20: variants.plain.sede: unknown field (did you mean 'seed'?)",
        "first.yaml:9:39: variants.big.search.mutation.sgima: unknown field (did you mean 'sigma'?)",
    ]
    assert told("extends: nothing.yaml\nsede: 3\nvariants: {plain: {sede: 1}}\n") == [
        "study.yaml:1:10: extends: nothing.yaml: no such file",
        "study.yaml:2:1: sede: unknown field (did you mean 'seeds'?)",
    ]


@pytest.mark.parametrize(
    "field", ["training.epochs", "evidence", "trackers.0", "search.workers", "search.references.0"]
)
def test_what_an_ablation_leaves_out_cannot_be_varied(field: str) -> None:
    assert told(STUDY + f"    {field}: 3\n") == [
        f"study.yaml:10:5: variants.big.{field}: an ablation compares searches alone, on one worker each; leave it out"
    ]
