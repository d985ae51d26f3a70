"""g and w against closed forms."""

import math

import pytest
import torch

from lossforge.evidence.explanation.predictions import synthetic
from lossforge.evidence.explanation.profile import Profile, profile
from lossforge.evidence.explanation.subject import subject


def profile_of(loss, num_classes=10) -> Profile:
    return profile(subject(loss, num_classes), synthetic(num_classes))


WEIGHTS = {
    "cross_entropy": lambda p: 1.0,
    "mae": lambda p: p,
    "{type: gce, q: 0.5}": lambda p: p**0.5,
    "focal": lambda p: (1 - p) ** 2 - 2 * p * (1 - p) * math.log(p),
    "{type: poly1, epsilon: 2.0}": lambda p: 1 + 2 * p,
    "taylor_ce": lambda p: p * (1 + (1 - p)),
    "label_smoothing": lambda p: (1 - 0.1 + 0.01 - p) / (1 - p),
    "baikal": lambda p: 1 / (10 * max(p, 1e-3)) + (0.1 - p) / (1 - p),
}


@pytest.mark.parametrize("loss", WEIGHTS)
def test_the_weight_is_that_of_the_formula(loss):
    found = profile_of(loss)
    expected = [WEIGHTS[loss](p) for p in found.p]
    assert found.weight[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_dominant_rival_changes_the_weight_of_a_loss_that_sees_it():
    # Brier's w with rivals r: (2 (1 - p) p + 2 p sum r^2 / (1 - p)) from dloss/dz_y = -2 p ((1 - p)^2 + sum r^2).
    found = profile_of("brier")
    uniform = [2 * p * ((1 - p) ** 2 + (1 - p) ** 2 / 9) / (1 - p) for p in found.p]
    squares = 0.81 + 8 * (0.1 / 8) ** 2
    dominant = [2 * p * (1 - p) * (1 + squares) for p in found.p]
    assert found.weight[0] == pytest.approx(uniform, rel=1e-9)
    assert found.weight[1] == pytest.approx(dominant, rel=1e-9)
    assert not found.is_local
    assert not found.has_local_weight
    assert profile_of("gce").is_local
    smoothing = profile_of("label_smoothing")
    assert (smoothing.has_local_weight, smoothing.is_local) == (True, False)


def test_the_loss_is_g():
    found = profile_of("gce")
    assert found.loss[0] == pytest.approx([(1 - p**0.7) / 0.7 for p in found.p])


def test_a_weight_below_zero_is_told_with_its_range():
    smoothing, baikal, focal = map(profile_of, ("label_smoothing", "baikal", "focal"))
    assert smoothing.draws_back
    assert not smoothing.pushes_away
    assert smoothing.negative[0][0] == pytest.approx(0.91, abs=0.02)
    assert baikal.pushes_away
    assert baikal.negative[0][0] == pytest.approx(10**-0.5, abs=0.05)
    assert focal.negative == ()


class OfClass(torch.nn.Module):
    """Cross-entropy, times the label's number plus 1."""

    def forward(self, logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none") * (1 + labels)


def test_symmetries_are_looked_at():
    assert not profile_of(OfClass()).is_equivariant
    assert profile_of("brier").is_equivariant
    assert not profile_of("squentropy").is_shift_invariant
    assert profile_of("am_softmax").is_shift_invariant


def test_wrong_signs_leave_out_what_has_vanished():
    assert profile_of("hinge").wrong_signs == 0.0
    assert profile_of("label_smoothing").wrong_signs > 0.05
