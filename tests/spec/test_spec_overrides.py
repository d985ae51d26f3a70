"""``--set a.b.0.c=value`` changes a spec, and its messages name it."""

from __future__ import annotations

from typing import Any

import pytest

from lossforge.errors import SpecError
from lossforge.spec import RunSpec, spec_from_text


def told(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec_from_text(text, "spec.yaml", overrides)
    return list(caught.value.problems)


def dumped(spec: RunSpec, *path: str | int) -> Any:
    value = spec.model_dump(mode="json")
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("seed=7", ("seed",), 7),
        (" seed = 7 ", ("seed",), 7),
        ("search.mutation.sigma=1e-3", ("search", "mutation", "sigma"), 0.001),
        ("search.mutation={type: toy_step, sigma: .5}", ("search", "mutation", "sigma"), 0.5),
        ("search.gates.signs.p_max=0.5", ("search", "gates", "signs", "p_max"), 0.5),
        ("search.gates.signs=", ("search", "gates", "signs"), None),
        ("evidence.baselines.1.gamma=5", ("evidence", "baselines", 1, "gamma"), 5.0),
        ("evidence.baselines.0={type: toy_focal, gamma: 9}", ("evidence", "baselines", 0, "gamma"), 9.0),
        ("evidence.baselines=[toy_focal]", ("evidence", "baselines"), [{"type": "toy_focal", "gamma": 2.0}]),
        ("description=a=b", ("description",), "a=b"),
        ("description='5'", ("description",), "5"),
        ("name=no", ("name",), "no"),
        ("search.strategy.num_children=3", ("search", "strategy"), {"type": "toy_evolving", "num_children": 3}),
        ("search.mutation.schedule.end=3", ("search", "mutation", "schedule"), {"start": 1.0, "end": 3.0}),
    ],
)
def test_an_override_sets_a_value(spec_text: str, override: str, path: tuple[str | int, ...], expected: object) -> None:
    assert dumped(spec_from_text(spec_text, overrides=[override]), *path) == expected


def test_a_later_override_wins_and_an_empty_section_is_opened(spec_text: str) -> None:
    text = spec_text.replace("  strategy:", "  gates:\n  strategy:")
    spec = spec_from_text(text, overrides=["search.gates.patience=3", "search.gates.patience=4"])
    assert spec.search.gates.patience == 4


def test_an_override_mends_what_the_file_has_wrong(spec_text: str) -> None:
    text = spec_text.replace("sigma: 1e-2", "sigma: wrong")
    assert dumped(spec_from_text(text, overrides=["search.mutation.sigma=1"]), "search", "mutation", "sigma") == 1.0


def test_an_override_of_one_use_of_an_alias_leaves_the_other_alone(spec_text: str) -> None:
    text = spec_text.replace("span: [0, 2]", "span: &s [0, 2], parts: [{type: toy_goal, span: *s}]")
    spec = spec_from_text(text, overrides=["search.objective.span.0=1"])
    assert dumped(spec, "search", "objective", "span") == [1.0, 2.0]
    assert dumped(spec, "search", "objective", "parts", 0, "span") == [0.0, 2.0]


def test_messages_on_overridden_values_name_the_override_and_come_last_in_its_order(spec_text: str) -> None:
    text = spec_text.replace("name: toy", "name: 3")
    overrides = ["training.epochs=0", "search.sgima=1", "search.mutation={type: toy_step, sgima: 1, sigma: -1}"]
    assert told(text, *overrides) == [
        'spec.yaml:1:7: name: expected a string, got the number 3; quote it: "3"',
        "--set training.epochs=0: training.epochs: must be at least 1, got 0",
        "--set search.sgima=1: search.sgima: unknown field; known fields: parameterization, sampler, objective, "
        "strategy, mutation, generations, num_classes, batch_size, selection_batch_size, gates, stop, references, "
        "restarts, population_growth, backend, generations_per_launch, workers, checkpoint_every, checkpoint_seconds",
        "--set search.mutation={type: toy_step, sgima: 1, sigma: -1}: search.mutation.sgima: unknown field "
        "(did you mean 'sigma'?)",
        "--set search.mutation={type: toy_step, sgima: 1, sigma: -1}: search.mutation.sigma: must be greater than 0, "
        "got -1",
    ]


