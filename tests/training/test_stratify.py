import pytest
import torch

from lossforge.streams import derive_generator
from lossforge.training.stratify import stratified_subset


def generator(seed=0):
    return derive_generator(seed, "test")


def test_each_class_gets_its_share():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    chosen = stratified_subset(labels, 10, generator())
    assert torch.bincount(labels[chosen]).tolist() == [5, 3, 2]


def test_what_rounding_leaves_goes_to_the_largest_remainders_then_the_lower_labels():
    labels = torch.tensor([0] * 4 + [1] * 5 + [2] * 4)
    # Shares of 5: 20/13, 25/13, 20/13; rounded down 1 each; 2 left, for label 1 (12/13), then label 0.
    assert torch.bincount(labels[stratified_subset(labels, 5, generator())]).tolist() == [2, 2, 1]


@pytest.mark.parametrize("num", [0, 1, 7, 99, 100])
def test_gives_distinct_sorted_indices_of_the_number_asked_for(num):
    labels = torch.randint(0, 7, (100,), generator=generator())
    chosen = stratified_subset(labels, num, generator())
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == num


def test_depends_on_the_generator_alone():
    labels = torch.arange(100) % 3
    first, again = stratified_subset(labels, 30, generator()), stratified_subset(labels, 30, generator())
    other = stratified_subset(labels, 30, generator(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_label_nobody_has_gets_nothing():
    labels = torch.tensor([0, 0, 2, 2])
    assert labels[stratified_subset(labels, 2, generator())].tolist() == [0, 2]


@pytest.mark.parametrize("num", [-1, 5])
def test_refuses_what_cannot_be_drawn(num):
    with pytest.raises(ValueError, match=f"cannot draw {num} of 4"):
        stratified_subset(torch.zeros(4, dtype=torch.int64), num, generator())
