"""The weight profile w = -(dloss/dz_y) / (1 - p_y) of every loss: the docstrings' closed forms, and the gradient."""

import math

import pytest
import torch
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import LocalLoss
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

P_G = torch.cat([torch.logspace(-30, -1, 59, dtype=torch.float64), torch.linspace(0.1, 0.999999, 50).double()])


def focal_weight(p: Tensor, gamma: float) -> Tensor:
    return (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * p.log()


def focal_loss(p: Tensor, gamma: float) -> Tensor:
    return -((1 - p) ** gamma) * p.log()


def barron_weight(p: Tensor, alpha: float | str, c: float) -> Tensor:
    x = 1 - p
    if alpha == "-inf":
        return p * x / c**2 * torch.exp(-((x / c) ** 2) / 2)
    if alpha == 2.0:
        return p * x / c**2
    return p * x / c**2 * ((x / c) ** 2 / (2 - alpha) + 1) ** (alpha / 2 - 1)


# Of a loss of log p_y alone: w(p).
LOCAL = {
    Barron: lambda o, p: barron_weight(p, o.alpha, o.c),
    CrossEntropy: lambda o, p: torch.ones_like(p),
    Focal: lambda o, p: focal_weight(p, o.gamma),
    GCE: lambda o, p: p**o.q,
    MAE: lambda o, p: p,
    Poly1: lambda o, p: 1 + o.epsilon * p,
    PolyLoss: lambda o, p: (
        float(o.cross_entropy) + p * sum(j * a * (1 - p) ** (j - 1) for j, a in enumerate(o.coefficients, 1))
    ),
    RCE: lambda o, p: -o.log_zero * p,
    SCE: lambda o, p: o.alpha - o.beta * o.log_zero * p,
    TaylorCE: lambda o, p: 1 - (1 - p) ** o.order,
}


def smoothing_weight(loss, p_G1, q_GR):
    num = q_GR.shape[1] + 1
    return (1 - loss.smoothing + loss.smoothing / num - p_G1) / (1 - p_G1)


def nce_weight(loss, p_G1, q_GR):
    n, r, num_rivals = -p_G1.log(), -q_GR.log().sum(1, keepdim=True), q_GR.shape[1]
    return (r + num_rivals * n * p_G1 / (1 - p_G1)) / (n + r) ** 2


def nfl_weight(loss, p_G1, q_GR):
    own, r = focal_loss(p_G1, loss.gamma), focal_loss(q_GR, loss.gamma).sum(1, keepdim=True)
    rivals = focal_weight(q_GR, loss.gamma).sum(1, keepdim=True)
    return (focal_weight(p_G1, loss.gamma) * r + own * p_G1 / (1 - p_G1) * rivals) / (own + r) ** 2


def hinge_weight(loss, p_G1, q_GR):
    within = (torch.log(q_GR / p_G1) > -loss.margin).double().sum(1, keepdim=True)
    if loss.form == "crammer_singer":
        within = within.clamp_max(1.0)
    return (torch.ones_like(p_G1) if loss.form == "linear" else within) / (1 - p_G1)


def smooth_zero_one_weight(loss, p_G1, q_GR):
    value = 1 / (1 + (p_G1 / q_GR.amax(1, keepdim=True)) ** loss.sharpness)
    return loss.sharpness * value * (1 - value) / (1 - p_G1)


def baikal_weight(loss, p_G1, q_GR):
    num = q_GR.shape[1] + 1
    return 1 / (num * p_G1.clamp_min(loss.epsilon)) + (1 / num - p_G1) / (1 - p_G1)


def am_softmax_weight(loss, p_G1, q_GR):
    odds = math.exp(-loss.scale * loss.margin) / ((q_GR / p_G1) ** loss.scale).sum(1, keepdim=True)
    return loss.scale / ((1 - p_G1) * (1 + odds))


# Of any other: w(p_y, probabilities of the rivals).
OTHERS = {
    AMSoftmax: am_softmax_weight,
    APL: lambda o, p, q: o.alpha * weight(o.active, p, q) + o.beta * weight(o.passive, p, q),
    Baikal: baikal_weight,
    Brier: lambda o, p, q: 2 * p * ((1 - p) ** 2 + (q**2).sum(1, keepdim=True)) / (1 - p),
    Hinge: hinge_weight,
    LabelSmoothing: smoothing_weight,
    NCE: nce_weight,
    NFL: nfl_weight,
    SmoothZeroOne: smooth_zero_one_weight,
    SparseLSR: smoothing_weight,
    Squentropy: lambda o, p, q: torch.ones_like(p),
}


def weight(loss, p_G1: Tensor, q_GR: Tensor) -> Tensor:
    if type(loss) in LOCAL:
        return LOCAL[type(loss)](loss, p_G1)
    return OTHERS[type(loss)](loss, p_G1, q_GR)


def rivals(p_G: Tensor, num_classes: int, shape: str) -> Tensor:
    """Probabilities (G, C - 1): uniform, one with nine tenths of what is left, or one with nearly all of it."""
    share = {"uniform": 1 / (num_classes - 1), "dominant": 0.9, "alone": 1 - 1e-9}[shape]
    others = (1 - share) / max(1, num_classes - 2)
    shares = torch.full((num_classes - 1,), others, dtype=torch.float64)
    shares[0] = share if num_classes > 2 else 1.0
    return (1 - p_G)[:, None] * shares


def measured(loss, p_G: Tensor, q_GR: Tensor) -> Tensor:
    logits_GC = torch.cat((p_G[:, None], q_GR), 1).log().requires_grad_()
    loss_G = loss.per_sample(logits_GC, torch.zeros(len(p_G), dtype=torch.int64))
    (gradient_GC,) = torch.autograd.grad(loss_G.sum(), logits_GC)
    return -gradient_GC[:, 0] / (1 - p_G)


def test_every_loss_of_lossforge_has_a_closed_form():
    own = {offer.type for offer in registry.offers("losses") if offer.distribution == "lossforge"}
    assert {component.model_fields["type"].default for component in (*LOCAL, *OTHERS)} == own
    assert all(issubclass(component, LocalLoss) for component in LOCAL)
    assert not any(issubclass(component, LocalLoss) for component in OTHERS)


@pytest.mark.parametrize("shape", ["uniform", "dominant", "alone"])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_weight_profile(installed, num_classes, shape):
    p_G = torch.tensor([1e-6, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.9999], dtype=torch.float64)
    q_GR = rivals(p_G, num_classes, shape)
    expected_G = weight(installed, p_G[:, None], q_GR).squeeze(1)
    torch.testing.assert_close(measured(installed, p_G, q_GR), expected_G, rtol=1e-7, atol=1e-11)


def test_weight_profile_of_local_losses_is_the_slope_in_log_p(local):
    """w(p) = -p g'(p) = dg/ds, s = -log p, down to p = 1e-30."""
    s_G = (-P_G.log()).requires_grad_()
    (w_G,) = torch.autograd.grad(local.of_log_prob(-s_G).sum(), s_G)
    torch.testing.assert_close(w_G, LOCAL[type(local)](local, P_G), rtol=1e-9, atol=3e-14)


def test_gradient_of_local_losses_is_weight_times_cross_entropys(local):
    p_G = P_G[P_G > 1e-6]
    logits_GC = torch.cat((p_G[:, None], rivals(p_G, 4, "dominant")), 1).log().requires_grad_()
    loss_G = local.per_sample(logits_GC, torch.zeros(len(p_G), dtype=torch.int64))
    (gradient_GC,) = torch.autograd.grad(loss_G.sum(), logits_GC)
    expected_GC = torch.softmax(logits_GC.detach(), 1)
    expected_GC[:, 0] -= 1
    torch.testing.assert_close(
        gradient_GC, LOCAL[type(local)](local, p_G)[:, None] * expected_GC, rtol=1e-6, atol=1e-12
    )


SIMPLER = {  # with uniform rivals, and with one rival that has all the rest, as the docstrings write it out
    "brier": (
        Brier(),
        lambda p, num: 2 * p * (1 - p) * num / (num - 1),
        lambda p: 4 * p * (1 - p),
    ),
    "nce": (
        NCE(),
        lambda p, num: nce_of_uniform(p, (num - 1) * torch.log((num - 1) / (1 - p)), num),
        None,
    ),
    "smooth_zero_one": (
        SmoothZeroOne(sharpness=2.0),
        lambda p, num: smooth(p * (num - 1) / (1 - p), 2.0) / (1 - p),
        lambda p: smooth(p / (1 - p), 2.0) / (1 - p),
    ),
    "smooth_zero_one, K 1": (
        SmoothZeroOne(),
        lambda p, num: smooth(p * (num - 1) / (1 - p), 1.0) / (1 - p),
        lambda p: p,
    ),
    "am_softmax": (
        AMSoftmax(scale=3.0, margin=0.2),
        lambda p, num: 3 / ((1 - p) * (1 + math.exp(-0.6) / ((num - 1) * ((1 - p) / ((num - 1) * p)) ** 3))),
        lambda p: 3 / ((1 - p) * (1 + math.exp(-0.6) / ((1 - p) / p) ** 3)),
    ),
    "baikal": (
        Baikal(epsilon=1e-3),
        lambda p, num: (1 - num * p**2) / (num * p * (1 - p)),
        lambda p: (1 - 10 * p**2) / (10 * p * (1 - p)),
    ),
    "hinge": (
        Hinge(margin=1.0),
        lambda p, num: (torch.log(p * (num - 1) / (1 - p)) < 1).double() / (1 - p),
        lambda p: (torch.log(p / (1 - p)) < 1).double() / (1 - p),
    ),
    "weston_watkins": (
        Hinge(form="weston_watkins"),
        lambda p, num: (num - 1) * (torch.log(p * (num - 1) / (1 - p)) < 1).double() / (1 - p),
        lambda p: (torch.log(p / (1 - p)) < 1).double() / (1 - p),
    ),
}


def nce_of_uniform(p: Tensor, r: Tensor, num: int) -> Tensor:
    return (r - (num - 1) * p.log() * p / (1 - p)) / (r - p.log()) ** 2


def smooth(odds: Tensor, sharpness: float) -> Tensor:
    value = 1 / (1 + odds**sharpness)
    return sharpness * value * (1 - value)


@pytest.mark.parametrize("name", SIMPLER)
def test_weight_profile_in_the_two_cases(name):
    loss, uniform, alone = SIMPLER[name]
    p_G = torch.tensor([0.01, 0.1, 0.3, 0.6, 0.8, 0.99], dtype=torch.float64)
    torch.testing.assert_close(measured(loss, p_G, rivals(p_G, 10, "uniform")), uniform(p_G, 10), rtol=1e-9, atol=1e-12)
    if alone is not None:
        torch.testing.assert_close(measured(loss, p_G, rivals(p_G, 10, "alone")), alone(p_G), rtol=1e-6, atol=1e-12)


def test_normalised_losses_weigh_a_sample_with_one_dominant_rival_little():
    p_G = torch.tensor([0.1, 0.5], dtype=torch.float64)
    for loss in (NCE(), NFL()):
        assert (measured(loss, p_G, rivals(p_G, 10, "alone")) < 0.01).all()
        assert (measured(loss, p_G, rivals(p_G, 10, "uniform")) > 0.03).all()


def test_what_label_smoothing_weighs():
    p_G = torch.tensor([0.95, 0.99], dtype=torch.float64)
    for loss in (LabelSmoothing(smoothing=0.1), SparseLSR(smoothing=0.1)):
        found = measured(loss, p_G, rivals(p_G, 10, "uniform"))
        torch.testing.assert_close(found, torch.tensor([-0.8, -8.0], dtype=torch.float64))


def test_squentropy_draws_the_rivals_to_zero():
    logits_BC = torch.tensor([[0.3, -2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (gradient_BC,) = torch.autograd.grad(Squentropy().per_sample(logits_BC, torch.tensor([0])).sum(), logits_BC)
    expected_BC = torch.softmax(logits_BC.detach(), 1) + torch.tensor([[-1.0, -2.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient_BC, expected_BC, rtol=1e-12, atol=1e-12)
