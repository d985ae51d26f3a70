import importlib
import json
import math
from typing import Literal

import pytest
import torch
from torch import nn

import lossforge
from lossforge import losses
from lossforge.errors import SearchError
from lossforge.evidence import Choices, choices, choose
from lossforge.evidence.choices import pool_size
from lossforge.files import to_json
from lossforge.interfaces import Model
from lossforge.observer import Observer
from lossforge.spec import RunSpec, spec_from_text
from lossforge.spec.training import TrainingSpec
from lossforge.training import prepare, train_together
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8


class DroppingModel(Model):
    """A network that draws in training, and so cannot be grouped."""

    type: Literal["dropping"] = "dropping"

    def build(self, image_shape, num_classes, generator):
        layer = nn.utils.skip_init(nn.Linear, math.prod(image_shape), num_classes)
        nn.init.normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layer)


def spec(**options):
    dataset = FakeImages(num_train=16, num_test=8, image_shape=(1, 8, 8), num_classes=4)
    return TrainingSpec(**{"dataset": dataset, "model": ResNet8(), "batch_size": 8, "precision": "float32", **options})


def chosen(spec):
    return choose(spec, prepare(spec, 0, "cpu"), num_seeds=max(spec.stacked, 2))


class Timings:
    """Stands for the measurements: seconds of a step of one network, of a group, and of one in each process."""

    def __init__(self, monkeypatch, one=0.1, grouped=math.inf, in_processes=math.inf, threads=1):
        self.asked, self.pools = [], []
        seconds = {False: one, True: grouped}

        def of_trainings(trainings):
            self.asked.append(trainings)
            return [seconds[len(training.seeds) > 1] for training in trainings]

        timings = self

        class Pool:
            def __init__(self, num_processes, threads):
                self.size = num_processes, threads

            def __enter__(self):
                return self

            def __exit__(self, *error):
                timings.pools.append(self.size)

            def step_seconds(self, spec, data, precision):
                assert (spec.compile, precision) == (False, "float32")
                return in_processes

        monkeypatch.setattr(choices, "step_seconds", of_trainings)
        monkeypatch.setattr(choices, "TrainingPool", Pool)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)


@pytest.mark.parametrize("replication", ["grouped", "processes", "in_turn"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_the_spec_states_is_taken_and_nothing_timed(precision, replication, monkeypatch):
    timings = Timings(monkeypatch)
    found = chosen(spec(precision=precision, replication=replication, stacked=4))
    stated = "as the spec says"
    assert found == Choices(precision, replication, {"precision": stated, "replication": stated})
    assert (timings.asked, timings.pools) == ([], [])


def test_one_seed_at_a_time_is_trained_in_turn(monkeypatch):
    timings = Timings(monkeypatch)
    found = chosen(spec())
    assert (found.replication, found.reasons["replication"]) == ("in_turn", "one seed at a time")
    assert timings.asked == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"one": 0.1, "grouped": 0.31}, "in_turn"),
        ({"one": 0.1, "grouped": 0.28}, "in_turn"),  # 0.3 of three in turn: 1.07 times as fast
        ({"one": 0.1, "grouped": 0.27}, "grouped"),
        ({"one": 0.1, "grouped": 0.25, "in_processes": 0.26, "threads": 3}, "grouped"),
        ({"one": 0.1, "grouped": 0.27, "in_processes": 0.26, "threads": 3}, "processes"),
        ({"one": 0.1, "in_processes": 0.28, "threads": 3}, "in_turn"),
        # Two processes take three seeds in two rounds.
        ({"one": 0.1, "in_processes": 0.14, "threads": 2}, "in_turn"),
        ({"one": 0.1, "in_processes": 0.13, "threads": 2}, "processes"),
        # On one thread there is nothing to share out.
        ({"one": 0.1, "in_processes": 0.01, "threads": 1}, "in_turn"),
    ],
    ids=repr,
)
def test_another_way_must_be_faster_by_a_tenth(seconds, expected, monkeypatch):
    Timings(monkeypatch, **{"grouped": 10.0, **seconds})
    assert chosen(spec(stacked=3)).replication == expected


