"""The one rule of loss modules, against ``torch.nn.CrossEntropyLoss`` over the grid of options, and beyond it."""

import inspect
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossforge.losses import FixedLoss, LossModule, per_class_by_rows
from lossforge.losses import module as module_file
from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal

C = 5
SHAPES = {"unbatched": (C,), "batch": (6, C), "sequence": (2, C, 3), "image": (2, C, 3, 2), "empty": (0, C)}
IGNORED = {"none ignored": -100, "class 1 ignored": 1, "minus 1 ignored": -1, "all ignored": 2}
REDUCTIONS = ("mean", "sum", "none")


class Hinge(LossModule):
    """The Weston-Watkins hinge, a loss that is not local: sum over k != y of max(0, 1 + z_k - z_y)."""

    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        return (1.0 + logits_NC - logits_NC.gather(1, target_N[:, None])).relu().sum(1) - 1.0

    def per_class(self, logits_NC: Tensor) -> Tensor:
        return per_class_by_rows(self.per_sample, logits_NC, max_rows=24)


class OnlyPerSample(LossModule):
    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        return -torch.log_softmax(logits_NC, 1).gather(1, target_N[:, None]).squeeze(1)

    def per_class(self, logits_NC: Tensor) -> Tensor:
        raise AssertionError("evaluated every class for plain class indices")


def make_logits(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return 3 * torch.randn(shape, generator=generator, dtype=dtype)


def make_indices(shape: tuple[int, ...]) -> Tensor:
    index_shape = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])
    return torch.randint(C, index_shape, generator=torch.Generator().manual_seed(7))


def make_probabilities(shape: tuple[int, ...]) -> Tensor:
    return torch.softmax(make_logits(shape) + 1.0, 0 if len(shape) == 1 else 1)


def value_and_gradient(loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    factor = torch.linspace(0.5, 2.0, value.numel()).reshape(value.shape)
    (gradient,) = torch.autograd.grad((factor * value).sum(), logits)
    return value.detach(), gradient


def assert_same(ours: nn.Module, theirs: nn.Module, logits: Tensor, target: Tensor) -> None:
    for mine, reference in zip(
        value_and_gradient(ours, logits, target), value_and_gradient(theirs, logits, target), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-6, equal_nan=True)


def both(**options: object) -> tuple[nn.Module, nn.Module]:
    return FixedLoss(CrossEntropy(), **options), nn.CrossEntropyLoss(**options)


OPTIONS = [
    {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    for weight, reduction, smoothing in itertools.product(
        (None, torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0])), REDUCTIONS, (0.0, 0.1, 1.0)
    )
]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("ignore", IGNORED.values(), ids=IGNORED.keys())
def test_class_indices_are_torchs_cross_entropy(shape, ignore):
    logits, target = make_logits(shape), make_indices(shape)
    if ignore == -1:
        target = target.masked_fill(target == 0, -1)
    if ignore == 2:
        target = torch.full_like(target, 2)
    for options in OPTIONS:
        assert_same(*both(ignore_index=ignore, **options), logits, target)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_class_probabilities_are_torchs_cross_entropy(shape):
    for options in OPTIONS:
        assert_same(*both(**options), make_logits(shape), make_probabilities(shape))


