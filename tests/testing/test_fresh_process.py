"""What is computed in a fresh process comes back, or the reason why not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from lossforge.mutations import GaussianMutation
from lossforge.testing import fresh_process
from lossforge.testing.fresh_process import FreshProcessError, digests, digests_in_a_fresh_process
from lossforge.testing.mutations import results

PARENTS = [[0.0] * 3] * 4
COUNTER = []


def environment(component, option):
    """Run in both processes, by its name."""
    COUNTER.append(component)
    return {
        "hash": hash("lossforge"),
        "type": component and component.type,
        "option": option,
        "threads": torch.get_num_threads(),
        "variable": os.environ.get("LOSSFORGE_TEST_VARIABLE"),
        "folder": os.getcwd(),
        "calls": len(COUNTER),
        "process": os.getpid(),
    }


def failing():
    raise RuntimeError("the reason")


def dying():
    os._exit(3)


def sleeping():
    time.sleep(60)


def leaving_its_number(path):
    Path(path).write_text(str(os.getpid()))
    return {}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The fresh process imports this module by its name, from this folder."""
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    for function in (environment, failing, dying, sleeping, leaving_its_number):
        monkeypatch.setattr(function, "__module__", "test_fresh_process")


def test_it_has_this_process_s_surroundings_but_another_hash_seed_and_no_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("LOSSFORGE_TEST_VARIABLE", "here")
    monkeypatch.chdir(tmp_path)
    here = digests(environment(GaussianMutation(), [1.5]))
    for _ in range(2):  # the second does not know the first
        there = digests_in_a_fresh_process(environment, GaussianMutation(), option=[1.5])
        assert {name for name in here if here[name] != there[name]} == {"hash", "process"}
    COUNTER.clear()


def test_an_error_comes_back_with_its_traceback():
    with pytest.raises(FreshProcessError, match=r"(?s)in failing.*RuntimeError: the reason"):
        digests_in_a_fresh_process(failing)


def test_a_death_is_told_and_the_next_check_runs():
    with pytest.raises(FreshProcessError, match="it died with status"):
        digests_in_a_fresh_process(dying)
    here = digests(results(GaussianMutation(), parents=PARENTS))
    assert digests_in_a_fresh_process(results, GaussianMutation(), parents=PARENTS) == here


def test_it_has_ended_when_it_answers_so_that_its_threads_write_nothing_more(tmp_path):
    digests_in_a_fresh_process(leaving_its_number, path=str(tmp_path / "number"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "number").read_text()), 0)


def test_what_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(fresh_process, "TIMEOUT_S", 0.5)
    with pytest.raises(FreshProcessError, match=r"no answer from a fresh process in 0.5 s"):
        digests_in_a_fresh_process(sleeping)


def test_it_is_the_same_where_processes_cannot_fork(monkeypatch):
    monkeypatch.setattr(fresh_process, "FORKS", False)
    here = digests(results(GaussianMutation(), parents=PARENTS))
    assert digests_in_a_fresh_process(results, GaussianMutation(), parents=PARENTS) == here


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (torch.tensor(1), 1),
        (1, 1.0),
    ],
)
def test_digests_tell_apart_types_shapes_and_bits(first, second):
    assert digests({"x": first}) != digests({"x": second})


def test_digests_are_of_values_and_not_of_how_they_lie_in_memory():
    values = torch.arange(6.0).reshape(2, 3)
    assert digests({"x": values.T}) == digests({"x": values.T.contiguous()})
    assert digests({"x": values[:1, :1]}) == digests({"x": torch.zeros(1, 1)})
    assert digests({"x": torch.tensor([torch.nan], dtype=torch.bfloat16)})["x"]
