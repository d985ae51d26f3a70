"""Slopes, curvatures, and the field."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lossforge.errors import PluginLoadError
from lossforge.evidence.explanation.bounds import bounds
from lossforge.evidence.explanation.field import SHARE_OF_OTHERS, field
from lossforge.evidence.explanation.predictions import edges, joined, synthetic
from lossforge.evidence.explanation.subject import subject


def bounds_of(loss, num_classes=10):
    return bounds(subject(loss, num_classes), joined(synthetic(num_classes), edges(num_classes)))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_cross_entropy_has_its_known_bounds(num_classes):
    found = bounds_of("cross_entropy", num_classes)
    assert math.sqrt(2) - 1e-4 < found.slope.value <= math.sqrt(2)
    assert found.curvature.value == pytest.approx(0.5, abs=1e-6)
    assert found.curvature.p[:2] == pytest.approx((0.5, 0.5), abs=1e-5)
    assert found.least_curvature.value == pytest.approx(0.0, abs=1e-12)
    assert found.is_convex


def test_the_mean_absolute_error_is_steepest_between_two_classes():
    # |dloss/dz| = p |p - onehot| = sqrt(2) p (1 - p), at most sqrt(2) / 4; curvature p (1 - p) |1 - 2 p| times 2.
    found = bounds_of("mae")
    assert found.slope.value == pytest.approx(math.sqrt(2) / 4, abs=1e-5)
    assert found.curvature.value == pytest.approx(2 * max(p * (1 - p) * (1 - 2 * p) for p in (0.2113, 0.2)), rel=0.2)
    assert found.is_convex is False


@pytest.mark.parametrize("loss", ["brier", "nce", "gce"])
def test_eigenvalues_are_those_of_torch(loss):
    about, sample = subject(loss, 4), joined(synthetic(4))
    found = bounds(about, sample)
    extremes = []
    for z, y in zip(sample.log_probs_NC[:40], sample.labels_N[:40], strict=True):
        hessian = torch.autograd.functional.hessian(lambda v, y=y: about.losses(v[None], y[None])[0], z)
        extremes.append(torch.linalg.eigvalsh(hessian))
    assert found.curvature.value >= float(torch.stack(extremes).max()) - 1e-9
    assert found.least_curvature.value <= float(torch.stack(extremes).min()) + 1e-9


def test_a_loss_of_flat_pieces_has_no_curvature():
    found = bounds_of("hinge")
    assert (found.curvature.value, found.least_curvature.value, found.is_convex) == (0.0, 0.0, True)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class OnceDifferentiable(nn.Module):
    def forward(self, logits, labels):
        return Once.apply(F.cross_entropy(logits, labels, reduction="none"))


def test_a_loss_without_a_second_derivative_says_so():
    found = bounds_of(OnceDifferentiable())
    assert (found.curvature, found.least_curvature, found.is_convex) == (None, None, None)
    assert found.slope.value > 1


class Naive(nn.Module):
    """-log p where p is above 1e-3, and infinite elsewhere."""

    def forward(self, logits, labels):
        p = torch.softmax(logits, 1).gather(1, labels[:, None]).squeeze(1)
        return -torch.log(torch.relu(p - 1e-3))


class Nowhere(nn.Module):
    """Finite between equal classes alone."""

    def forward(self, logits, labels):
        value = F.cross_entropy(logits, labels, reduction="none")
        return value + torch.where(logits.abs().amax(1) <= 1, 0.0, torch.nan)


class Detached(nn.Module):
    """Focal loss whose factor is not differentiated."""

    def forward(self, logits, labels):
        value = F.cross_entropy(logits, labels, reduction="none")
        return (1 - torch.exp(-value)).detach() ** 2 * value


def test_what_is_not_finite_is_left_out_and_counted():
    found = bounds_of(Naive())
    assert 0 < found.num_not_finite < found.num_predictions
    assert math.isfinite(found.slope.value)
    with pytest.raises(PluginLoadError, match="finite at none"):
        bounds_of(Nowhere())


def test_a_gradient_that_is_not_that_of_the_value_is_told():
    assert bounds_of(Detached()).has_true_gradient is False
    assert bounds_of("focal").has_true_gradient
    assert bounds_of(OnceDifferentiable()).has_true_gradient


def test_the_field_of_cross_entropy_is_p_minus_one_hot():
    found = field(subject("cross_entropy"))
    assert found.num_classes == 3
    assert found.scale == pytest.approx(1.0)
    for p, gradient, reference in zip(found.p, found.gradient, found.reference, strict=True):
        assert sum(p) == pytest.approx(1.0)
        assert gradient == pytest.approx((p[0] - 1, p[1], p[2]))
        assert reference == pytest.approx(gradient)


def test_a_loss_for_more_classes_shows_a_face_of_its_simplex():
    weighted = nn.CrossEntropyLoss(weight=torch.full((5,), 2.0))
    found = field(subject(weighted))
    assert found.num_classes == 5
    assert all(sum(p) == pytest.approx(1 - SHARE_OF_OTHERS) for p in found.p)
    assert found.scale == pytest.approx(0.5)
    assert field(subject(nn.CrossEntropyLoss(weight=torch.ones(2)))) is None
