"""How a training is read: each option's bounds, groups of options by their type, and messages with places."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from lossforge.errors import SpecError
from lossforge.spec import RunSpec, TrainingSpec, spec_from_text, to_yaml
from lossforge.spec.training import (
    SGD,
    AdamW,
    AsymmetricNoise,
    Cosine,
    FileNoise,
    Step,
    SymmetricNoise,
    Triangular,
)
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8


def told(options: str) -> list[str]:
    """Return what is wrong with a spec whose training has these options, a line each."""
    with pytest.raises(SpecError) as caught:
        parsed(options)
    return list(caught.value.problems)


BEFORE = """\
name: toy
search:
  parameterization: toy_family
  sampler: toy_sampler
  objective: {type: toy_goal, span: [0, 2]}
  strategy: toy_evolving
  mutation: {type: toy_step, sigma: 1e-2}
training:
  dataset: {type: toy_images, folder: /data}
  model: toy_net
"""
"""Ten lines, so that the options of a training begin in the eleventh."""


def parsed(options: str) -> TrainingSpec:
    text = BEFORE + "".join(f"  {line}\n" for line in options.splitlines())
    training = spec_from_text(text, "spec.yaml").training
    assert training is not None
    return training


def made(**options: Any) -> TrainingSpec:
    return TrainingSpec(dataset=FakeImages(), model=ResNet8(), **options)


def test_the_defaults() -> None:
    spec = made()
    assert (spec.optimizer, spec.schedule, spec.label_noise) == (SGD(), Triangular(), None)
    assert (spec.optimizer.momentum, spec.optimizer.nesterov) == (0.9, True)
    assert (spec.precision, spec.replication, spec.stacked) == ("auto", "auto", 1)
    assert (spec.num_validation, spec.long_tail, spec.ema_decay, spec.clip_norm) == (0, None, None, None)
    assert (spec.mixup, spec.cutmix, spec.cutout) == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("optimizer: adamw", AdamW()),
        ("optimizer: sgd", SGD()),
        ("optimizer: {momentum: 0.8}", SGD(momentum=0.8)),
        ("optimizer: {type: adamw, beta2: 0.99}", AdamW(beta2=0.99)),
        ("schedule: cosine", Cosine()),
        ("schedule: step", Step()),
        ("schedule: {warmup_fraction: 0.1}", Triangular(warmup_fraction=0.1)),
        ("schedule: {type: step, milestones: [0.25, 0.5, 0.9], factor: 0.2}", Step(milestones=(0.25, 0.5, 0.9),
                                                                                   factor=0.2)),
        ("schedule: {type: step, milestones: []}", Step(milestones=())),
        ("label_noise: {rate: 0.4}", SymmetricNoise(rate=0.4)),
        ("label_noise: {type: asymmetric, rate: 0.4}", AsymmetricNoise(rate=0.4)),
        ("label_noise: {type: asymmetric, rate: 0.4, pairs: next}", AsymmetricNoise(rate=0.4, pairs="next")),
        ("label_noise: {type: asymmetric, rate: 0.4, pairs: [[cat, dog], [dog, cat]]}",
         AsymmetricNoise(rate=0.4, pairs=(("cat", "dog"), ("dog", "cat")))),
        ("label_noise: {type: file, path: labels.npy}", FileNoise(path="labels.npy")),
        ("label_noise: null", None),
    ],
)  # fmt: skip
def test_groups_of_options_are_given_by_their_type(given: str, expected: object) -> None:
    assert getattr(parsed(given), given.partition(":")[0]) == expected


def test_python_takes_groups_of_options_too() -> None:
    assert made(optimizer="adamw").optimizer == AdamW()
    assert made(optimizer={"type": "adamw", "beta1": 0.5}).optimizer == AdamW(beta1=0.5)
    assert made(schedule={"type": "step", "milestones": (0.5,)}).schedule == Step(milestones=(0.5,))
    assert made(schedule=Cosine(final_factor=0.5)).schedule == Cosine(final_factor=0.5)
    with pytest.raises(ValidationError, match="unknown type 'adam'"):
        made(optimizer="adam")


EVERYTHING = made(
    optimizer=SGD(momentum=0.8, nesterov=False, decoupled_weight_decay=True),
    schedule=Step(milestones=(0.25, 0.75), warmup_fraction=0.1),
    label_noise=AsymmetricNoise(rate=0.3, pairs=(("a", "b"), ("b", "c"))),
    long_tail=10.0,
    num_validation=100,
    clip_norm=1.0,
    ema_decay=0.99,
    mixup=0.2,
    cutmix=1.0,
    cutout=4,
    compile=True,
    cuda_graphs=True,
    stacked=4,
    precision="bfloat16",
    replication="processes",
)


@pytest.mark.parametrize("spec", [made(), EVERYTHING, made(optimizer="adamw", schedule="cosine")])
def test_comes_back_from_json_and_yaml(spec: TrainingSpec) -> None:
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec
    assert TrainingSpec.model_validate(json.loads(spec.model_dump_json())) == spec
    run = spec_from_text(BEFORE).model_copy(update={"training": spec})
    again = spec_from_text(to_yaml(run))
    assert again == run
    assert isinstance(again, RunSpec)


def test_defaults_that_go_by_the_optimiser() -> None:
    for optimizer, rate, decay in (("sgd", 0.1, 5e-4), ("adamw", 1e-3, 0.01), ({"type": "adamw"}, 1e-3, 0.01)):
        assert (made(optimizer=optimizer).learning_rate, made(optimizer=optimizer).weight_decay) == (rate, decay)
    stated = made(optimizer="adamw", learning_rate=0.1, weight_decay=0.0)
    assert (stated.learning_rate, stated.weight_decay) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("option", "low", "high", "beyond"),
    [
        # The least and the greatest value that are allowed, and those that are not.
        ("num_train", 2, 10**6, [1, -1]),
        ("num_test", 2, 10**6, [1]),
        ("num_validation", 0, 10**6, [-1]),
        ("long_tail", 1.0, 1e6, [0.99, -1.0]),
        ("epochs", 1, 10**4, [0]),
        ("batch_size", 2, 10**6, [1]),
        ("learning_rate", 1e-9, 1e9, [0.0, -0.1]),
        ("weight_decay", 0.0, 1e3, [-1e-9]),
        ("clip_norm", 1e-9, 1e9, [0.0]),
        ("ema_decay", 1e-9, 1 - 1e-9, [0.0, 1.0]),
        ("crop_padding", 0, 100, [-1]),
        ("cutout", 0, 100, [-1]),
        ("mixup", 0.0, 100.0, [-0.1]),
        ("cutmix", 0.0, 100.0, [-0.1]),
        ("stacked", 1, 1000, [0]),
    ],
)
def test_bounds(option: str, low: float, high: float, beyond: list[float]) -> None:
    for value in (low, high):
        assert getattr(made(**{option: value}), option) == value
    for value in (*beyond, *([] if isinstance(low, int) else [math.inf, math.nan])):
        with pytest.raises(ValidationError, match=option):
            made(**{option: value})


@pytest.mark.parametrize(
    ("group", "option", "allowed", "beyond"),
    [
        (SGD, "momentum", [0.1, 0.999], [1.0, -0.1]),
        (AdamW, "beta1", [0.0, 0.999], [1.0, -0.1]),
        (AdamW, "beta2", [0.0, 0.999], [1.0, -0.1]),
        (AdamW, "epsilon", [1e-12, 1.0], [0.0]),
        (Triangular, "warmup_fraction", [0.0, 0.99], [1.0, -0.1]),
        (Cosine, "warmup_fraction", [0.0, 0.99], [1.0, -0.1]),
        (Cosine, "final_factor", [0.0, 1.0], [1.1, -0.1]),
        (Step, "warmup_fraction", [0.0, 0.99], [1.0, -0.1]),
        (Step, "factor", [0.01, 0.99], [0.0, 1.0]),
        (Step, "milestones", [(), (0.1, 0.2)], [(0.0,), (1.0,), (0.5, 0.5), (0.5, 0.4)]),
        (SymmetricNoise, "rate", [0.0, 1.0], [-0.1, 1.1]),
        (AsymmetricNoise, "rate", [0.0, 1.0], [-0.1, 1.1]),
        (FileNoise, "path", ["x"], [""]),
    ],
)
def test_bounds_in_groups(group: Any, option: str, allowed: list[object], beyond: list[object]) -> None:
    for value in allowed:
        assert getattr(group(**{option: value}), option) == value
    for value in beyond:
        with pytest.raises(ValidationError, match=option):
            group(**{option: value})


def test_nesterovs_rule_needs_momentum() -> None:
    assert SGD(momentum=0.0, nesterov=False).momentum == 0
    with pytest.raises(ValidationError, match=r"Nesterov's rule needs momentum; set nesterov: false"):
        SGD(momentum=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("optimizer: {type: sgd, momentm: 0.8}",
         "11:26: training.optimizer.momentm: unknown field (did you mean 'momentum'?)"),
        ("optimizer: {momentm: 0.8}", "11:15: training.optimizer.momentm: unknown field (did you mean 'momentum'?)"),
        ("optimizer:\n  type: sgd\n  momentm: 0.8",
         "13:5: training.optimizer.momentm: unknown field (did you mean 'momentum'?)"),
        ("optimizer: {type: adamw, momentum: 0.8}",
         "11:28: training.optimizer.momentum: unknown field; known fields: type, beta1, beta2, epsilon"),
        ("optimizer: adam", "11:14: training.optimizer: unknown type 'adam' (did you mean 'adamw'?); there are sgd, "
         "adamw"),
        ("optimizer: {type: adam}", "11:21: training.optimizer: unknown type 'adam' (did you mean 'adamw'?); there are "
         "sgd, adamw"),
        ("optimizer: {type: 3}", "11:21: training.optimizer: 'type' must be a string; there are sgd, adamw"),
        ("optimizer: {type: [sgd]}", "11:15: training.optimizer: 'type' must be a string; there are sgd, adamw"),
        ("optimizer: 3", "11:14: training.optimizer: expected a mapping, got the number 3"),
        ("optimizer: [sgd]", "11:3: training.optimizer: expected a mapping, got a list"),
        ("optimizer:", "11:3: training.optimizer: expected a mapping, got nothing"),
        ("optimizer: {momentum: high}",
         "11:25: training.optimizer.momentum: expected a number, got the string 'high'"),
        ("optimizer: {momentum: 1}", "11:25: training.optimizer.momentum: must be less than 1, got 1"),
        ("optimizer: {momentum: 0}", "11:3: training.optimizer.nesterov: Nesterov's rule needs momentum; set nesterov: "
         "false, or momentum above 0"),
        ("schedule: {type: cosine, warmup: 3}", "11:28: training.schedule.warmup: unknown field; known fields: type, "
         "warmup_fraction, final_factor"),
        ("schedule: {type: step, milestones: [0.5, 1.5]}",
         "11:44: training.schedule.milestones.1: must be less than 1, got 1.5"),
        ("schedule: {type: step, milestones: [0.7, 0.5]}",
         "11:26: training.schedule.milestones: milestones must rise"),
        ("schedule: {type: step, milestones: 0.5}",
         "11:38: training.schedule.milestones: expected a list, got the number 0.5"),
        ("label_noise: symmetric", "11:3: training.label_noise: 'rate' is missing"),
        ("label_noise: {type: symetric, rate: 0.2}", "11:23: training.label_noise: unknown type 'symetric' (did you "
         "mean 'symmetric'?); there are symmetric, asymmetric, file"),
        ("label_noise: {rate: 2}", "11:23: training.label_noise.rate: must be at most 1, got 2"),
        ("label_noise: {type: asymmetric, rate: 0.2, pairs: usuall}", "11:53: training.label_noise.pairs: expected one "
         "of 'usual' or 'next', got the string 'usuall' (did you mean 'usual'?); or expected a list, got the string "
         "'usuall'"),
        ("label_noise: {type: asymmetric, rate: 0.2, pairs: [[cat]]}",
         "11:54: training.label_noise.pairs.0: item 1 is missing"),
        ("label_noise: {type: asymmetric, rate: 0.2, pairs: [[cat, 3]]}",
         '11:60: training.label_noise.pairs.0.1: expected a string, got the number 3; quote it: "3"'),
        ("precision: float16", "11:14: training.precision: expected one of 'auto', 'float32' or 'bfloat16', got the "
         "string 'float16' (did you mean 'bfloat16'?)"),
        ("replication: group", "11:16: training.replication: expected one of 'auto', 'grouped', 'processes' or "
         "'in_turn', got the string 'group' (did you mean 'grouped'?)"),
        ("cuda_graphs: true", "11:16: training.cuda_graphs: CUDA graphs are made by torch.compile; set compile: true, "
         "or leave this out"),
        ("long_tail: 0.5", "11:14: training.long_tail: must be at least 1, got 0.5"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(options: str, message: str) -> None:
    assert told(options) == [f"spec.yaml:{message}"]


def test_mistakes_in_groups_come_at_once_with_the_others() -> None:
    assert told("optimizer: {momentum: x, nesterov: 3}\nschedule: {type: cosin}\nepochs: 0") == [
        "spec.yaml:11:25: training.optimizer.momentum: expected a number, got the string 'x'",
        "spec.yaml:11:38: training.optimizer.nesterov: expected true or false, got the number 3",
        "spec.yaml:12:20: training.schedule: unknown type 'cosin' (did you mean 'cosine'?); there are triangular, "
        "cosine, step",
        "spec.yaml:13:11: training.epochs: must be at least 1, got 0",
    ]


def test_options_can_be_overridden_one_by_one() -> None:
    text = BEFORE + "  optimizer: {type: sgd}\n"
    spec = spec_from_text(text, "spec.yaml", ["training.optimizer.momentum=0.5", "training.schedule=step"])
    assert spec.training is not None
    assert (spec.training.optimizer, spec.training.schedule) == (SGD(momentum=0.5), Step())


def test_a_schedule_by_its_class_is_told_to_be_called():
    with pytest.raises(ValidationError, match=r"got the class Triangular; write Triangular\(\)"):
        TrainingSpec(dataset="fake", model="resnet8", schedule=Triangular)