def test_the_reason_lists_what_was_measured(monkeypatch):
    timings = Timings(monkeypatch, one=0.1, grouped=0.2, in_processes=0.15, threads=2)
    found = chosen(spec(stacked=4))
    assert found.reasons["replication"] == ("a step of 4 seeds takes in_turn 400 ms, grouped 200 ms, processes 300 ms")
    assert timings.pools == [(2, 1)]
    ((one, several),) = timings.asked
    assert (len(one.seeds), len(several.seeds)) == (1, 4)
    assert {one.precision, several.precision} == {"float32"}


@pytest.mark.parametrize(
    ("options", "why"),
    [({"compile": True}, "networks that are compiled"), ({"model": DroppingModel()}, "vmap: called random operation")],
)
def test_networks_that_cannot_be_grouped_are_not_and_the_reason_says_so(options, why, monkeypatch):
    timings = Timings(monkeypatch, one=0.1, grouped=0.01)
    found = chosen(spec(stacked=3, **options))
    assert found.replication == "in_turn"
    assert found.reasons["replication"].startswith(f"a step of 3 seeds takes in_turn 300 ms; grouped: {why}")
    ((one,),) = timings.asked
    assert (len(one.seeds), one.spec.compile) == (1, False)


@pytest.mark.parametrize(
    ("stacked", "threads", "expected"),
    [(1, 8, (1, 8)), (4, 8, (4, 2)), (3, 8, (3, 2)), (8, 2, (2, 1)), (4, 1, (1, 1)), (8, 8, (8, 1))],
)
def test_processes_share_the_threads(stacked, threads, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert pool_size(spec(stacked=stacked)) == expected


CHOICES = Choices("bfloat16", "grouped", {"precision": "faster", "replication": "faster, too"})


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"precision": "auto"}, ("bfloat16", "grouped")),
        ({"precision": "float32"}, ("float32", "grouped")),
        ({"precision": "auto", "replication": "in_turn"}, ("bfloat16", "in_turn")),
        ({"precision": "float32", "replication": "processes"}, ("float32", "processes")),
    ],
    ids=repr,
)
def test_choices_stand_for_auto_alone(stated, expected):
    given = spec(**stated)
    found = CHOICES.apply(given)
    assert (found.precision, found.replication) == expected
    assert found == given.model_copy(update={"precision": expected[0], "replication": expected[1]})
    assert CHOICES.apply(found) == found


def test_choices_come_back_from_json():
    assert Choices(**json.loads(to_json(CHOICES.to_json()))) == CHOICES
    assert CHOICES.to_json() == {"precision": CHOICES.precision, "replication": CHOICES.replication}


def test_both_can_be_timed(caplog):
    with caplog.at_level("INFO"):
        found = chosen(spec(precision="auto", stacked=2))
    assert found.precision in ("float32", "bfloat16")
    assert found.replication in ("grouped", "in_turn")
    assert found.reasons["precision"].startswith("a step takes in float32 ")
    assert found.reasons["replication"].startswith("a step of 2 seeds takes in_turn ")
    assert f"precision {found.precision}: {found.reasons['precision']}" in caplog.text


RUN = """\
name: tiny
device: cpu
search:
  parameterization: {type: classwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_size: 6, num_parents: 2}
  mutation: gaussian
  generations: 2
  batch_size: 32
  selection_batch_size: 64
  gates: {weight_band: null, signs: null}
training:
  dataset: {type: fake, num_train: 32, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 1
  batch_size: 16
  crop_padding: 1
  stacked: 2
evidence: {seeds: 2}
"""


class Interrupting(Observer):
    """Interrupts a run after the first training."""

    def trained(self, arm):
        raise KeyboardInterrupt


