"""Every loss of lossforge passes its kit; and the contract of loss modules, kept by them, by learned losses, and by the
code exported for these.

The rule l(z, q) = sum_k weight_k q_k l(z, k) is written out here in loops over Python numbers.
"""

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import Tensor

from lossforge.testing import LossKit

C = 5
WEIGHT = (0.5, 2.0, 1.0, 0.0, 3.0)
REDUCTIONS = ("none", "sum", "mean")


def draw(
    num: int = 6, num_classes: int = C, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits_NC = 2 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64).to(dtype)
    return logits_NC, torch.randint(num_classes, (num,), generator=generator)


def probabilities(num: int = 6, num_classes: int = C, seed: int = 3) -> Tensor:
    return torch.softmax(draw(num, num_classes, seed=seed)[0], 1)


def value_and_gradient(module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = module(logits, target)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    return value.detach(), gradient


def one_by_one(make, logits_NC: Tensor) -> tuple[list[list[float]], Tensor]:
    """Each l(z, k), evaluated alone, and its gradient in z, (N, k, C)."""
    module = make(reduction="sum").double()
    found = [
        [value_and_gradient(module, row[None], torch.tensor([k])) for k in range(logits_NC.shape[1])]
        for row in logits_NC
    ]
    values = [[value.item() for value, _ in row] for row in found]
    return values, torch.stack([torch.stack([gradient[0] for _, gradient in row]) for row in found])


def shares(target, smoothing: float) -> list[float]:
    """q, smoothed, of a class index or of class probabilities."""
    q = [float(k == target) for k in range(C)] if isinstance(target, int) else target
    return [(1 - smoothing) * each + smoothing / C for each in q]


def by_the_rule(values, targets, weight, ignore_index, smoothing, reduction):
    """Losses, and the factor of each l(z, k) in their sum."""
    weight = weight or (1.0,) * C
    rows, factors, total = [], [], 0.0
    for row, target in zip(values, targets, strict=True):
        kept = target != ignore_index
        q = shares(target, smoothing) if kept else [0.0] * C
        factors.append([weight[k] * q[k] for k in range(C)])
        rows.append(sum(factor * value for factor, value in zip(factors[-1], row, strict=True)))
        total += (weight[target] if isinstance(target, int) else 1.0) if kept else 0.0
    if reduction == "none":
        return rows, factors
    divisor = total if reduction == "mean" else 1.0
    return sum(rows) / divisor, [[each / divisor for each in row] for row in factors]


class TestLosses(LossKit):
    @pytest.fixture
    def component(self, installed):
        return installed


def test_one_rule_for_indices_and_probabilities(make):
    logits_NC, target_N = draw()
    target_N[1] = 7
    q_NC = probabilities()
    values, gradients_NKC = one_by_one(make, logits_NC)
    cases = itertools.product(
        (target_N, q_NC), (None, WEIGHT), (-100, 7, int(target_N[0])), (0.0, 0.1, 1.0), REDUCTIONS
    )
    for target, weight, ignore_index, smoothing, reduction in cases:
        if target is target_N and ignore_index != 7:
            target = target_N.where(target_N != 7, 2)
        expected, factors = by_the_rule(values, target.tolist(), weight, ignore_index, smoothing, reduction)
        module = make(
            None if weight is None else torch.tensor(weight),
            ignore_index=ignore_index,
            label_smoothing=smoothing,
            reduction=reduction,
        ).double()
        value, gradient_NC = value_and_gradient(module, logits_NC, target)
        torch.testing.assert_close(value, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
        expected_NC = torch.einsum("nk,nkc->nc", torch.tensor(factors, dtype=torch.float64), gradients_NKC)
        torch.testing.assert_close(gradient_NC, expected_NC, rtol=1e-8, atol=1e-11)


def test_a_one_hot_target_is_its_index(make):
    logits_NC, target_N = draw()
    module = make(torch.tensor(WEIGHT) + 0.5, reduction="none").double()
    one_hot_NC = torch.nn.functional.one_hot(target_N, C).double()
    for dense, index in zip(
        value_and_gradient(module, logits_NC, one_hot_NC), value_and_gradient(module, logits_NC, target_N), strict=True
    ):
        torch.testing.assert_close(dense, index, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(C,), (1, C), (3, C, 4), (2, C, 3, 2)], ids=str)
def test_any_shape_is_its_rows(make, shape):
    module = make(torch.tensor(WEIGHT) + 0.5, ignore_index=1, reduction="none", label_smoothing=0.1).double()
    logits_NC, target_N = draw(math.prod(shape) // C)
    q_NC = probabilities(len(logits_NC))
    index_shape = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])

    def reshaped(rows_NC: Tensor) -> Tensor:
        return rows_NC.reshape(*index_shape, C).movedim(-1, min(1, len(shape) - 1))

    for rows, target in ((target_N, target_N.reshape(index_shape)), (q_NC, reshaped(q_NC))):
        found = module(reshaped(logits_NC), target)
        assert found.shape == index_shape
        torch.testing.assert_close(found.flatten(), module(logits_NC, rows), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(1,), (6, 1), (0, 1), (2, 1, 3), (6, 0)], ids=str)
