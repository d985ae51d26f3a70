import pytest
import torch
from torch import nn

from lossforge.errors import SpecError
from lossforge.spec.training import TrainingSpec
from lossforge.training import precision, prepare, resolve_precision, timing
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds


def spec(**options):
    dataset = FakeImages(num_train=64, num_test=8, image_shape=(1, 8, 8), num_classes=4)
    return TrainingSpec(dataset=dataset, model=ResNet8(), batch_size=16, **options)


@pytest.fixture
def measured(monkeypatch):
    """Return a function that says how long steps take, and the trainings that it was asked for."""
    asked = []

    def patch(**seconds):
        def of_trainings(trainings):
            asked.extend(trainings)
            return [seconds[training.precision] for training in trainings]

        monkeypatch.setattr(precision, "step_seconds", of_trainings)
        return asked

    return patch


@pytest.mark.parametrize("stated", ["float32", "bfloat16"])
def test_what_the_spec_states_is_not_timed(stated, measured):
    asked = measured()
    chosen = spec(precision=stated)
    assert resolve_precision(chosen, prepare(chosen, 0, "cpu")) == (stated, "as the spec says")
    assert asked == []


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(0.02, 0.01, "bfloat16"), (0.01, 0.02, "float32"), (0.0109, 0.01, "float32"), (0.0111, 0.01, "bfloat16")],
)
def test_bfloat16_must_be_faster_by_a_tenth(float32, bfloat16, expected, measured):
    measured(float32=float32, bfloat16=bfloat16)
    chosen = spec()
    found, reason = resolve_precision(chosen, prepare(chosen, 0, "cpu"))
    assert found == expected
    assert reason == f"a step takes in float32 {1e3 * float32:.1f} ms, bfloat16 {1e3 * bfloat16:.1f} ms"


def test_steps_of_the_specs_own_network_are_timed_uncompiled(measured):
    asked = measured(float32=1.0, bfloat16=1.0)
    chosen = spec(compile=True, cuda_graphs=True, stacked=3)
    data = prepare(chosen, 0, "cpu")
    resolve_precision(chosen, data)
    assert [training.precision for training in asked] == ["float32", "bfloat16"]
    for training in asked:
        assert (training.spec.compile, training.spec.cuda_graphs) == (False, False)
        assert training.spec.model == chosen.model
        assert (len(training.seeds), training.data) == (1, data)


def test_it_can_be_timed():
    chosen = spec()
    found, reason = resolve_precision(chosen, prepare(chosen, 0, "cpu"))
    assert found in ("float32", "bfloat16")
    assert reason.startswith("a step takes in float32 ")


def test_what_does_not_go_together_is_told_at_once():
    chosen = spec(mixup=0.2).model_copy(update={"model": ResNet8(head={"type": "large_margin"})})
    with pytest.raises(SpecError, match=r"training\.mixup, training\.cutmix"):
        resolve_precision(chosen, prepare(chosen, 0, "cpu"))


def test_the_time_of_a_step_is_a_median_after_two_to_warm_up(monkeypatch):
    """Trainings take turns, on one batch each, and a clock that the steps turn says how long each took."""
    chosen = spec()
    data = prepare(chosen, 0, "cpu")
    trainings = [start(chosen, data, nn.CrossEntropyLoss(), [seed], "float32") for seed in (0, 1)]
    now, turns, batches = [0.0], [], []
    # The first two are slow, and one later by far.
    seconds = {0: [50, 50, 1, 2, 3, 90, 4, 5, 6], 1: [70, 70, 10, 10, 10, 10, 20, 20, 20]}

    def step(training, index, batch):
        which = training.seeds[0]
        now[0] += seconds[which][turns.count(which)]
        turns.append(which)
        batches.append(id(batch))
        assert index == 0

    monkeypatch.setattr(timing, "train_step", step)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert step_seconds(trainings) == [4, 10]
    assert turns == [0, 1] * 9
    assert len(set(batches[::2])) == len(set(batches[1::2])) == 1


def test_timing_leaves_the_global_random_state_alone():
    chosen = spec()
    before = torch.get_rng_state()
    resolve_precision(chosen, prepare(chosen, 0, "cpu"))
    assert torch.equal(torch.get_rng_state(), before)
