"""Published losses as modules: what they cost, their ends, their options, and those that are refused."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lossforge import losses, registry
from lossforge.interfaces import ClasswiseLoss, LocalLoss, Loss
from lossforge.losses import FixedLoss
from lossforge.losses.apl import APL
from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal
from lossforge.losses.gce import GCE
from lossforge.losses.nce import NCE
from lossforge.losses.poly1 import Poly1
from lossforge.losses.polyloss import PolyLoss
from lossforge.losses.rce import RCE
from lossforge.losses.sce import SCE
from lossforge.losses.sparse_lsr import SparseLSR


class RowByRow(Loss):
    """Cross-entropy that knows one class at a time."""

    type: str = "row_by_row"

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        return -torch.log_softmax(logits_BC, 1).gather(1, labels_B[:, None]).squeeze(1)


def make_rows(num: int = 32, num_classes: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_BC = 3 * torch.randn(num, num_classes, generator=generator)
    return logits_BC, torch.randint(num_classes, (num,), generator=generator)


def test_every_loss_of_lossforge_knows_all_classes_at_once(installed):
    assert isinstance(installed, ClasswiseLoss)


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the elements of the largest tensor that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple | list) else (result,)
        self.numel = max([self.numel, *(part.numel() for part in parts if isinstance(part, Tensor))])
        return result


def test_soft_targets_cost_no_more_than_all_logits(installed):
    """No tensor of C^2 elements a row: all classes cost about what one does."""
    logits_BC, labels_B = make_rows(4, 100)
    with LargestTensor() as largest:
        FixedLoss(installed, label_smoothing=0.1)(logits_BC, labels_B)
        FixedLoss(installed)(logits_BC, torch.softmax(logits_BC, 1))
    assert largest.numel <= 4 * 100


@pytest.mark.parametrize(
    "loss", [RowByRow(), APL(active=RowByRow(), passive=RowByRow(), beta=0.0)], ids=lambda each: each.type
)
def test_a_loss_that_knows_one_class_at_a_time(loss):
    logits_BC, labels_B = make_rows()
    for target in (labels_B, torch.softmax(logits_BC, 1)):
        for smoothing in (0.0, 0.1):
            torch.testing.assert_close(
                FixedLoss(loss, label_smoothing=smoothing)(logits_BC, target),
                FixedLoss(CrossEntropy(), label_smoothing=smoothing)(logits_BC, target),
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_from_impossible_to_certain(local, dtype):
    log_prob = torch.tensor([-2e4, -math.log(1e30), -1.0, -1e-3, -6e-8, -1e-20, -1e-30, -1e-37, 0.0], dtype=dtype)
    log_prob.requires_grad_()
    value = local.of_log_prob(log_prob)
    (gradient,) = torch.autograd.grad(value.sum(), log_prob)
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert value[-1] == 0
    assert gradient.isfinite().all()
    assert (gradient <= 0).all()


@pytest.mark.parametrize(("gamma", "slope"), [(0.0, 1.0), (0.1, 0.0), (0.5, 0.0), (1.0, 0.0), (2.0, 0.0)])
def test_focal_at_certainty(gamma, slope):
    log_prob = torch.zeros((), requires_grad=True)
    value = Focal(gamma=gamma).of_log_prob(log_prob)
    value.backward()
    assert value == 0
    assert -log_prob.grad == slope


def test_small_probabilities_keep_their_gradient():
    logits_BC = torch.tensor([[0.0, 69.0]], requires_grad=True)  # p_y is about 1e-30
    for loss, w in (
        (CrossEntropy(), 1.0),
        (Focal(), 1.0),
        (Poly1(), 1.0),
        (PolyLoss(coefficients=(3.0, -1.0)), 1.0),
        (SCE(), 0.1),
        (SparseLSR(smoothing=0.1), 0.95),
        (GCE(q=0.1), math.exp(-6.9)),
    ):
        (gradient_BC,) = torch.autograd.grad(loss.per_sample(logits_BC, torch.tensor([0])).sum(), logits_BC)
        torch.testing.assert_close(gradient_BC, torch.tensor([[-w, w]]))


def test_sure_predictions_keep_their_loss():
    """Where 1 - p_y in float32 is 0, and its square further off."""
    logits_BC, error = torch.tensor([[30.0, 0.0, 0.0]]), 2 * math.exp(-30)
    for name, options, expected in (
        ("am_softmax", {"scale": 1.0, "margin": 0.0}, error),
        ("brier", {}, 1.5 * error**2),
        ("smooth_zero_one", {}, error / 2),
    ):
        value = losses.get(name, **options)(logits_BC, torch.tensor([0]))
        torch.testing.assert_close(value.item(), expected, rtol=1e-4, atol=0.0)


def test_sure_predictions_keep_their_gradient():
    """1 - p_y, which float32 rounds to 0, is that of the rivals."""
    logits_BC = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    error = 2 * math.exp(-30)
    for name, options, slope in (
        ("am_softmax", {"scale": 1.0, "margin": 0.0}, -error),
        ("sparse_lsr", {"smoothing": 0.3}, 0.2),
        ("smooth_zero_one", {}, -error / 2),
    ):
        loss = losses.get(name, **options)
        (gradient_BC,) = torch.autograd.grad(loss(logits_BC, torch.tensor([0])), logits_BC)
        torch.testing.assert_close(gradient_BC[0, 0].item(), slope, rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("name", losses.list())
def test_defaults_have_the_bare_name(name):
    component = registry.get("losses", name)
    assert component().label == name
    with pytest.raises(ValidationError, match="type"):
        component(type="another")


def test_equal_losses_have_equal_hashes(installed):
    assert hash(installed) == hash(type(installed).model_validate_json(installed.model_dump_json()))


def test_apl_takes_losses_by_name():
    assert APL() == APL(active=NCE(), passive=RCE())
    loss = losses.get("apl", active={"type": "nfl", "gamma": 2.0}, passive="mae", alpha=0.5)
    assert loss.component.label == "apl(active=nfl(gamma=2.0), passive=mae, alpha=0.5)"


REFUSED = [
    ("am_softmax", {"scale": 0.0}, "scale"),
    ("am_softmax", {"margin": -0.1}, "margin"),
    ("apl", {"alpha": -1.0}, "alpha"),
    ("apl", {"alpha": 0.0, "beta": 0.0}, "alpha and beta are both 0"),
    ("apl", {"active": "nc"}, "unknown type 'nc' .did you mean 'nce'"),
    ("apl", {"passive": {"type": "gce", "q": 2.0}}, "less than or equal to 1"),
    ("baikal", {"epsilon": 0.0}, "epsilon"),
    ("baikal", {"epsilon": 1.0}, "epsilon"),
    ("barron", {"alpha": 2.1}, "alpha"),
    ("barron", {"alpha": -1e7}, "alpha"),
    ("barron", {"alpha": -math.inf}, "alpha"),
    ("barron", {"alpha": "inf"}, "alpha"),
    ("barron", {"c": 0.0}, "c\n"),
    ("focal", {"gamma": -0.1}, "gamma"),
    ("focal", {"gamma": math.nan}, "gamma"),
    ("gce", {"q": 0.0}, "q\n"),
    ("gce", {"q": 1.1}, "q\n"),
    ("hinge", {"form": "squared"}, "'crammer_singer', 'weston_watkins' or 'linear'"),
    ("hinge", {"margin": -1.0}, "margin"),
    ("label_smoothing", {"smoothing": 1.5}, "smoothing"),
    ("nfl", {"gamma": -0.1}, "gamma"),
    ("poly1", {"epsilon": -1.5}, "epsilon"),
    ("polyloss", {"coefficients": ()}, "coefficients"),
    ("polyloss", {"coefficients": (math.inf,)}, "coefficients"),
    ("polyloss", {"coefficients": (0.0, 0.0), "cross_entropy": False}, "the loss would be 0"),
    ("polyloss", {"coefficients": (-1.01,)}, r"negative \(-0.01 at p = 1\)"),
    ("polyloss", {"coefficients": (0.0, -6.0)}, r"negative \(-2 at p = 0.5\)"),
    ("polyloss", {"coefficients": (1.0, -0.51), "cross_entropy": False}, r"negative \(-0.02 at p = 0\)"),
    ("rce", {"log_zero": 0.0}, "log_zero"),
    ("sce", {"beta": -1.0}, "beta"),
    ("sce", {"alpha": 0.0, "beta": 0.0}, "alpha and beta are both 0"),
    ("smooth_zero_one", {"sharpness": 0.0}, "sharpness"),
    ("sparse_lsr", {"smoothing": -0.1}, "smoothing"),
    ("taylor_ce", {"order": 0}, "order"),
    ("taylor_ce", {"order": 2.0}, "order"),
]


@pytest.mark.parametrize(
    ("name", "options", "message"), REFUSED, ids=lambda case: str(case) if isinstance(case, dict) else ""
)
def test_refused_options(name, options, message):
    with pytest.raises(ValidationError, match=message):
        losses.get(name, **options)


@pytest.mark.parametrize(
    ("coefficients", "cross_entropy"),
    [
        ((-1.0,), True),  # w(p) = 1 - p
        ((0.0, -2.0), True),  # 1 - 4 p (1 - p), 0 at p = 1/2
        ((-1.0, -1 / 2, -1 / 3, -1 / 4), True),  # the rest of the series
        ((1.0, -0.5), False),  # p^2
        ((0.25, -0.5, 1 / 3), False),  # p (1/2 - p)^2
    ],
)
def test_polynomials_whose_weight_touches_zero(coefficients, cross_entropy):
    loss = PolyLoss(coefficients=coefficients, cross_entropy=cross_entropy)
    log_prob = torch.linspace(-8.0, 0.0, 500, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss.of_log_prob(log_prob).sum(), log_prob)
    assert -1e-4 < slope.max() < 1e-12


def test_which_losses_are_local(installed):
    local = {"barron", "cross_entropy", "focal", "gce", "mae", "poly1", "polyloss", "rce", "sce", "taylor_ce"}
    assert isinstance(installed, LocalLoss) == (installed.type in local)
