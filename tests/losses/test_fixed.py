"""The published losses: identities, weight profiles, gradients and extreme inputs."""

import copy
import math
import pickle

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lossforge.losses import FixedLoss
from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal
from lossforge.losses.gce import GCE
from lossforge.losses.label_smoothing import LabelSmoothing
from lossforge.losses.mae import MAE
from lossforge.losses.poly1 import Poly1

LOCAL = [
    CrossEntropy(),
    Focal(),
    Focal(gamma=0.0),
    Focal(gamma=0.5),
    Focal(gamma=5.0),
    Poly1(),
    Poly1(epsilon=-1.0),
    Poly1(epsilon=5.0),
    MAE(),
    GCE(),
    GCE(q=1e-6),
    GCE(q=1.0),
]
ALL = [*LOCAL, LabelSmoothing(), LabelSmoothing(smoothing=1.0)]
W = {  # w(p) = -p g'(p), SCIENCE section 3
    CrossEntropy(): lambda p: torch.ones_like(p),
    MAE(): lambda p: p,
    GCE(q=0.7): lambda p: p**0.7,
    GCE(q=0.2): lambda p: p**0.2,
    Focal(gamma=2.0): lambda p: (1 - p) ** 2 - 2 * p * (1 - p) * p.log(),
    Focal(gamma=0.5): lambda p: (1 - p) ** 0.5 - 0.5 * p * (1 - p) ** -0.5 * p.log(),
    Poly1(epsilon=1.0): lambda p: 1 + p,
    Poly1(epsilon=-0.8): lambda p: 1 - 0.8 * p,
}
P_G = torch.cat([torch.logspace(-30, -1, 59, dtype=torch.float64), torch.linspace(0.1, 0.999999, 50).double()])