class TestRuns:
    @pytest.fixture
    def made(self, monkeypatch):
        """How often choices were made; each time others."""
        made = []

        def choose(spec, data, num_seeds):
            assert (spec.precision, len(data.train.labels_N)) == ("auto", 32)
            precision = "bfloat16" if not made else "float32"
            made.append(Choices(precision, "grouped", {"precision": "the first time", "replication": "so it is"}))
            return made[-1]

        for module in ("found", "alike"):
            monkeypatch.setattr(importlib.import_module(f"lossforge.evidence.{module}"), "choose", choose)
        return made

    def test_a_run_writes_down_what_auto_has_come_to(self, made, tmp_path):
        result = lossforge.run(spec_from_text(RUN), tmp_path / "run")
        assert len(made) == 1
        written = RunSpec.from_yaml(result.directory.spec).training
        assert (written.precision, written.replication) == ("bfloat16", "grouped")
        assert "  precision: bfloat16\n  " in result.directory.spec.read_text()
        assert json.loads((result.directory.training / "choices.json").read_text()) == made[0].to_json()

    def test_all_trainings_of_a_run_are_done_so(self, made, tmp_path):
        given = spec_from_text(RUN)
        result = lossforge.run(given, tmp_path / "run")
        assert (given.training.precision, given.training.replication) == ("auto", "auto")
        training = made[0].apply(given.training)
        data, seeds = prepare(training, 0, "cpu"), result.comparison.training_seeds
        for name, loss in (("tiny", result.artifact.loss()), ("cross_entropy", losses.get("cross_entropy"))):
            expected = tuple(train_together(training, data, loss, seeds))
            assert result.comparison.losses[name].results == expected

    @pytest.mark.parametrize("with_spec", [False, True])
    def test_a_resumed_run_goes_on_so_and_chooses_nothing(self, with_spec, made, tmp_path):
        whole = lossforge.run(spec_from_text(RUN), tmp_path / "whole")
        made.clear()
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec_from_text(RUN), tmp_path / "run", Interrupting())
        assert len(made) == 1
        resumed = lossforge.resume(tmp_path / "run", spec_from_text(RUN) if with_spec else None)
        assert len(made) == 1
        assert resumed.comparison == whole.comparison
        for path in sorted(whole.directory.training.rglob("*.*")):
            assert path.read_bytes() == (tmp_path / "run" / path.relative_to(whole.directory.path)).read_bytes()

    def test_a_run_that_trains_nothing_chooses_nothing(self, made, tmp_path):
        result = lossforge.run(spec_from_text(RUN[: RUN.index("training:")]), tmp_path / "run")
        assert made == []
        assert not result.directory.training.exists()


def test_a_way_that_fails_is_left_out_and_the_reason_says_why(monkeypatch):
    Timings(monkeypatch, one=0.1, grouped=0.31, in_processes=0.01, threads=3)

    def fails(*_):
        raise SearchError("too little memory; have more")

    monkeypatch.setattr(choices, "_seconds_in_processes", fails)
    found = chosen(spec(stacked=3))
    assert found.replication == "in_turn"
    assert found.reasons["replication"].endswith("grouped 310 ms; processes: too little memory")


def test_no_more_seeds_are_timed_than_there_are(monkeypatch):
    timings = Timings(monkeypatch, one=0.1, grouped=0.31)
    found = choose(spec(stacked=16), prepare(spec(), 0, "cpu"), num_seeds=2)
    assert found.reasons["replication"].startswith("a step of 2 seeds takes in_turn 200 ms")
    assert [len(each.seeds) for each in timings.asked[0]] == [1, 2]
    alone = choose(spec(stacked=16), prepare(spec(), 0, "cpu"), num_seeds=1)
    assert (alone.replication, alone.reasons["replication"]) == ("in_turn", "one seed at a time")


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"replication": "groups"}, {"more": 1}])
def test_choices_that_are_none_are_refused_when_read(change):
    data = Choices("float32", "in_turn", {}).to_json()
    assert Choices.from_json(data) == Choices("float32", "in_turn", {})
    with pytest.raises((ValueError, TypeError)):
        Choices.from_json({**data, **change})
