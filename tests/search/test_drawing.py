"""Batches drawn ahead: the same ones, and an error in its own generation."""

from __future__ import annotations

import threading

import pytest
import torch

from lossforge import presets
from lossforge.samplers import CurriculumSampler, MixtureSampler, MixtureWeights
from lossforge.search import Search, drawing, evaluator
from lossforge.search.drawing import DrawnAhead
from lossforge.spec import SearchSpec


def small(**options) -> SearchSpec:
    spec = presets.load("edl").search
    return spec.model_copy(update={"generations": 6, "batch_size": 64, "selection_batch_size": 64, **options})


class TestDrawnAhead:
    def source(self, fails_at: int = -1) -> tuple[DrawnAhead, list]:
        drawn: list[tuple[int, bool]] = []

        def draw(generation: int) -> str:
            drawn.append((generation, threading.current_thread() is threading.main_thread()))
            if generation == fails_at:
                raise RuntimeError(f"generation {generation}")
            return f"batch {generation}"

        return DrawnAhead(draw), drawn

    def test_what_was_begun_is_drawn_once_and_elsewhere(self):
        source, drawn = self.source()
        assert source.of(0) == "batch 0"
        source.begin(1)
        assert source.of(1) == "batch 1"
        assert drawn == [(0, True), (1, False)]

    def test_another_generation_than_was_begun(self):
        source, _ = self.source()
        source.begin(1)
        assert source.of(5) == "batch 5"
        assert source.of(1) == "batch 1"

    def test_the_same_generation_twice(self):
        source, drawn = self.source()
        source.begin(1)
        assert [source.of(1), source.of(1)] == ["batch 1", "batch 1"]
        assert [generation for generation, _ in drawn] == [1, 1]

    def test_an_error_comes_when_the_batch_is_wanted(self):
        source, _ = self.source(fails_at=2)
        source.begin(2)
        assert source.of(1) == "batch 1"
        source.begin(2)
        with pytest.raises(RuntimeError, match="generation 2"):
            source.of(2)


@pytest.mark.parametrize(
    "sampler",
    [MixtureSampler(), CurriculumSampler(start=MixtureWeights(boundary=0), end=MixtureWeights(dirichlet=0))],
    ids=["mixture", "curriculum"],
)
def test_a_search_comes_to_the_same(sampler, monkeypatch):
    """With one thread, in which nothing is drawn ahead, and with two."""
    histories, begun = [], []
    begin = DrawnAhead.begin
    monkeypatch.setattr(
        DrawnAhead, "begin", lambda self, generation: (begun.append(generation), begin(self, generation))
    )
    for num_threads in (1, 2):
        monkeypatch.setattr(evaluator, "usable_threads", lambda num_threads=num_threads: num_threads)
        search = Search(small(sampler=sampler), seed=0)
        histories.append([search.step() for _ in range(6)])
        assert begun == ([] if num_threads == 1 else [1, 2, 3, 4, 5])  # of none that will not come
    assert histories[0] == histories[1]


def test_on_a_gpu_nothing_is_drawn_by_another_thread(monkeypatch):
    """There the queue does it."""
    monkeypatch.setattr("lossforge.devices.is_queued", lambda device: True)
    monkeypatch.setattr(evaluator, "usable_threads", lambda: 2)
    monkeypatch.setattr(DrawnAhead, "begin", lambda *_: pytest.fail("drawn ahead"))
    Search(small(), seed=0).step()


def test_the_threads_of_torch_are_left_alone(monkeypatch):
    monkeypatch.setattr(evaluator, "usable_threads", lambda: 2)
    before = torch.get_num_threads()
    search = Search(small(), seed=0)
    search.step()
    search.step()
    assert torch.get_num_threads() == before
    assert drawing._executor._max_workers == 1
