"""Named random streams."""

from __future__ import annotations

import itertools

import pytest
import torch

from lossforge.streams import derive_generator


def draw(seed: int, stream: str, index: int = 0) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=derive_generator(seed, stream, index)).tolist())


def test_a_stream_is_a_pure_function_of_seed_name_and_index():
    torch.manual_seed(1)
    first = draw(3, "sampler", 7)
    torch.manual_seed(2)
    assert draw(3, "sampler", 7) == first


def test_streams_differ_in_seed_name_and_index():
    keys = list(itertools.product((0, 1, 11), ("sampler", "objective", "selection.sampler"), (0, 1, 10)))
    assert len({draw(*key) for key in keys}) == len(keys)


def test_digits_of_seed_and_index_do_not_run_together():
    assert len({draw(1, "s", 11), draw(11, "s", 1), draw(1, "s1", 1), draw(1, "s/1", 1)}) == 4


def test_the_index_is_zero_by_default():
    assert draw(5, "gates") == draw(5, "gates", 0)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(0, "sampler")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_whole_range_of_seeds_works(seed):
    generator = derive_generator(seed, "sampler")
    assert generator.device == torch.device("cpu")
    assert 0 <= generator.initial_seed() < 2**63


def test_uniform_over_many_streams():
    """First draws of many streams are uniform: their mean and variance match 1/2 and 1/12."""
    values = torch.stack([torch.rand((), generator=derive_generator(0, "s", index)) for index in range(2000)])
    assert values.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / 2000) ** 0.5)
    assert values.var().item() == pytest.approx(1 / 12, rel=0.1)


def test_known_value():
    """Streams are part of what makes runs repeatable: a change here changes every result."""
    # printf '42/sampler/3' | sha256sum: the first 16 hexadecimal digits, halved.
    assert derive_generator(42, "sampler", 3).initial_seed() == 1511581167844648915