def test_one_class_is_refused(make, shape):
    index_shape = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])
    for target in (torch.zeros(index_shape, dtype=torch.int64), torch.ones(shape)):
        with pytest.raises(ValueError, match=r"have [01] class\(es\), a loss compares at least 2"):
            make()(torch.zeros(shape), target)


@pytest.mark.parametrize("shape", [(0, C), (0, C, 2), (2, C, 0)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_samples(make, shape, smoothing):
    index_shape = (shape[0], *shape[2:])
    for target in (torch.zeros(index_shape, dtype=torch.int64), torch.zeros(shape)):
        each = {reduction: make(label_smoothing=smoothing, reduction=reduction) for reduction in REDUCTIONS}
        value, gradient = value_and_gradient(each["sum"], torch.zeros(shape), target)
        assert value == 0.0
        assert gradient.shape == shape
        assert each["none"](torch.zeros(shape), target).shape == index_shape
        assert each["mean"](torch.zeros(shape), target).isnan()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_ignored(make, smoothing):
    logits_NC, target_N = draw(dtype=torch.float32)
    logits_NC[0], logits_NC[1] = float("nan"), float("inf")
    target_N[:] = -100
    value_N, gradient_NC = value_and_gradient(
        make(torch.tensor(WEIGHT), label_smoothing=smoothing, reduction="none"), logits_NC, target_N
    )
    assert (value_N == 0).all()
    assert (gradient_NC == 0).all()
    assert make(label_smoothing=smoothing)(logits_NC, target_N).isnan()


@pytest.mark.parametrize("num_classes", [2, 3, 10, 100, 1000])
def test_any_number_of_classes(make, num_classes):
    logits_NC, target_N = draw(2, num_classes)
    module = make(reduction="none").double()
    loss_NC = module.per_class(logits_NC)
    assert loss_NC.shape == (2, num_classes)
    torch.testing.assert_close(
        module(logits_NC, target_N), loss_NC.gather(1, target_N[:, None]).squeeze(1), rtol=1e-9, atol=1e-12
    )
    q_NC = probabilities(2, num_classes)
    torch.testing.assert_close(module(logits_NC, q_NC), (q_NC * loss_NC).sum(1), rtol=1e-9, atol=1e-12)
    assert loss_NC.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_inside_half_precision(make, dtype):
    logits_NC, target_N = draw(dtype=dtype)
    module = make(torch.tensor(WEIGHT), label_smoothing=0.1)
    for target in (target_N, probabilities().float(), probabilities().to(dtype)):
        reference, reference_gradient = value_and_gradient(module, logits_NC.float(), target)
        assert reference.dtype == torch.float32
        leaf_NC = logits_NC.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            value = module(leaf_NC, target)
        (gradient,) = torch.autograd.grad(value, leaf_NC)
        for found, found_gradient in ((value, gradient), value_and_gradient(module, logits_NC, target)):
            assert found.dtype == torch.float32
            assert torch.equal(found, reference)
            assert torch.equal(found_gradient, reference_gradient.to(dtype))


def test_float32_is_near_float64(make):
    logits_NC, target_N = draw(40)
    exact = make(reduction="none").double()
    single = make(reduction="none")
    for target in (target_N, probabilities(40)):
        for found, expected in zip(
            value_and_gradient(single, logits_NC.float(), target),
            value_and_gradient(exact, logits_NC, target),
            strict=True,
        ):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=2e-6)


def test_gradcheck(make):
    logits_NC, target_N = draw(3, 4)
    module = make(torch.tensor(WEIGHT[:4]) + 0.5, label_smoothing=0.1).double()
    assert torch.autograd.gradcheck(make(reduction="none").double(), (logits_NC.requires_grad_(), target_N))
    assert torch.autograd.gradcheck(module, (logits_NC, target_N))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_extreme_logits(make, dtype):
    """Every pattern of -1e4, 0 and 1e4 over four classes, every label, and soft labels."""
    logits_NC = torch.tensor(list(itertools.product((-1e4, 0.0, 1e4), repeat=4)), dtype=dtype)
    num = len(logits_NC)
    labels = [torch.full((num,), k) for k in range(4)]
    smooth = make(torch.tensor([0.5, 1.0, 2.0, 3.0]), label_smoothing=0.1).to(dtype)
    for module, target in (
        *((make(reduction="none").to(dtype), target) for target in labels),
        *((smooth, target) for target in labels),
        (make().to(dtype), probabilities(num, 4).to(dtype)),
        (make().to(dtype), torch.nn.functional.one_hot(labels[1], 4).to(dtype)),
    ):
        value, gradient_NC = value_and_gradient(module, logits_NC, target)
        assert value.isfinite().all()
        assert gradient_NC.isfinite().all()


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_finite_at_extreme_logits_of_few_and_many_classes(make, num_classes):
    logits_NC = torch.full((4, num_classes), -1e4)
    logits_NC[0, 0], logits_NC[1, 1:], logits_NC[2] = 1e4, 1e4, 1e4
    for target in (torch.zeros(4, dtype=torch.int64), torch.full((4,), num_classes - 1), probabilities(4, num_classes)):
        value, gradient_NC = value_and_gradient(make(reduction="none"), logits_NC, target)
        assert value.isfinite().all()
        assert gradient_NC.isfinite().all()


def test_state_copies_and_pickles(make):
    logits_NC, target_N = draw(dtype=torch.float32)
    module = make(torch.tensor(WEIGHT) + 0.5, label_smoothing=0.1)
    assert list(module.parameters()) == []
    assert torch.equal(module.state_dict()["weight"], torch.tensor(WEIGHT) + 0.5)
    others = [copy.deepcopy(module), make(torch.ones(C), label_smoothing=0.1)]
    others[1].load_state_dict(module.state_dict())
    if not make.name.startswith("exported"):  # its class is in no module that can be imported
        others.append(pickle.loads(pickle.dumps(module)))
    for other in others:
        assert torch.equal(other(logits_NC, target_N), module(logits_NC, target_N))
    assert {buffer.device.type for buffer in module.to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("dense", [False, True], ids=["indices", "probabilities"])
def test_compiles_without_graph_breaks(make, dense):
    torch.compiler.reset()
    logits_NC, target_N = draw(dtype=torch.float32)
    target = probabilities().float() if dense else target_N
    module = make(torch.tensor(WEIGHT), label_smoothing=0.1)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for found, expected in zip(
        value_and_gradient(compiled, logits_NC, target), value_and_gradient(module, logits_NC, target), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_its_repr_says_what_it_is(make):
    assert "reduction='sum', label_smoothing=0.25" in repr(make(reduction="sum", label_smoothing=0.25))
