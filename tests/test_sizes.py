"""Sizes that no memory holds, in words."""

from __future__ import annotations

import pytest
import torch

from lossforge import sizes
from lossforge.errors import LossforgeError, NotEnoughMemoryError, SpecError
from lossforge.sizes import refuse_beyond_memory, told_by_size
from lossforge.spec import SearchSpec, StopSpec

SPEC = {
    "parameterization": {"type": "polyloss", "degree": 10},
    "sampler": "mixture",
    "objective": "ranking_consistency",
    "strategy": {"type": "cma_es", "population_size": 50},
    "batch_size": 20,
    "selection_batch_size": 30,
}


def spec(**options) -> SearchSpec:
    return SearchSpec.model_validate({**SPEC, **options})


def problems(memory: int | None, monkeypatch, **options) -> tuple[str, ...]:
    monkeypatch.setattr(sizes, "physical_memory", lambda: memory)
    try:
        refuse_beyond_memory(spec(**options))
    except SpecError as error:
        return error.problems
    return ()


def test_a_population_and_a_batch_need_no_less_than_their_numbers(monkeypatch):
    population, batch = 4 * 50 * 10, 30 * (4 * 10 + 16)
    assert problems(population, monkeypatch) == problems(None, monkeypatch) == ()
    (told,) = problems(population - 1, monkeypatch)
    assert told.startswith("search: 50 candidates of 10 numbers take 0.0 GB, but this machine has 0.0 GB; lower ")
    assert "30 pairs of 10 classes" in problems(batch - 1, monkeypatch)[1]
    assert len(problems(0, monkeypatch)) == 3


def test_the_population_is_that_of_the_last_search_unless_the_run_may_end_before(monkeypatch):
    growing = {"restarts": 4, "population_growth": 10.0}
    (told,) = problems(4 * 50_000 * 10 - 1, monkeypatch, **growing)
    assert "50,000 candidates" in told
    assert "search.restarts, search.population_growth" in told
    assert problems(4 * 50_000 * 10, monkeypatch, **growing) == ()
    assert problems(4 * 50 * 10, monkeypatch, **growing, stop=StopSpec(evaluations=60)) == ()


def test_this_machine_has_memory():
    assert sizes.physical_memory() is None or sizes.physical_memory() > 2**28
    refuse_beyond_memory(spec())


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (MemoryError(), "not enough; lower"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0"), "enough, 20.00 GiB were"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2500000000 bytes"), "2.5 GB"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000000 bytes."), "4.0 TB"),
    ],
)
def test_a_failed_allocation_is_told_by_the_largest_sizes(error, amount):
    with pytest.raises(NotEnoughMemoryError) as caught, told_by_size(spec(generations=10**6), "search"):
        raise error
    assert caught.value.__cause__ is error
    assert amount in str(caught.value)
    assert str(caught.value).endswith(
        "search.strategy.population_size (50), search.selection_batch_size (30), search.batch_size (20)"
    )


@pytest.mark.parametrize("shape", [(2**62,), (2**40, 2**40), (2**62, 2**62)])
def test_what_torch_says_of_sizes_beyond_any_memory(shape):
    with pytest.raises(NotEnoughMemoryError), told_by_size(spec(), "search"):
        torch.empty(shape)


def test_the_outer_place_has_the_say():
    with (
        pytest.raises(
            NotEnoughMemoryError, match=r"^search: memory is not enough, 7.0 GB were asked for at once; .*50"
        ),
        told_by_size(spec(), "search"),
        told_by_size(StopSpec(), "training"),
    ):
        raise RuntimeError("can't allocate memory: you tried to allocate 7000000000 bytes")


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError(), SpecError(["x"]), OSError("disk")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, told_by_size(spec(), "search"):
        raise error
    assert caught.value is error


def test_it_is_an_error_of_ours_and_of_memory():
    assert issubclass(NotEnoughMemoryError, LossforgeError)
    assert issubclass(NotEnoughMemoryError, MemoryError)
    assert NotEnoughMemoryError.exit_code == 1
