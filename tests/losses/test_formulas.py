"""The published formulas, rewritten in Python numbers; what torch has of its own; and what one loss is of another."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lossforge import registry
from lossforge.losses import FixedLoss
from lossforge.losses.am_softmax import AMSoftmax
from lossforge.losses.apl import APL
from lossforge.losses.baikal import Baikal
from lossforge.losses.barron import Barron
from lossforge.losses.brier import Brier
from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal
from lossforge.losses.gce import GCE
from lossforge.losses.hinge import Hinge
from lossforge.losses.label_smoothing import LabelSmoothing
from lossforge.losses.mae import MAE
from lossforge.losses.nce import NCE
from lossforge.losses.nfl import NFL
from lossforge.losses.poly1 import Poly1
from lossforge.losses.polyloss import PolyLoss
from lossforge.losses.rce import RCE
from lossforge.losses.sce import SCE
from lossforge.losses.smooth_zero_one import SmoothZeroOne
from lossforge.losses.sparse_lsr import SparseLSR
from lossforge.losses.squentropy import Squentropy
from lossforge.losses.taylor_ce import TaylorCE


def draw(num: int = 32, num_classes: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_classes)
    logits_BC = 3 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    return logits_BC.to(dtype), torch.randint(num_classes, (num,), generator=generator)


def softmax(z: list[float]) -> list[float]:
    parts = [math.exp(each) for each in z]
    return [part / math.fsum(parts) for part in parts]


def without(values: list[float], y: int) -> list[float]:
    return values[:y] + values[y + 1 :]


def polynomial(p, y, coefficients, cross_entropy):
    value = sum(a * (1 - p[y]) ** j for j, a in enumerate(coefficients, 1))
    return value - math.log(p[y]) if cross_entropy else value


def focal(p, gamma):
    return -((1 - p) ** gamma) * math.log(p)


def rho(x, alpha, c):
    if alpha == "-inf":
        return 1 - math.exp(-((x / c) ** 2) / 2)
    if alpha == 2:
        return (x / c) ** 2 / 2
    if alpha == 0:
        return math.log((x / c) ** 2 / 2 + 1)
    return abs(alpha - 2) / alpha * (((x / c) ** 2 / abs(alpha - 2) + 1) ** (alpha / 2) - 1)


def hinge(z, y, form, margin):
    behind = [margin + each - z[y] for each in without(z, y)]
    if form == "linear":
        return math.fsum(behind) / len(behind)
    return max(0.0, *behind) if form == "crammer_singer" else math.fsum(max(0.0, each) for each in behind)


def cross_entropy(z, y):
    return -math.log(softmax(z)[y])


def inverse(p, epsilon):
    return 1 / p if p >= epsilon else 1 / epsilon + (math.log(epsilon) - math.log(p)) / epsilon


def smoothed(p, y, smoothing):
    q = [(1 - smoothing) * (k == y) + smoothing / len(p) for k in range(len(p))]
    return -math.fsum(share * math.log(each) for share, each in zip(q, p, strict=True))


def sparse(p, y, x):
    num = len(p)
    return -(1 - x + x / num) * math.log(p[y]) - x * (num - 1) / num * math.log((1 - p[y]) / (num - 1))


FORMULAS = {
    AMSoftmax: lambda o, z, p, y: cross_entropy(
        [o.scale * (each - o.margin * (k == y)) for k, each in enumerate(z)], y
    ),
    APL: lambda o, z, p, y: (
        o.alpha * FORMULAS[type(o.active)](o.active, z, p, y) + o.beta * FORMULAS[type(o.passive)](o.passive, z, p, y)
    ),
    Baikal: lambda o, z, p, y: (inverse(p[y], o.epsilon) - math.fsum(map(math.log, p))) / len(p),
    Barron: lambda o, z, p, y: rho(1 - p[y], o.alpha, o.c),
    Brier: lambda o, z, p, y: math.fsum((each - (k == y)) ** 2 for k, each in enumerate(p)),
    CrossEntropy: lambda o, z, p, y: -math.log(p[y]),
    Focal: lambda o, z, p, y: focal(p[y], o.gamma),
    GCE: lambda o, z, p, y: (1 - p[y] ** o.q) / o.q,
    Hinge: lambda o, z, p, y: hinge(z, y, o.form, o.margin),
    LabelSmoothing: lambda o, z, p, y: smoothed(p, y, o.smoothing),
    MAE: lambda o, z, p, y: 1 - p[y],
    NCE: lambda o, z, p, y: math.log(p[y]) / math.fsum(map(math.log, p)),
    NFL: lambda o, z, p, y: focal(p[y], o.gamma) / math.fsum(focal(each, o.gamma) for each in p),
    Poly1: lambda o, z, p, y: polynomial(p, y, (o.epsilon,), True),
    PolyLoss: lambda o, z, p, y: polynomial(p, y, o.coefficients, o.cross_entropy),
    RCE: lambda o, z, p, y: -math.fsum(each * (0.0 if k == y else o.log_zero) for k, each in enumerate(p)),
    SCE: lambda o, z, p, y: -o.alpha * math.log(p[y]) - o.beta * o.log_zero * (1 - p[y]),
    SmoothZeroOne: lambda o, z, p, y: 1 / (1 + math.exp(o.sharpness * (z[y] - max(without(z, y))))),
    SparseLSR: lambda o, z, p, y: sparse(p, y, o.smoothing),
    Squentropy: lambda o, z, p, y: -math.log(p[y]) + math.fsum(each**2 for each in without(z, y)) / (len(z) - 1),
    TaylorCE: lambda o, z, p, y: math.fsum((1 - p[y]) ** j / j for j in range(1, o.order + 1)),
}


def test_there_is_a_formula_for_every_loss_of_lossforge():
    own = {offer.type for offer in registry.offers("losses") if offer.distribution == "lossforge"}
    assert {component.model_fields["type"].default for component in FORMULAS} == own


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_values_are_the_formulas(installed, num_classes):
    if type(installed) not in FORMULAS:
        pytest.fail(f"write the formula of {installed.type} down")
    logits_BC, labels_B = draw(num_classes=num_classes)
    expected_BC = torch.tensor(
        [
            [FORMULAS[type(installed)](installed, row, softmax(row), k) for k in range(num_classes)]
            for row in logits_BC.tolist()
        ],
        dtype=torch.float64,
    )
    # GCE with q = 1e-6 divides what rounding leaves of 1 - p^q by q.
    torch.testing.assert_close(FixedLoss(installed).per_class(logits_BC), expected_BC, rtol=1e-9, atol=1e-9)
    expected_B = expected_BC.gather(1, labels_B[:, None]).squeeze(1)
    torch.testing.assert_close(installed.per_sample(logits_BC, labels_B), expected_B, rtol=1e-9, atol=1e-9)


TORCHS = {
    CrossEntropy(): lambda z, y: F.cross_entropy(z, y, reduction="none"),
    LabelSmoothing(smoothing=0.1): lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
    LabelSmoothing(smoothing=1.0): lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=1.0),
    Brier(): lambda z, y: F.mse_loss(z.softmax(1), F.one_hot(y, z.shape[1]).to(z.dtype), reduction="none").sum(1),
    MAE(): lambda z, y: F.l1_loss(z.softmax(1), F.one_hot(y, z.shape[1]).to(z.dtype), reduction="none").sum(1) / 2,
    Hinge(form="weston_watkins"): lambda z, y: z.shape[1] * F.multi_margin_loss(z, y, reduction="none"),
    Hinge(form="weston_watkins", margin=2.5): lambda z, y: (
        z.shape[1] * F.multi_margin_loss(z, y, margin=2.5, reduction="none")
    ),
    AMSoftmax(scale=2.0, margin=0.2): lambda z, y: F.cross_entropy(
        2.0 * (z - 0.2 * F.one_hot(y, z.shape[1])), y, reduction="none"
    ),
    NCE(): lambda z, y: (
        F.cross_entropy(z, y, reduction="none")
        / sum(F.cross_entropy(z, torch.full_like(y, k), reduction="none") for k in range(z.shape[1]))
    ),
}


@pytest.mark.parametrize("loss", TORCHS, ids=lambda loss: loss.label)
@pytest.mark.parametrize("num_classes", [2, 7, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_torchs(loss, num_classes, dtype):
    logits_BC, labels_B = draw(num_classes=num_classes, dtype=dtype)
    found = []
    for function in (loss.per_sample, TORCHS[loss]):
        leaf_BC = logits_BC.clone().requires_grad_()
        loss_B = function(leaf_BC, labels_B)
        found.append((loss_B, *torch.autograd.grad(loss_B.sum(), leaf_BC)))
    torch.testing.assert_close(*found, rtol=1e-6, atol=2e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torchs(smoothing):
    logits_BC, labels_B = draw(dtype=torch.float32)
    for loss in (FixedLoss(LabelSmoothing(smoothing=smoothing)), FixedLoss(CrossEntropy(), label_smoothing=smoothing)):
        torch.testing.assert_close(
            loss(logits_BC, labels_B), torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits_BC, labels_B)
        )


def scaled(factor, loss, power=1):
    return lambda z, y: factor * loss.per_sample(z, y) ** power


def total(*parts):
    return lambda z, y: sum(part(z, y) for part in parts)


def same(loss):
    return scaled(1, loss)


IDENTITIES = {
    "Poly-1, epsilon 0": (Poly1(epsilon=0.0), same(CrossEntropy())),
    "PolyLoss, coefficient 0": (PolyLoss(coefficients=(0.0,)), same(CrossEntropy())),
    "PolyLoss, one coefficient": (PolyLoss(coefficients=(2.5,)), same(Poly1(epsilon=2.5))),
    "PolyLoss, alone": (PolyLoss(coefficients=(1.0,), cross_entropy=False), same(MAE())),
    "PolyLoss, Taylor": (PolyLoss(coefficients=(1.0, 1 / 2, 1 / 3), cross_entropy=False), same(TaylorCE(order=3))),
    "PolyLoss, three perturbed": (
        PolyLoss(coefficients=(-1.0, -0.5, 3.0)),
        total(same(CrossEntropy()), scaled(-1, TaylorCE(order=2)), scaled(3, MAE(), power=3)),
    ),
    "Taylor, order 1": (TaylorCE(order=1), same(MAE())),
    "focal, gamma 0": (Focal(gamma=0.0), same(CrossEntropy())),
    "GCE, q 1": (GCE(q=1.0), same(MAE())),
    "RCE, log 0 = -1": (RCE(log_zero=-1.0), same(MAE())),
    "RCE": (RCE(), scaled(math.log(1e4), MAE())),
    "SCE": (SCE(), total(scaled(0.1, CrossEntropy()), same(RCE()))),
    "SCE, options": (
        SCE(alpha=6.0, beta=0.1, log_zero=-4.0),
        total(scaled(6.0, CrossEntropy()), scaled(0.1, RCE(log_zero=-4.0))),
    ),
    "SCE, beta 0": (SCE(alpha=1.0, beta=0.0), same(CrossEntropy())),
    "NFL, gamma 0": (NFL(gamma=0.0), same(NCE())),
    "APL": (APL(), total(same(NCE()), same(RCE()))),
    "APL, options": (
        APL(active=NFL(gamma=2.0), passive=MAE(), alpha=0.5, beta=3.0),
        total(scaled(0.5, NFL(gamma=2.0)), scaled(3.0, MAE())),
    ),
    "APL, SCE": (APL(active=CrossEntropy(), alpha=0.1), same(SCE())),
    "label smoothing 0": (LabelSmoothing(smoothing=0.0), same(CrossEntropy())),
    "sparse smoothing 0": (SparseLSR(smoothing=0.0), same(CrossEntropy())),
    "AM-Softmax, no margin": (AMSoftmax(scale=1.0, margin=0.0), same(CrossEntropy())),
    "Barron, square": (Barron(alpha=2.0, c=0.5), scaled(2.0, MAE(), power=2)),
}
OF_TWO_CLASSES = {
    "smooth 0-1": (SmoothZeroOne(sharpness=1.0), same(MAE())),
    "sparse smoothing": (SparseLSR(smoothing=0.3), same(LabelSmoothing(smoothing=0.3))),
    "hinges": (Hinge(), same(Hinge(form="weston_watkins"))),
    "Brier": (Brier(), scaled(2.0, MAE(), power=2)),
}


def assert_same(function, expected, num_classes, tolerance):
    found = []
    for each in (function, expected):
        logits_BC, labels_B = draw(num_classes=num_classes)
        logits_BC.requires_grad_()
        loss_B = each(logits_BC, labels_B)
        found.append((loss_B, *torch.autograd.grad(loss_B.sum(), logits_BC)))
    torch.testing.assert_close(*found, rtol=tolerance, atol=1e-14)


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("num_classes", [2, 7])
def test_one_is_the_other(name, num_classes):
    loss, expected = IDENTITIES[name]
    assert_same(loss.per_sample, expected, num_classes, 1e-11)


@pytest.mark.parametrize("name", OF_TWO_CLASSES)
def test_with_two_classes_one_is_the_other(name):
    loss, expected = OF_TWO_CLASSES[name]
    assert_same(loss.per_sample, expected, 2, 1e-11)


@pytest.mark.parametrize(
    ("loss", "limit", "tolerance"),
    [
        (GCE(q=1e-9), CrossEntropy(), 1e-6),
        (NFL(gamma=1e-9), NCE(), 1e-6),
        (SparseLSR(smoothing=1e-9), CrossEntropy(), 1e-6),
        (LabelSmoothing(smoothing=1e-9), CrossEntropy(), 1e-6),
    ],
    ids=lambda case: getattr(case, "label", ""),
)
def test_limits(loss, limit, tolerance):
    logits_BC, labels_B = draw()
    torch.testing.assert_close(
        loss.per_sample(logits_BC, labels_B), limit.per_sample(logits_BC, labels_B), rtol=tolerance, atol=1e-7
    )


def test_taylor_approaches_cross_entropy_from_below():
    """The rest of the series is below (1 - p)^(N + 1) / ((N + 1) p)."""
    log_prob = torch.linspace(-3.0, -0.01, 40, dtype=torch.float64)
    p = log_prob.exp()
    for order in (1, 5, 50, 400):
        rest = -log_prob - TaylorCE(order=order).of_log_prob(log_prob)
        assert (rest > -1e-13).all()
        assert (rest <= (1 - p) ** (order + 1) / ((order + 1) * p) + 1e-13).all()
    assert rest.max() < 1e-8


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize(
    ("loss", "sum_over_labels"),
    [
        (MAE(), lambda num: num - 1),
        (RCE(), lambda num: math.log(1e4) * (num - 1)),
        (NCE(), lambda num: 1),
        (NFL(), lambda num: 1),
        (NFL(gamma=3.0), lambda num: 1),
        (APL(), lambda num: 1 + math.log(1e4) * (num - 1)),
        (Hinge(form="linear", margin=0.7), lambda num: 0.7 * num),
    ],
    ids=lambda case: getattr(case, "label", ""),
)
def test_symmetric_losses_sum_to_a_constant(loss, sum_over_labels, num_classes):
    """Which makes their minimisers those without symmetric label noise (Ghosh et al., AAAI 2017)."""
    logits_BC, _ = draw(num_classes=num_classes)
    sum_B = FixedLoss(loss).per_class(logits_BC).sum(1)
    torch.testing.assert_close(sum_B, torch.full_like(sum_B, sum_over_labels(num_classes)), rtol=1e-12, atol=1e-12)


def test_sparse_smoothing_is_label_smoothing_of_uniform_rivals_and_less_elsewhere():
    loss, full = SparseLSR(smoothing=0.2), LabelSmoothing(smoothing=0.2)
    labels_B = torch.zeros(9, dtype=torch.int64)
    logits_BC = torch.zeros(9, 5, dtype=torch.float64)
    logits_BC[:, 0] = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(
        loss.per_sample(logits_BC, labels_B), full.per_sample(logits_BC, labels_B), rtol=1e-12, atol=1e-12
    )
    logits_BC[:, 1] += 0.5
    assert (loss.per_sample(logits_BC, labels_B) < full.per_sample(logits_BC, labels_B)).all()


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_sparse_smoothing_is_least_where_label_smoothing_is(smoothing, num_classes):
    """The sign that the published code has wrong: with it, the derivative would be negative for every p."""
    best = 1 - smoothing + smoothing / num_classes
    p_G = torch.tensor([1e-6, 0.2 * best, best - 1e-6, best, best + 1e-6, 1 - 1e-6], dtype=torch.float64)
    logits_GC = torch.zeros(6, num_classes, dtype=torch.float64)
    logits_GC[:, 0] = p_G.log() - torch.log1p(-p_G) + math.log(num_classes - 1)
    logits_GC.requires_grad_()
    loss_G = SparseLSR(smoothing=smoothing).per_sample(logits_GC, torch.zeros(6, dtype=torch.int64))
    (gradient_GC,) = torch.autograd.grad(loss_G.sum(), logits_GC)
    # p (dl/dp) (1 - p), with dl/dp = -best / p + (1 - best) / (1 - p)
    torch.testing.assert_close(gradient_GC[:, 0], p_G - best, rtol=1e-9, atol=1e-12)
    assert loss_G.argmin() == 3


def test_baikal_goes_on_with_its_slope_below_epsilon():
    loss = Baikal(epsilon=0.01)
    log_prob = torch.tensor([0.01, 0.01 + 1e-9, 0.01 - 1e-9, 1e-9], dtype=torch.float64).log().requires_grad_()
    value = loss.inverse(log_prob)
    (slope,) = torch.autograd.grad(value.sum(), log_prob)
    torch.testing.assert_close(
        value.detach(),
        torch.tensor([100.0, 100 - 1e-5, 100 + 1e-5, 100 * (1 + math.log(1e7))], dtype=torch.float64),
        rtol=1e-10,
        atol=0.0,
    )
    torch.testing.assert_close(slope, torch.full_like(slope, -100.0), rtol=1e-6, atol=0.0)


def test_baikal_pushes_where_its_definition_would_overflow():
    logits_BC = torch.tensor([[0.0, 1e4]], requires_grad=True)
    loss_B = Baikal().per_sample(logits_BC, torch.tensor([0]))
    (gradient_BC,) = torch.autograd.grad(loss_B.sum(), logits_BC)
    torch.testing.assert_close(gradient_BC, torch.tensor([[-500.5, 500.5]]))  # 1 / (C epsilon) + 1 / C
    assert loss_B.isfinite().all()


def test_the_large_sharpness_counts_errors():
    logits_BC, labels_B = draw()
    wrong_B = (logits_BC.argmax(1) != labels_B).double()
    torch.testing.assert_close(SmoothZeroOne(sharpness=1e6).per_sample(logits_BC, labels_B), wrong_B)


def test_squentropy_is_not_blind_to_a_constant():
    logits_BC, labels_B = draw()
    shifted_B = Squentropy().per_sample(logits_BC + 1.0, labels_B)
    assert (shifted_B - Squentropy().per_sample(logits_BC, labels_B)).abs().min() > 1e-3


@pytest.mark.parametrize("form", ["crammer_singer", "weston_watkins", "linear"])
def test_hinges_push_apart_equal_logits(form):
    """At ties each gives one of the slopes there are: the label's is down, the rivals' together up."""
    logits_BC = torch.zeros(5, 5, dtype=torch.float64, requires_grad=True)
    for loss_B in (
        Hinge(form=form).per_sample(logits_BC, torch.arange(5)),
        Hinge(form=form).per_class(logits_BC).diagonal(),
    ):
        (gradient_BC,) = torch.autograd.grad(loss_B.sum(), logits_BC)
        weight = 4.0 if form == "weston_watkins" else 1.0
        torch.testing.assert_close(gradient_BC.diagonal(), torch.full((5,), -weight, dtype=torch.float64))
        torch.testing.assert_close(gradient_BC.sum(1), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("margin", [0.0, 0.1, 1.0, 20.0])
def test_all_hinges_of_weston_and_watkins_at_once(offset, margin):
    """The sums over sorted classes against the sum for one label, with ties, far from 0, and in float32."""
    logits_BC, _ = draw(8, 50, torch.float32)
    logits_BC[:4] = (4 * logits_BC[:4]).round() / 4
    logits_BC += offset
    loss = Hinge(form="weston_watkins", margin=margin)
    expected_BC = torch.stack([loss.per_sample(logits_BC.double(), torch.full((8,), k)) for k in range(50)], 1)
    torch.testing.assert_close(loss.per_class(logits_BC).double(), expected_BC, rtol=1e-5, atol=1e-4)
    assert (loss.per_class(logits_BC) >= 0).all()
    assert (loss.per_sample(logits_BC, logits_BC.argmax(1)) >= 0).all()
