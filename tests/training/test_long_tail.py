import pytest
import torch

from lossforge.streams import derive_generator
from lossforge.training.long_tail import long_tailed


def chosen(labels, num_classes, ratio, seed=0):
    return long_tailed(labels, num_classes, ratio, derive_generator(seed, "test"))


def largest_whole_number(n, label, num_classes, ratio):
    """Return the largest k with k <= n ratio^(-label / (C - 1)), for a whole ratio, in exact arithmetic."""
    bound = n ** (num_classes - 1)
    return max(1, max(k for k in range(n + 1) if k ** (num_classes - 1) * ratio**label <= bound))


@pytest.mark.parametrize(("n", "num_classes"), [(500, 10), (500, 100), (5000, 10), (64, 7), (1000, 4), (10, 3), (3, 2)])
@pytest.mark.parametrize("ratio", [1, 2, 10, 50, 64, 100, 200, 500, 1000])
def test_counts_fall_exponentially(n, num_classes, ratio):
    labels = torch.arange(n * num_classes) % num_classes
    counts = torch.bincount(labels[chosen(labels, num_classes, float(ratio))], minlength=num_classes).tolist()
    assert counts == [largest_whole_number(n, label, num_classes, ratio) for label in range(num_classes)]
    assert counts[0] == n
    assert counts[-1] == max(1, n // ratio)


def test_counts_of_cifar_10_at_100_are_those_in_the_literature():
    labels = torch.arange(50_000) % 10
    counts = torch.bincount(labels[chosen(labels, 10, 100.0)]).tolist()
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_the_smallest_class_of_all_decides():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 60)
    assert torch.bincount(labels[chosen(labels, 3, 4.0)]).tolist() == [40, 20, 10]


def test_a_class_keeps_at_least_one_image():
    labels = torch.arange(30) % 3
    assert torch.bincount(labels[chosen(labels, 3, 1000.0)]).tolist() == [10, 1, 1]


def test_a_ratio_of_one_keeps_the_same_number_of_each():
    labels = torch.arange(30) % 3
    assert torch.equal(chosen(labels, 3, 1.0), torch.arange(30))


def test_indices_are_sorted_distinct_and_by_the_generator():
    labels = torch.arange(300) % 3
    first, again, other = chosen(labels, 3, 10.0), chosen(labels, 3, 10.0), chosen(labels, 3, 10.0, seed=1)
    assert first.tolist() == sorted(set(first.tolist()))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first[labels[first] == 2].max() > 150  # not the first ones of a class
