"""All that is wrong with a spec is told in one pass, with places and remedies."""

from __future__ import annotations

import re

import pytest

from lossforge.errors import PluginLoadError, SpecError
from lossforge.spec import SCHEMA_VERSION, spec_from_text
from lossforge.version import __version__


def told(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec_from_text(text, "spec.yaml", overrides)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "\n".join(caught.value.problems)
    # What is installed besides the toys is no business of these tests.
    return [re.sub(r"(installed(?: \w+)?: ).*", r"\1...", problem) for problem in caught.value.problems]


def test_mistakes_of_all_sorts_come_at_once_in_the_order_of_the_text() -> None:
    text = """\
name: my run
sede: 3
search:
  parameterization: toy_family
  sampler: toy_smapler
  objective: {type: toy_goal, enabled: no}
  strategy: toy_evolving
  mutation:
    sgima: 1e-2
    type: toy_step
    sigma: -1
    map: tnet
    sigma: 0.1
    1: 2
  generations: !!int 5
training:
  dataset: toy_images
  model: toy_net
"""
    assert told(text) == [
        "spec.yaml:1:7: name: must match ^[A-Za-z0-9][A-Za-z0-9._-]*$, got 'my run'",
        "spec.yaml:2:1: sede: unknown field (did you mean 'seed'?)",
        "spec.yaml:5:12: search.sampler: unknown type 'toy_smapler' (did you mean 'toy_sampler'?); "
        "installed samplers: ...",
        "spec.yaml:6:40: search.objective.enabled: expected true or false, got the string 'no'",
        "spec.yaml:9:5: search.mutation.sgima: unknown field (did you mean 'sigma'?)",
        "spec.yaml:11:12: search.mutation.sigma: must be greater than 0, got -1",
        "spec.yaml:12:10: search.mutation.map: expected one of 'logistic' or 'tent', got the string 'tnet' "
        "(did you mean 'tent'?)",
        "spec.yaml:13:5: search.mutation.sigma: duplicate key (first on line 11)",
        "spec.yaml:14:5: search.mutation: keys must be strings, got the number 1; quote it",
        "spec.yaml:15:16: search.generations: tag '!!int' is not supported; leave it out",
        "spec.yaml:17:3: training.dataset: 'folder' is missing",
    ]


def test_a_valid_spec_tells_nothing(spec_text: str) -> None:
    spec = spec_from_text(spec_text)
    assert spec.search.mutation is not None
    assert spec.search.mutation.model_dump()["sigma"] == 0.01
    assert spec.search.objective.model_dump()["span"] == (0.0, 2.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sigma: 1e-2", "sigma: '1e-2'", "9:12: search.mutation.sigma: expected a number, got the string '1e-2'; "
         "leave out the quotes"),
        ("sigma: 1e-2", "sigma: high", "9:12: search.mutation.sigma: expected a number, got the string 'high'"),
        ("sigma: 1e-2", "sigma: true", "9:12: search.mutation.sigma: expected a number, got true"),
        ("sigma: 1e-2", "sigma:", "9:5: search.mutation.sigma: expected a number, got nothing"),
        ("sigma: 1e-2", "sigma: {a: 1}", "9:5: search.mutation.sigma: expected a number, got a mapping"),
        ("sigma: 1e-2", "sigma: .inf", "9:12: search.mutation.sigma: must be a finite number, got .inf"),
        ("sigma: 1e-2", "sigma: .nan", "9:12: search.mutation.sigma: must be a finite number, got .nan"),
        ("sigma: 1e-2", "map: 2", "9:10: search.mutation.map: expected one of 'logistic' or 'tent', got the number 2"),
        ("sigma: 1e-2", "schedule: {start: 2}", "9:5: search.mutation.schedule: 'end' is missing"),
        ("sigma: 1e-2", "schedule: {ent: 2, end: 1}", "9:16: search.mutation.schedule.ent: unknown field "
         "(did you mean 'end'?)"),
        ("type: toy_step", "type: toy_stpe", "8:11: search.mutation: unknown type 'toy_stpe' "
         "(did you mean 'toy_step'?); installed mutations: ..."),
        ("type: toy_step", "type: 3", "8:11: search.mutation: 'type' must be a string; installed mutations: ..."),
        ("    type: toy_step\n", "", "7:3: search.mutation: 'type' is missing; installed mutations: ..."),
        (
            "    type: toy_step\n",
            "    tyep: toy_step\n",
            "7:3: search.mutation: unknown field 'tyep' (did you mean 'type'?); installed mutations: ...",
        ),
        ("[0, 2]", "[0]", "5:31: search.objective.span: item 1 is missing"),
        ("[0, 2]", "[0, x]", "5:41: search.objective.span.1: expected a number, got the string 'x'"),
        ("[0, 2]", "3", "5:37: search.objective.span: expected a list, got the number 3"),
        ("[0, 2]", "[0, 1], zzz: 1", "5:45: search.objective.zzz: unknown field; known fields: type, title, enabled, "
         "span, steps, parts"),
        ("span: [0, 2]", "title: 1.50", "5:38: search.objective.title: expected a string, got the number 1.50; "
         'quote it: "1.50"'),
        ("span: [0, 2]", "title: true", '5:38: search.objective.title: expected a string, got true; quote it: "true"'),
        ("span: [0, 2]", "title: ", "5:31: search.objective.title: expected a string, got nothing"),
        ("span: [0, 2]", "steps: many", "5:38: search.objective.steps: expected a whole number, got the string 'many'; "
         "or expected 'auto', got the string 'many'"),
        ("span: [0, 2]", "parts: [{type: toy_goal, parts: [{type: toy_goal, enabld: true}]}]",
         "5:81: search.objective.parts.0.parts.0.enabld: unknown field (did you mean 'enabled'?)"),
        ("sampler: toy_sampler", "sampler: {type: toy_sampler, weights: {a: x}}",
         "4:45: search.sampler.weights.a: expected a number, got the string 'x'"),
        ("sampler: toy_sampler", "sampler: {type: toy_sampler, inner: {type: toy_sampler, inner: toy_sampel}}",
         "4:66: search.sampler.inner.inner: unknown type 'toy_sampel' (did you mean 'toy_sampler'?); "
         "installed samplers: ..."),
        ("  sampler: toy_sampler\n", "", "2:1: search: 'sampler' is missing"),
        ("name: toy\n", "", "1:1: 'name' is missing"),
        ("name: toy", "name: 2026", '1:7: name: expected a string, got the number 2026; quote it: "2026"'),
        ("name: toy", "name: no\nseed: 1.0", "2:7: seed: expected a whole number, got the number 1.0"),
        ("name: toy", "name: toy\nseed: 99999999999999999999", "2:7: seed: must be less than 9223372036854775808, "
         "got 99999999999999999999"),
        ("name: toy", f"name: {'x' * 200}", "1:7: name: may have at most 100 characters, has more"),
        ("name: toy", "name: ''", "1:7: name: needs at least 1 character(s), got ''"),
        *[("name: toy", f"name: toy\nschema_version: {version}", f"2:17: schema_version: expected 1, got {what}")
          for version, what in (("0", "the number 0"), ("1.5", "the number 1.5"), ("true", "true"),
                                ("'1'", "the string '1'"), ("1.0", "the number 1.0"), ("-3", "the number -3"))],
        ("name: toy", "name: toy_entropy", "13:1: evidence: the run is called 'toy_entropy' like a baseline; "
         "give it another name"),
        ("strategy: toy_evolving", "strategy: toy_drawing", "7:3: search.mutation: strategy 'toy_drawing' uses no "
         "mutation operator; leave it out, or set it to null"),
        ("toy_family", "{type: toy_family, class_count: 3}", "2:1: search.num_classes: parameterization 'toy_family' "
         "works for 3 classes only; set search.num_classes to that, or the family's own number to this one"),
        ("[toy_entropy, {type: toy_focal, gamma: 3}]", "[]", "14:3: evidence.baselines: needs at least 1 item(s), "
         "has 0"),
        ("[toy_entropy, {type: toy_focal, gamma: 3}]", "[toy_focal, toy_focal]", "14:3: evidence.baselines: the same "
         "baseline stands here twice"),
        ("[toy_entropy, {type: toy_focal, gamma: 3}]", "[{type: toy_focal, gama: 3}]",
         "14:33: evidence.baselines.0.gama: unknown field (did you mean 'gamma'?)"),
        ("toy_net", "{unregistered: true, type: mine}", "12:37: training.model: 'mine' is a class that was defined in "
         "Python and that no installed package provides; go on from Python where it is defined, with "
         "lossforge.resume(path, spec), or package it as a plugin"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(spec_text: str, old: str, new: str, message: str) -> None:
    assert spec_text.count(old) == 1
    assert told(spec_text.replace(old, new)) == [f"spec.yaml:{message}"]


def test_a_list_of_invalid_items_is_not_called_too_short_as_well(spec_text: str) -> None:
    text = spec_text.replace("[toy_entropy, {type: toy_focal, gamma: 3}]", "[{type: toy_focal, gamma: x}]")
    assert told(text) == ["spec.yaml:14:40: evidence.baselines.0.gamma: expected a number, got the string 'x'"]


def test_a_missing_mutation_is_told_at_the_search(spec_text: str) -> None:
    text = spec_text.replace("  mutation:\n    type: toy_step\n    sigma: 1e-2\n", "")
    assert told(text) == ["spec.yaml:2:1: search.mutation: strategy 'toy_evolving' needs a mutation operator"]


def test_evidence_without_training_is_told_at_the_evidence(spec_text: str) -> None:
    text = spec_text[: spec_text.index("training:")] + spec_text[spec_text.index("evidence:") :]
    assert told(text) == ["spec.yaml:10:1: evidence: evidence needs a 'training' section that says what to train on"]


def test_what_is_wrong_in_an_alias_is_told_at_its_use(spec_text: str) -> None:
    text = spec_text.replace("name: toy", "name: &n toy").replace("folder: /data", "folder: *n")
    spec_from_text(text)
    text = spec_text.replace("name: toy", "name: &n toy").replace("sigma: 1e-2", "sigma: *n")
    assert told(text) == ["spec.yaml:9:12: search.mutation.sigma: expected a number, got the string 'toy'"]


def test_of_a_spec_in_a_newer_format_nothing_else_is_told(spec_text: str) -> None:
    reads = f"is newer than this lossforge ({__version__}) reads, which is {SCHEMA_VERSION}; a later one reads it: pip "
    message = f"schema_version: 2 {reads}install --upgrade lossforge"
    text = spec_text.replace("name: toy", "nmae: toy\nschema_version: 2\nnmae: !!str toy")
    assert told(text) == [f"spec.yaml:2:17: {message}"]
    assert told(spec_text, "schema_version=2", "sede=1") == [f"--set schema_version=2: {message}"]


@pytest.mark.parametrize("text", ["${HOME}", "$HOME", "~", "~/data", "%HOME%", "{{ env.HOME }}"])
def test_environment_variables_and_homes_are_never_expanded(
    spec_text: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/expanded")
    in_file = spec_from_text(spec_text.replace("folder: /data", f"folder: '{text}'"))
    set_on_top = spec_from_text(spec_text, overrides=[f"training.dataset.folder='{text}'"])
    assert in_file == set_on_top
    assert in_file.training is not None
    assert in_file.training.dataset.model_dump()["folder"] == text
    (problem,) = told(spec_text + f"extends: '{text}/x.yaml'\n")
    assert problem.startswith(f"spec.yaml:15:10: extends: {text}/x.yaml: no such file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec.yaml:1:1: the spec is empty; expected a mapping of fields such as 'name: ...' and 'search: ...'"),
        ("# nothing\n", "spec.yaml:1:1: the spec is empty; "),
        ("---\n...\n", "spec.yaml:2:1: the spec is empty; "),
        ("\n- a", "spec.yaml:2:1: the spec is a list; expected a mapping"),
        ("lossforge", "spec.yaml:1:1: the spec is the string 'lossforge'; expected a mapping"),
    ],
)
def test_a_spec_is_a_mapping(text: str, message: str) -> None:
    (problem,) = told(text)
    assert problem.startswith(message)


def test_a_broken_plugin_is_no_mistake_in_the_spec(spec_text: str) -> None:
    text = spec_text.replace("type: toy_step", "type: toy_broken").replace("name: toy", "name: 3")
    with pytest.raises(PluginLoadError, match=r"lossforge-spec-toys 1\.0") as caught:
        spec_from_text(text)
    assert caught.value.exit_code == 3


def test_long_values_are_told_in_part(spec_text: str) -> None:
    (problem,) = told(spec_text.replace("sigma: 1e-2", f"sigma: {'x' * 500}"))
    assert problem.endswith("x...'")
    assert len(problem) < 150
    long = "x" * 500
    for old, new in (("sigma: 1e-2", f"map: {long}"), ("sigma:", f"{long}:"), ("type: toy_step", f"type: {long}")):
        (problem,) = told(spec_text.replace(old, new))
        assert len(problem) < 400