def make_rows(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_BC = 3 * torch.randn(32, 7, generator=generator, dtype=dtype)
    return logits_BC, torch.randint(7, (32,), generator=generator)


def logits_of(p_G: Tensor, num_classes: int) -> Tensor:
    """Return logits whose class 0 has probability p and whose rivals are uniform."""
    logits_GC = torch.zeros(p_G.shape[0], num_classes, dtype=p_G.dtype)
    logits_GC[:, 0] = p_G.log() - torch.log1p(-p_G) + math.log(num_classes - 1)
    return logits_GC


@pytest.mark.parametrize("loss", W, ids=repr)
def test_weight_profile_of_local_losses(loss):
    s_G = (-P_G.log()).requires_grad_()
    (w_G,) = torch.autograd.grad(loss.of_log_prob(-s_G).sum(), s_G)
    torch.testing.assert_close(w_G, W[loss](P_G), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("loss", W, ids=repr)
def test_gradient_is_weight_times_cross_entropys(loss):
    p_G = P_G[P_G > 1e-6]
    logits_GC = logits_of(p_G, 4).requires_grad_()
    labels_G = torch.zeros(p_G.shape[0], dtype=torch.int64)
    (gradient_GC,) = torch.autograd.grad(loss.per_sample(logits_GC, labels_G).sum(), logits_GC)
    expected_GC = torch.softmax(logits_GC.detach(), 1)
    expected_GC[:, 0] -= 1
    torch.testing.assert_close(gradient_GC, W[loss](p_G)[:, None] * expected_GC, rtol=1e-6, atol=1e-12)


def test_weight_profile_of_label_smoothing():
    p_G = torch.tensor([1e-6, 0.1, 0.5, 0.9, 0.95, 0.99], dtype=torch.float64)
    logits_GC = logits_of(p_G, 10).requires_grad_()
    loss_G = LabelSmoothing(smoothing=0.1).per_sample(logits_GC, torch.zeros(6, dtype=torch.int64))
    (gradient_GC,) = torch.autograd.grad(loss_G.sum(), logits_GC)
    w_G = -gradient_GC[:, 0] / (1 - p_G)
    torch.testing.assert_close(w_G, (0.91 - p_G) / (1 - p_G), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(w_G[-2:], torch.tensor([-0.8, -8.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("loss", "same", "tolerance"),
    [
        (Poly1(epsilon=0.0), CrossEntropy(), 0.0),
        (Focal(gamma=0.0), CrossEntropy(), 0.0),
        (GCE(q=1.0), MAE(), 0.0),
        (GCE(q=1e-9), CrossEntropy(), 1e-6),
        (LabelSmoothing(smoothing=0.0), CrossEntropy(), 0.0),
    ],
    ids=repr,
)
def test_identities(loss, same, tolerance):
    values = []
    for component in (loss, same):
        logits_BC, labels_B = make_rows(torch.float64)
        logits_BC.requires_grad_()
        loss_B = component.per_sample(logits_BC, labels_B)
        values.append((loss_B, *torch.autograd.grad(loss_B.sum(), logits_BC)))
    torch.testing.assert_close(*values, rtol=tolerance, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torchs(smoothing):
    logits_BC, labels_B = make_rows()
    for loss in (FixedLoss(LabelSmoothing(smoothing=smoothing)), FixedLoss(CrossEntropy(), label_smoothing=smoothing)):
        torch.testing.assert_close(
            loss(logits_BC, labels_B), nn.CrossEntropyLoss(label_smoothing=smoothing)(logits_BC, labels_B)
        )


def test_closed_forms():
    logits_BC, labels_B = make_rows(torch.float64)
    p_B = torch.softmax(logits_BC, 1).gather(1, labels_B[:, None]).squeeze(1)
    for loss, expected_B in (
        (CrossEntropy(), -p_B.log()),
        (Focal(gamma=1.5), -((1 - p_B) ** 1.5) * p_B.log()),
        (Poly1(epsilon=2.0), -p_B.log() + 2 * (1 - p_B)),
        (MAE(), 1 - p_B),
        (GCE(q=0.4), (1 - p_B**0.4) / 0.4),
    ):
        torch.testing.assert_close(loss.per_sample(logits_BC, labels_B), expected_B, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradcheck(loss):
    logits_BC, labels_B = make_rows(torch.float64)
    logits_BC = logits_BC[:6].requires_grad_()
    assert torch.autograd.gradcheck(loss.per_sample, (logits_BC, labels_B[:6]))
    module = FixedLoss(loss, torch.linspace(0.5, 2.0, 7, dtype=torch.float64), label_smoothing=0.1)
    assert torch.autograd.gradcheck(module, (logits_BC, labels_B[:6]))


@pytest.mark.parametrize("loss", ALL, ids=repr)
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_extreme_logits(loss, num_classes):
    logits_BC = torch.full((3, num_classes), -1e4)
    logits_BC[:, 0] = 1e4
    logits_BC[2] = 0.0
    for labels_B in (torch.tensor([0, 1, 1]), torch.softmax(torch.randn(3, num_classes), 1)):
        leaf_BC = logits_BC.clone().requires_grad_()
        loss_B = FixedLoss(loss, reduction="none")(leaf_BC, labels_B)
        (gradient_BC,) = torch.autograd.grad(loss_B.sum(), leaf_BC)
        assert loss_B.isfinite().all()
        assert gradient_BC.isfinite().all()


@pytest.mark.parametrize("loss", LOCAL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_from_impossible_to_certain(loss, dtype):
    log_prob = torch.tensor([-2e4, -math.log(1e30), -1.0, -1e-3, -6e-8, -1e-20, -1e-30, -1e-37, 0.0], dtype=dtype)
    log_prob.requires_grad_()
    value = loss.of_log_prob(log_prob)
    (gradient,) = torch.autograd.grad(value.sum(), log_prob)
    assert value.isfinite().all()
    assert (value >= 0).all()
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
    for loss, w in ((CrossEntropy(), 1.0), (Focal(), 1.0), (Poly1(), 1.0), (GCE(q=0.1), math.exp(-6.9))):
        (gradient_BC,) = torch.autograd.grad(loss.per_sample(logits_BC, torch.tensor([0])).sum(), logits_BC)
        torch.testing.assert_close(gradient_BC, torch.tensor([[-w, w]]))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_per_class_agrees_with_per_sample(loss):
    logits_BC, labels_B = make_rows()
    module = FixedLoss(loss)
    loss_BC = module.per_class(logits_BC)
    assert loss_BC.shape == logits_BC.shape
    torch.testing.assert_close(loss_BC.gather(1, labels_B[:, None]).squeeze(1), module.per_sample(logits_BC, labels_B))


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(), Poly1(), MAE(), GCE(), LabelSmoothing()], ids=repr)
def test_compiles_without_graph_breaks(loss):
    torch.compiler.reset()
    logits_BC, labels_B = make_rows()
    module = FixedLoss(loss)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for target in (labels_B, torch.softmax(logits_BC, 1)):
        torch.testing.assert_close(compiled(logits_BC, target), module(logits_BC, target))


def test_copies_and_pickles():
    logits_BC, labels_B = make_rows()
    module = FixedLoss(Focal(gamma=3.0), torch.linspace(0.5, 2.0, 7))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert other.component == module.component
        assert torch.equal(other(logits_BC, labels_B), module(logits_BC, labels_B))


@pytest.mark.parametrize(
    ("component", "options"),
    [
        (Focal, {"gamma": -0.1}),
        (Focal, {"gamma": float("nan")}),
        (GCE, {"q": 0.0}),
        (GCE, {"q": 1.1}),
        (Poly1, {"epsilon": -1.5}),
        (LabelSmoothing, {"smoothing": 1.5}),
        (CrossEntropy, {"gamma": 1.0}),
        (MAE, {"type": "mse"}),
    ],
)
def test_refused_options(component, options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        component(**options)