def test_probabilities_receive_torchs_gradient():
    ours, theirs = both(label_smoothing=0.1, weight=torch.arange(1.0, C + 1))
    logits = make_logits((6, C))
    gradients = []
    for loss in (ours, theirs):
        target = make_probabilities((6, C)).requires_grad_()
        gradients += torch.autograd.grad(loss(logits, target), target)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_float64_stays_float64():
    ours, theirs = both(weight=torch.linspace(0.5, 2.0, C, dtype=torch.float64), label_smoothing=0.1)
    logits = make_logits((6, C), torch.float64)
    value, gradient = value_and_gradient(ours, logits, make_indices((6, C)))
    reference, reference_gradient = value_and_gradient(theirs, logits, make_indices((6, C)))
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, reference, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(gradient, reference_gradient, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_small_integer_indices(dtype):
    ours, theirs = both()
    target = make_indices((6, C))
    torch.testing.assert_close(ours(make_logits((6, C)), target.to(dtype)), theirs(make_logits((6, C)), target))


def test_ignore_index_does_not_touch_probabilities():
    logits, target = make_logits((6, C)), make_probabilities((6, C))
    value = FixedLoss(CrossEntropy(), ignore_index=1)(logits, target)
    torch.testing.assert_close(value, nn.CrossEntropyLoss()(logits, target))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_rows_do_not_poison(poison, smoothing):
    logits, target = make_logits((6, C)), make_indices((6, C))
    logits[2], target[2] = poison, -100
    loss = FixedLoss(Focal(), label_smoothing=smoothing)
    value, gradient = value_and_gradient(loss, logits, target)
    keep = torch.arange(6) != 2
    reference, reference_gradient = value_and_gradient(loss, logits[keep], target[keep])
    torch.testing.assert_close(value, reference)
    torch.testing.assert_close(gradient[keep], reference_gradient)
    assert (gradient[2] == 0).all()


def test_plain_indices_evaluate_one_class_a_row():
    loss, theirs = OnlyPerSample(torch.linspace(1.0, 2.0, C)), nn.CrossEntropyLoss(torch.linspace(1.0, 2.0, C))
    assert_same(loss, theirs, make_logits((2, C, 3)), make_indices((2, C, 3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_logits_are_computed_in_float32(dtype):
    logits, target = make_logits((6, C)).to(dtype), make_indices((6, C))
    value, gradient = value_and_gradient(FixedLoss(Focal()), logits, target)
    reference, reference_gradient = value_and_gradient(FixedLoss(Focal()), logits.float(), target)
    assert value.dtype == torch.float32
    assert torch.equal(value, reference)
    assert torch.equal(gradient, reference_gradient.to(dtype))


def test_float32_inside_autocast():
    seen = []

    class Matmul(LossModule):
        def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
            product_NC = logits_NC @ torch.eye(C)
            seen.extend((logits_NC.dtype, product_NC.dtype))
            return product_NC.square().sum(1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = make_logits((6, 4)) @ make_logits((4, C))
        value = Matmul()(logits, make_indices((6, C)))
    assert logits.dtype == torch.bfloat16
    assert [*seen, value.dtype] == [torch.float32] * 3


@pytest.mark.parametrize("max_rows", [1, 4, 7, 65536])
def test_per_class_by_rows_is_per_sample_of_every_class(max_rows):
    logits_NC = make_logits((4, C), torch.float64).requires_grad_()
    hinge = Hinge()
    by_rows_NC = per_class_by_rows(hinge.per_sample, logits_NC, max_rows)
    expected_NC = torch.stack([hinge.per_sample(logits_NC, torch.full((4,), k)) for k in range(C)], 1)
    torch.testing.assert_close(by_rows_NC, expected_NC, rtol=0, atol=1e-14)
    factor_NC = torch.arange(4 * C, dtype=torch.float64).reshape(4, C)
    torch.testing.assert_close(
        *(torch.autograd.grad((factor_NC * loss_NC).sum(), logits_NC)[0] for loss_NC in (by_rows_NC, expected_NC))
    )


def test_per_class_by_rows_bounds_the_rows_at_once():
    rows_seen = []

    def per_sample(logits_NC: Tensor, target_N: Tensor) -> Tensor:
        rows_seen.append(logits_NC.shape[0])
        return Hinge().per_sample(logits_NC, target_N)

    per_class_by_rows(per_sample, make_logits((8, C)), max_rows=24)
    assert rows_seen == [24, 16]
    assert per_class_by_rows(per_sample, make_logits((0, C))).shape == (0, C)
    with pytest.raises(ValueError, match="max_rows must be at least 1"):
        per_class_by_rows(per_sample, make_logits((8, C)), max_rows=0)


def test_per_class_by_rows_keeps_no_block_for_the_backward_pass():
    saved = []
    logits_NC = make_logits((8, C)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.data_ptr()) or x, lambda x: x):
        per_class_by_rows(Hinge().per_sample, logits_NC, max_rows=8)
    assert set(saved) == {logits_NC.data_ptr()}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_rule_holds_for_a_loss_that_is_not_local(reduction):
    weight, smoothing = torch.linspace(0.5, 2.0, C), 0.2
    logits, target = make_logits((6, C)), make_indices((6, C))
    loss = Hinge(weight, reduction=reduction, label_smoothing=smoothing)
    q = (1 - smoothing) * F.one_hot(target, C) + smoothing / C
    expected_N = (weight * q * Hinge().per_class(logits)).sum(1)
    expected = {"none": expected_N, "sum": expected_N.sum(), "mean": expected_N.sum() / weight[target].sum()}
    torch.testing.assert_close(loss(logits, target), expected[reduction])
    one_hot = F.one_hot(target, C).float()
    torch.testing.assert_close(Hinge(reduction="none")(logits, one_hot), Hinge(reduction="none")(logits, target))


def test_gradcheck_of_a_loss_that_is_not_local():
    loss = Hinge(torch.linspace(0.5, 2.0, C, dtype=torch.float64), label_smoothing=0.2)
    logits = make_logits((6, C), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits, make_indices((6, C))))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dense", [False, True])
def test_compiles_without_graph_breaks(backend, dense):
    torch.compiler.reset()
    for loss in (Hinge(label_smoothing=0.1), FixedLoss(Focal(), torch.linspace(0.5, 2.0, C))):
        shape = (12, C)
        logits, target = make_logits(shape), make_probabilities(shape) if dense else make_indices(shape)
        compiled = torch.compile(loss, fullgraph=True, backend=backend)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(compiled, loss, logits, target)


def test_state_dict_and_to():
    weight = torch.linspace(0.5, 2.0, C)
    loss = FixedLoss(Focal(), weight)
    assert list(loss.state_dict()) == ["weight"]
    assert list(FixedLoss(Focal()).state_dict()) == []
    other = FixedLoss(Focal(), torch.ones(C))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.weight, weight)
    assert loss.to("meta").weight.device.type == "meta"
    assert other.to(torch.float64).weight.dtype == torch.float64
    assert list(other.parameters()) == []


def test_module_source_stands_alone():
    source = inspect.getsource(LossModule) + "\n\n" + inspect.getsource(per_class_by_rows)
    names = {"torch": torch, "Tensor": Tensor, "nn": nn, "F": F, "__name__": "exported"}
    exec(source, names)

    class Exported(names["LossModule"]):
        def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
            return F.cross_entropy(logits_NC, target_N, reduction="none")

        def per_class(self, logits_NC: Tensor) -> Tensor:
            return names["per_class_by_rows"](self.per_sample, logits_NC, 10)

    options = {"label_smoothing": 0.1, "weight": torch.linspace(0.5, 2.0, C)}
    assert_same(Exported(**options), nn.CrossEntropyLoss(**options), make_logits((6, C)), make_indices((6, C)))
    imports = [line for line in inspect.getsource(module_file).splitlines() if line.startswith(("import", "from"))]
    assert imports == ["from collections.abc import Callable", "import torch", "from torch import Tensor, nn"]


def test_repr_shows_the_options():
    loss = FixedLoss(Focal(gamma=3.0), torch.ones(C), ignore_index=4, reduction="sum", label_smoothing=0.1)
    assert repr(loss) == (
        "FixedLoss(Focal(type='focal', gamma=3.0), weight=(5,), ignore_index=4, reduction='sum', label_smoothing=0.1)"
    )


def test_abstract_methods_are_abstract():
    with pytest.raises(NotImplementedError):
        LossModule()(make_logits((6, C)), make_indices((6, C)))
    with pytest.raises(NotImplementedError):
        LossModule().per_class(make_logits((6, C)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": [1.0, 2.0]}, "weight must be None or a floating point tensor of shape"),
        ({"weight": torch.ones(2, 2)}, "weight must be"),
        ({"weight": torch.ones(2, dtype=torch.int64)}, "weight must be"),
        ({"ignore_index": 1.5}, "ignore_index must be an integer, got 1.5"),
        ({"ignore_index": True}, "ignore_index must be an integer"),
        ({"reduction": "avg"}, "reduction must be 'mean', 'sum' or 'none', got 'avg'"),
        ({"label_smoothing": 1.1}, "label_smoothing must be between 0 and 1, got 1.1"),
        ({"label_smoothing": float("nan")}, "label_smoothing must be between 0 and 1"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FixedLoss(CrossEntropy(), **arguments)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.tensor(1.0), torch.tensor(1), "logits must be floating point of shape"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), "got torch.int64 "),
        (torch.zeros(2, 0), torch.zeros(2, 0), r"logits \(2, 0\) have 0 class\(es\)"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"must have shape \(2,\), got \(3,\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), "class probabilities must be floating point"),
        (torch.zeros(2, 3), torch.zeros(2), "class indices must be integers"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 4, 3), r"must have the shape \(2, 3, 4\) of the logits"),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.complex64), "got torch.complex64"),
    ],
)
def test_refused_shapes_and_types(logits, target, message):
    with pytest.raises(ValueError, match=message):
        FixedLoss(CrossEntropy())(logits, target)


def test_the_remedy_for_one_logit_a_sample_is_binary_cross_entropy():
    z, target = make_logits((6, 1)), torch.tensor([0, 1, 1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"torch\.cat\(\(torch\.zeros_like\(z\), z\), dim=1\)"):
        FixedLoss(CrossEntropy())(z, target)
    with pytest.raises(ValueError, match=r"torch\.cat\(\(torch\.zeros_like\(z\), z\), dim=0\)"):
        FixedLoss(CrossEntropy())(z[0], target[0])
    two = FixedLoss(CrossEntropy())(torch.cat((torch.zeros_like(z), z), dim=1), target)
    torch.testing.assert_close(two, F.binary_cross_entropy_with_logits(z[:, 0], target.float()))


def test_weight_of_another_number_of_classes():
    with pytest.raises(ValueError, match=r"weight has 4 classes, logits .* have 3"):
        FixedLoss(CrossEntropy(), torch.ones(4))(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
