"""Trainings in processes: what they come to, and that none outlives what it is for."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from lossforge.errors import SearchError
from lossforge.evidence.training_pool import PoolCall, TrainingPool
from lossforge.interfaces import Model
from lossforge.spec.training import TrainingSpec
from lossforge.training import TrainingCheckpoint, prepare, train_classifier
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8

pytestmark = pytest.mark.usefixtures("in_time")

ENDED = r"a training's process was ended from outside.*smaller training\.stacked"


def spec(**options):
    dataset = FakeImages(num_train=24, num_test=12, image_shape=(1, 8, 8), num_classes=4)
    shared = {"epochs": 2, "batch_size": 8, "precision": "float32", "num_validation": 4}
    return TrainingSpec(dataset=dataset, model=ResNet8(), **{**shared, **options})


SPEC = spec()
DATA = prepare(SPEC, 0, "cpu")
ENDLESS = spec(epochs=10**6)


@pytest.fixture(scope="module")
def pool():
    with pytest.MonkeyPatch.context() as monkeypatch, TrainingPool(2, 1) as pool:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which processes begin with
        yield pool
    assert not multiprocessing.active_children()


def call(seed, spec=SPEC, loss=None, checkpoint=None):
    return PoolCall(spec, DATA, loss or nn.CrossEntropyLoss(), seed, checkpoint)


def ignore(*told):
    pass


def alive():
    """Return the processes that this one has started and that go on."""
    return {process.pid for process in multiprocessing.active_children()}


def test_results_are_those_of_this_process_on_as_many_threads(pool):
    found, told = {}, []
    calls = {3: call(10), 5: call(11), 7: call(12, loss=nn.MultiMarginLoss())}
    pool.train(calls, found.__setitem__, lambda *each: told.append(each))
    assert torch.get_num_threads() == 1
    assert found.keys() == calls.keys()
    for key, each in calls.items():
        expected = train_classifier(SPEC, DATA, each.loss, each.seed)
        assert found[key] == expected
        for name in ("test", "validation"):
            assert torch.equal(getattr(found[key], name).logits_NC, getattr(expected, name).logits_NC)
        assert [record for of, record in told if of == key] == list(expected.epochs)
        assert found[key].seconds > 0


def test_processes_have_the_threads_they_are_given(pool):
    assert pool._pool.submit(torch.get_num_threads).result() == 1


def test_a_training_goes_on_from_its_checkpoint(pool, tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path / "unfinished.safetensors", "identity")

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(SPEC, DATA, nn.CrossEntropyLoss(), 10, stop, checkpoint=checkpoint)
    found, told = {}, []
    pool.train({0: call(10, checkpoint=checkpoint)}, found.__setitem__, lambda key, record: told.append(record.epoch))
    assert told == [2]
    assert found[0] == train_classifier(SPEC, DATA, nn.CrossEntropyLoss(), 10)
    assert checkpoint.path.exists()


def test_a_warning_in_a_process_is_logged_in_this_one(pool, tmp_path, caplog):
    checkpoint = TrainingCheckpoint(tmp_path / "unfinished.safetensors", "identity")
    checkpoint.path.write_bytes(b"half of it")
    pool.train({0: call(10, checkpoint=checkpoint)}, ignore, ignore)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("lossforge.training.checkpoint", "WARNING")
    assert record.getMessage().startswith(f"{checkpoint.path}: damaged (")


def test_an_error_in_a_process_is_that_of_the_call(pool):
    """And what the others came to is stored, for the pool serves on."""
    broken = nn.CrossEntropyLoss(weight=torch.ones(7))
    with pytest.raises(RuntimeError, match="weight tensor should be defined either for all 4 classes"):
        pool.train({0: call(10, loss=broken)}, ignore, ignore)
    found = {}
    pool.train({0: call(10)}, found.__setitem__, ignore)
    assert found[0].metrics is not None


def test_one_that_diverges_is_a_result_as_any_other(pool):
    found = {}
    pool.train({0: call(10, spec(learning_rate=1e30)), 1: call(11)}, found.__setitem__, ignore)
    assert (found[0].metrics, found[1].diverged_at_epoch) == (None, None)
    assert found[0].diverged_at_epoch is not None


def test_steps_are_timed_in_all_processes_at_once(pool):
    assert 0 < pool.step_seconds(SPEC, DATA, "float32") < 60


class FailingModel(Model):
    """A network that cannot be built in the process that is asked second."""

    type: Literal["failing"] = "failing"
    marker: str

    def build(self, image_shape, num_classes, generator):
        try:
            Path(self.marker).touch(exist_ok=False)
        except FileExistsError:
            raise MemoryError("no room") from None
        return ResNet8().build(image_shape, num_classes, generator)


def test_a_failure_while_steps_are_timed_ends_the_wait_of_the_others(tmp_path):
    failing = SPEC.model_copy(update={"model": FailingModel(marker=str(tmp_path / "first"))})
    with TrainingPool(2, 1) as pool, pytest.raises(MemoryError, match="no room"):
        pool.step_seconds(failing, DATA, "float32")


def test_results_hold_no_files_open(pool):
    found = {}
    pool.train({1: call(10), 2: call(11)}, found.__setitem__, ignore)
    kept = [each.test for each in found.values()] + [each.validation for each in found.values()]
    assert not any(part.logits_NC.is_shared() or part.labels_N.is_shared() for part in kept)


def test_images_that_do_not_fit_shared_memory_are_told_with_a_remedy(pool, monkeypatch):
    def refuse(tensor):
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    with pytest.raises(SearchError, match=r"do not fit the shared memory.*set training\.replication to in_turn"):
        pool.train({1: call(10)}, ignore, ignore)


def test_nothing_to_do_is_done_at_once():
    with TrainingPool(1, 1) as pool:
        pool.train({}, ignore, ignore)


def test_an_interruption_ends_what_is_under_way():
    def interrupted(key, record):
        raise KeyboardInterrupt

    before = alive()
    with pytest.raises(KeyboardInterrupt), TrainingPool(1, 1) as pool:
        pool.train({0: call(0, ENDLESS), 1: call(1, ENDLESS)}, ignore, interrupted)
    assert alive() == before


def test_a_process_that_is_ended_from_outside_is_told_with_a_remedy():
    before = alive()

    def kill(key, record):
        for process in multiprocessing.active_children():
            if process.pid not in before:
                process.kill()

    with TrainingPool(1, 1) as pool:
        with pytest.raises(SearchError, match=ENDED):
            pool.train({0: call(0, ENDLESS)}, ignore, kill)
        with pytest.raises(SearchError, match=ENDED):
            pool.step_seconds(SPEC, DATA, "float32")


SCRIPT = """\
import os
from torch import nn
from lossforge.evidence.training_pool import PoolCall, TrainingPool
from lossforge.spec.training import TrainingSpec
from lossforge.training import prepare

if __name__ == "__main__":
    dataset = {"type": "fake", "num_train": 24, "num_test": 12, "image_shape": (1, 8, 8)}
    spec = TrainingSpec(dataset=dataset, model="resnet8", epochs=10**6, precision="float32", batch_size=8)
    call = PoolCall(spec, prepare(spec, 0, "cpu"), nn.CrossEntropyLoss(), 0, None)
    with TrainingPool(1, 1) as pool:
        pool.train({0: call}, print, lambda key, record: record.epoch == 1 and print("started", flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_no_process_outlives_the_one_that_started_it(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            children = [int(child) for child in file.read().split()]
        assert children
        process.kill()
    while any(map(_is_alive, children)):
        time.sleep(0.05)


def _is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
