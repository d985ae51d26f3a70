"""What foreign code changes for all of a process is put back, and named."""

from __future__ import annotations

import gc
import io
import os
import random
import sys

import numpy as np
import pytest
import torch

from lossforge.surroundings import surroundings_restored

SETTINGS = {
    "sys.stdin": (lambda: setattr(sys, "stdin", None), lambda: sys.stdin),
    "sys.stdout": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout),
    "sys.stderr": (lambda: delattr(sys, "stderr"), lambda: sys.stderr),
    "torch's default dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "torch's default device": (lambda: torch.set_default_device("meta"), lambda: torch.zeros(1).device),
    "whether torch has gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "torch's deterministic algorithms": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
    ),
    "torch's number of threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "the current folder": (lambda: os.chdir("/"), os.getcwd),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_put_back_and_named(name):
    change, read = SETTINGS[name]
    before = read()
    with surroundings_restored() as changed:
        change()
    assert read() == before
    assert changed == [name]


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_stream_that_wraps_the_one_before_does_not_close_it(name, tmp_path, monkeypatch):
    path = tmp_path / "stream"
    path.write_text("read on\n")
    with path.open("r" if name == "stdin" else "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        with surroundings_restored() as changed:
            setattr(sys, name, io.TextIOWrapper(stream.buffer, encoding="utf-8"))
            if name != "stdin":
                getattr(sys, name).write("not lost; ")
        gc.collect()
        assert (changed, getattr(sys, name)) == ([f"sys.{name}"], stream)
        assert stream.read() == "read on\n" if name == "stdin" else stream.write("written on")
    assert path.read_text() == ("read on\n" if name == "stdin" else "not lost; written on")


def test_all_are_put_back_after_an_error():
    def meddle():
        for change, _ in SETTINGS.values():
            change()
        raise ZeroDivisionError

    before = [read() for _, read in SETTINGS.values()]
    with pytest.raises(ZeroDivisionError), surroundings_restored() as changed:
        meddle()
    assert [read() for _, read in SETTINGS.values()] == before
    assert changed == list(SETTINGS)


@pytest.mark.parametrize(
    ("seed", "draw"),
    [
        (random.seed, random.random),
        (np.random.seed, np.random.normal),
        (torch.manual_seed, lambda: torch.rand(()).item()),
    ],
)
def test_random_states_are_put_back_and_not_named(seed, draw):
    seed(3)
    draw()
    with surroundings_restored() as changed:
        seed(4)
        first = draw()
    assert changed == []
    following = draw()
    seed(3)
    draw()
    assert (following, first != following) == (draw(), True)


def test_a_folder_that_is_gone_is_not_gone_back_to(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with surroundings_restored() as changed:
        pass
    assert changed == []
    with surroundings_restored() as changed:
        os.chdir(tmp_path)
    assert changed == ["the current folder"]
