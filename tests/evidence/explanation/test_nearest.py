"""The nearest built-in loss."""

import math

import pytest
import torch
from torch import nn

from lossforge import losses
from lossforge.evidence.explanation.nearest import GRIDS, candidates, nearest
from lossforge.evidence.explanation.predictions import edges, synthetic
from lossforge.evidence.explanation.subject import subject


def neighbours(loss):
    return nearest(subject(loss), synthetic(10))


class Shifted(nn.Module):
    """3 GCE(q = 0.5) + 2."""

    def forward(self, logits, labels):
        p = torch.softmax(logits, 1).gather(1, labels[:, None]).squeeze(1)
        return 3 * (1 - p.sqrt()) / 0.5 + 2


def test_scale_and_offset_are_taken_away():
    first, second = neighbours(Shifted())[:2]
    assert first.label == "gce(q=0.5)"
    assert first.distance == pytest.approx(0.0, abs=1e-9)
    assert first.value_distance == pytest.approx(0.0, abs=1e-9)
    assert first.scale == pytest.approx(3.0)
    assert second.distance > 0.01


def test_a_published_loss_is_not_its_own_neighbour():
    first = neighbours("mae")[0]
    assert (first.label, first.distance) == ("rce", pytest.approx(0.0, abs=1e-9))
    assert "mae" not in {each.label for each in neighbours("mae")}


def test_the_distance_is_the_sine_of_the_angle_between_gradients_and_symmetric():
    sample = synthetic(10)
    gradients = [subject(name).gradients(sample.log_probs_NC, sample.labels_N).flatten() for name in ("focal", "brier")]
    cosine = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    there = next(each for each in neighbours("focal") if each.label == "brier")
    back = next(each for each in neighbours("brier") if each.label == "focal")
    assert there.distance == pytest.approx(math.sqrt(1 - cosine**2))
    assert back.distance == pytest.approx(there.distance)


class Opposite(nn.Module):
    def forward(self, logits, labels):
        return -nn.functional.cross_entropy(logits, labels, reduction="none")


def test_what_points_the_other_way_has_nothing_in_common():
    cross_entropy = next(each for each in neighbours(Opposite()) if each.label == "cross_entropy")
    assert (cross_entropy.distance, cross_entropy.scale) == (1.0, 0.0)


def test_every_built_in_loss_is_a_candidate_once():
    found = list(candidates())
    assert {loss.type for loss in found} == set(losses.list())
    assert len({loss.label for loss in found}) == len(found)
    assert set(GRIDS) <= set(losses.list())


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_the_predictions_are_distributions_and_always_the_same(num_classes):
    for make in (synthetic, edges):
        first, second = make(num_classes), make(num_classes)
        assert torch.equal(first.log_probs_NC, second.log_probs_NC)
        assert torch.allclose(first.log_probs_NC.exp().sum(1), torch.ones(len(first.labels_N)).double())