def test_a_component_by_its_type_alone_keeps_the_place_of_its_type(spec_text: str) -> None:
    text = spec_text.replace("strategy: toy_evolving", "strategy: toy_evolvin")
    (problem,) = told(text, "search.strategy.num_children=3")
    assert problem.startswith("spec.yaml:6:13: search.strategy: unknown type 'toy_evolvin'")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected KEY=VALUE, such as search.generations=50"),
        ("=1", "--set =1: expected KEY=VALUE, such as search.generations=50"),
        ("search..seed=1", "--set search..seed=1: expected KEY=VALUE, such as search.generations=50"),
        ("seed={a", "--set seed={a: invalid YAML: expected ',' or '}', but got '<stream end>' (while parsing a flow"),
        ("seed=1\n---\n2", "--set seed=1\n---\n2: a second document starts here; a spec is one document"),
        ("search.mutation.sigma.x=1", "--set search.mutation.sigma.x=1: search.mutation.sigma is the number 1e-2, "
         "which holds no fields"),
        ("evidence.baselines.2=toy_focal", "--set evidence.baselines.2=toy_focal: evidence.baselines is a list of 2, "
         "without an item '2'; its items are 0 to 1"),
        ("evidence.baselines.-1=toy_focal", "--set evidence.baselines.-1=toy_focal: evidence.baselines is a list of 2, "
         "without an item '-1'; its items are 0 to 1"),
        (f"evidence.baselines.{'9' * 5000}=1", f"--set evidence.baselines.{'9' * 178}...=1: evidence.baselines is a "
         "list of 2, without an item '9999"),
        (f"{'a.' * 5000}b=1", f"--set {'a.' * 98}a...=1: nested more than 64 levels deep"),
        ("search.objective.parts.0=toy_goal", "--set search.objective.parts.0=toy_goal: the spec has no list "
         "'search.objective.parts'; set the whole list"),
        ("name.x=1", "--set name.x=1: name: expected a string, got a mapping"),
        ("seed=!!int 3", "--set seed=!!int 3: seed: tag '!!int' is not supported; leave it out"),
        ("search.mutation={type: toy_step, sigma: 1, sigma: 2}", "--set search.mutation={type: toy_step, sigma: 1, "
         "sigma: 2}: search.mutation.sigma: duplicate key (first on line 1)"),
    ],
)  # fmt: skip
def test_an_override_that_cannot_be_made_is_told(spec_text: str, override: str, message: str) -> None:
    (problem,) = told(spec_text, override)
    assert problem.startswith(message)


def test_overrides_that_cannot_be_made_are_told_with_all_else_that_is_wrong(spec_text: str) -> None:
    text = spec_text.replace("name: toy", "name: 3")
    overrides = ["seed", "search.mutation={type: [", "name.x.y=1", "sede=1", "training.dataset='"]
    assert [problem.partition(" (")[0] for problem in told(text, *overrides)] == [
        'spec.yaml:1:7: name: expected a string, got the number 3; quote it: "3"',
        "--set seed: expected KEY=VALUE, such as search.generations=50",
        "--set search.mutation={type: [: invalid YAML: expected the node content, but found '<stream end>'",
        "--set name.x.y=1: name is the number 3, which holds no fields",
        "--set sede=1: sede: unknown field",
        "--set training.dataset=': invalid YAML: found unexpected end of stream",
    ]


def test_an_empty_list_has_no_items_to_set(spec_text: str) -> None:
    (problem,) = told(spec_text.replace("span: [0, 2]", "parts: []"), "search.objective.parts.0=toy_goal")
    assert problem == (
        "--set search.objective.parts.0=toy_goal: search.objective.parts is an empty list, without an item '0'"
    )
