import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from lossforge.streams import derive_generator
from lossforge.training.models import CosineHead, LargeMarginHead, LinearHead, ResNet8, ResNet9
from lossforge.training.models.heads import LargeMarginLayer, margin_product

WIDTH, NUM_CLASSES = 5, 4
MARGINS = (1, 2, 3, 4, 7)


def psi(theta, margin):
    """(-1)^k cos(m theta) - 2k, k pi / m <= theta <= (k + 1) pi / m, as in the paper."""
    k = min(int(theta * margin / math.pi), margin - 1)
    return (-1) ** k * math.cos(margin * theta) - 2 * k


def layer_of(head, dtype=torch.float64, seed=0, *, bias=True):
    layer = head.layer(WIDTH, NUM_CLASSES, bias=bias).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(NUM_CLASSES, WIDTH, generator=generator, dtype=torch.float64))
    return layer


def features_and_labels(num=9, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    features_ND = torch.randn(num, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
    return features_ND, torch.randint(NUM_CLASSES, (num,), generator=generator)


def vectors_at(theta, dtype=torch.float64):
    """A feature vector of norm 3 and a weight of norm 2 with this angle between them."""
    features = torch.tensor([[3.0, 0.0]], dtype=dtype, requires_grad=True)
    weight = torch.tensor([[2.0 * math.cos(theta), 2.0 * math.sin(theta)]], dtype=dtype)
    return features, weight


def margin_logit(features, weight, margin):
    norms = torch.outer(features.norm(dim=1), weight.norm(dim=1))
    return margin_product(features @ weight.T, norms, margin)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_psi_is_the_papers(margin, dtype):
    theta = torch.linspace(0.0, math.pi, 401, dtype=torch.float64)
    expected = torch.tensor([psi(angle, margin) for angle in theta.tolist()], dtype=torch.float64)
    norms = torch.full_like(theta, 6.0)
    got = margin_product((norms * theta.cos()).to(dtype), norms.to(dtype), margin)
    assert got.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(got.double(), 6.0 * expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("margin", MARGINS)
def test_psi_falls_from_1_to_1_less_twice_the_margin_and_is_never_above_the_cosine(margin):
    theta = torch.linspace(0.0, math.pi, 1001, dtype=torch.float64)
    got = margin_product(theta.cos(), torch.ones_like(theta), margin)
    assert got[0] == pytest.approx(1.0)
    assert got[-1] == pytest.approx(1 - 2 * margin)
    assert (got.diff() < 0).all()
    assert (got <= theta.cos() + 1e-12).all()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("step", range(8))
def test_the_slope_is_that_of_the_angle_by_acos(margin, step):
    """Away from 0 and pi, where acos has no slope."""
    theta = 0.05 + step * (math.pi - 0.1) / 7
    features, weight = vectors_at(theta)
    margin_logit(features, weight, margin).sum().backward()
    reference = features.detach().clone().requires_grad_()
    norm_product = reference.norm() * weight.norm()
    angle = torch.acos((reference * weight).sum() / norm_product)
    k = min(int(theta * margin / math.pi), margin - 1)
    value = norm_product * ((-1) ** k * torch.cos(margin * angle) - 2 * k)
    torch.testing.assert_close(margin_logit(features, weight, margin).squeeze(), value)
    value.backward()
    torch.testing.assert_close(features.grad, reference.grad)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("theta", [0.0, math.pi])
def test_the_slope_at_angles_0_and_pi_is_that_of_the_length(margin, theta):
    """There the angle has no slope of first order in the logit: d|w||x|psi / dx is |w| psi x / |x|."""
    for dtype in (torch.float64, torch.float32):
        features, weight = vectors_at(theta, dtype)
        margin_logit(features, weight, margin).sum().backward()
        assert features.grad[0, 0].item() == pytest.approx(2.0 * psi(theta, margin), rel=1e-5)
        assert abs(features.grad[0, 1].item()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("head", [CosineHead(scale=3.0), LargeMarginHead(margin=3), LargeMarginHead(relaxation=2.0)])
@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-15])
def test_features_and_weights_of_no_length_have_logits_and_finite_slopes(head, dtype, length):
    layer = layer_of(head, dtype)
    with torch.no_grad():
        layer.weight[1].mul_(length)
    features_ND, labels_N = features_and_labels(4, dtype=dtype)
    features_ND[0] *= length
    labels_N[:2] = torch.tensor([0, 1])
    features_ND.requires_grad_()
    logits_NC = layer(features_ND, labels_N) if isinstance(layer, LargeMarginLayer) else layer(features_ND)
    assert logits_NC[0].abs().max() < 1e-11
    assert logits_NC[2, 1].abs() < 1e-11
    logits_NC.sum().backward()
    for gradient in (features_ND.grad, layer.weight.grad):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3


def test_a_cosine_head_gives_the_scale_times_the_cosine():
    layer = layer_of(CosineHead(scale=2.5))
    features_ND, _ = features_and_labels()
    expected = F.cosine_similarity(features_ND[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(layer(features_ND), 2.5 * expected)
    torch.testing.assert_close(layer(1e4 * features_ND), 2.5 * expected)
    torch.testing.assert_close(layer_of(CosineHead())(features_ND), expected)


@pytest.mark.parametrize(("margin", "relaxation"), [(1, 0.0), (2, 0.0), (3, 0.5), (4, 10.0)])
def test_in_training_the_labels_logit_alone_has_the_margin(margin, relaxation):
    layer = layer_of(LargeMarginHead(margin=margin, relaxation=relaxation))
    features_ND, labels_N = features_and_labels()
    layer.weight.requires_grad_(False)
    logits_NC = layer(features_ND, labels_N)
    for sample, (features, label) in enumerate(zip(features_ND, labels_N.tolist(), strict=True)):
        for other in range(NUM_CLASSES):
            product = features @ layer.weight[other]
            if other == label:
                length = features.norm() * layer.weight[other].norm()
                lowered = length * psi(math.acos(product / length), margin)
                product = (relaxation * product + lowered) / (1 + relaxation)
            assert logits_NC[sample, other].item() == pytest.approx(product.item(), abs=1e-12)


def test_in_evaluation_the_product_is_plain():
    layer = layer_of(LargeMarginHead(margin=4)).eval()
    features_ND, labels_N = features_and_labels()
    expected = features_ND @ layer.weight.T
    torch.testing.assert_close(layer(features_ND), expected)
    torch.testing.assert_close(layer(features_ND, labels_N), expected)


def test_margin_1_is_the_plain_product_with_its_slopes():
    layer = layer_of(LargeMarginHead(margin=1))
    features_ND, labels_N = features_and_labels()
    features_ND[0] = 0.0
    features_ND.requires_grad_()
    logits_NC = layer(features_ND, labels_N)
    assert torch.equal(logits_NC, F.linear(features_ND, layer.weight))
    got = torch.autograd.grad(logits_NC.square().sum() + logits_NC.sum(), (features_ND, layer.weight))
    plain_NC = F.linear(features_ND, layer.weight)
    expected = torch.autograd.grad(plain_NC.square().sum() + plain_NC.sum(), (features_ND, layer.weight))
    torch.testing.assert_close(got, expected)


def test_relaxation_leads_from_the_margin_to_the_plain_product():
    features_ND, labels_N = features_and_labels()
    margin, half, almost_plain = (
        layer_of(LargeMarginHead(margin=4, relaxation=relaxation))(features_ND, labels_N)
        for relaxation in (0.0, 1.0, 1e9)
    )
    plain = features_ND @ layer_of(LargeMarginHead()).weight.T
    torch.testing.assert_close(half, (margin + plain) / 2)
    torch.testing.assert_close(almost_plain, plain, rtol=0, atol=1e-6)
    assert (margin <= plain + 1e-12).all()


def test_a_training_without_labels_says_what_is_missing():
    network = ResNet8(head=LargeMarginHead()).build((3, 8, 8), NUM_CLASSES, derive_generator(0, "test.weights"))
    with pytest.raises(ValueError, match=r"large_margin head needs the labels in training mode; call network\(images"):
        network(torch.zeros(2, 3, 8, 8))
    assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, NUM_CLASSES)


@pytest.mark.parametrize(
    "head",
    [
        CosineHead(scale=2.0),
        LargeMarginHead(margin=2),
        LargeMarginHead(margin=3, relaxation=0.5),
        LargeMarginHead(margin=4),
    ],
)
def test_gradients_are_those_of_the_values(head):
    layer = layer_of(head)
    features_ND, labels_N = features_and_labels(6)
    labels = (labels_N,) if isinstance(layer, LargeMarginLayer) else ()

    def logits(features_ND, weight_CD):
        return torch.func.functional_call(layer, {"weight": weight_CD}, (features_ND, *labels))

    inputs = (features_ND.requires_grad_(), layer.weight.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(logits, inputs)


@pytest.mark.parametrize("head", [CosineHead(scale=4.0), LargeMarginHead(margin=3)])
def test_angles_are_computed_in_float32_under_autocast(head):
    layer = layer_of(head, torch.float32)
    features_ND, labels_N = features_and_labels(dtype=torch.bfloat16)
    labels = (labels_N,) if isinstance(layer, LargeMarginLayer) else ()
    expected = layer(features_ND.float(), *labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_NC = layer(features_ND, *labels)
    assert logits_NC.dtype == torch.float32
    assert torch.equal(logits_NC, expected)


@pytest.mark.parametrize("head", ["linear", "cosine", "large_margin"])
def test_a_network_trains_in_bfloat16_autocast(head):
    network = ResNet8(head=head).build((3, 8, 8), NUM_CLASSES, derive_generator(0, "test.weights"))
    images, labels = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    arguments = (images, labels) if network.takes_labels else (images,)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_NC = network(*arguments)
    assert logits_NC.dtype == (torch.bfloat16 if head == "linear" else torch.float32)
    F.cross_entropy(logits_NC.float(), labels).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("head", ["linear", "cosine", "large_margin"])
def test_a_network_compiles_as_one_graph(head):
    network = ResNet8(head=head).build((3, 8, 8), NUM_CLASSES, derive_generator(0, "test.weights"))
    reference = copy.deepcopy(network)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    images, labels = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    arguments = (images, labels) if network.takes_labels else (images,)
    for each in (compiled, reference):
        each(*arguments).square().sum().backward()
    for parameter, expected in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)
    torch.testing.assert_close(compiled.eval()(images), reference.eval()(images))


def test_a_margin_lowers_the_label_and_so_the_loss_asks_for_more():
    features_ND, labels_N = features_and_labels()
    losses = [
        F.cross_entropy(layer_of(LargeMarginHead(margin=margin))(features_ND, labels_N), labels_N) for margin in MARGINS
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("linear", LinearHead()),
        ("cosine", CosineHead()),
        ("large_margin", LargeMarginHead(margin=2, relaxation=0.0)),
        ({"type": "cosine", "scale": 16}, CosineHead(scale=16.0)),
        ({"type": "large_margin", "margin": 4, "relaxation": 5}, LargeMarginHead(margin=4, relaxation=5.0)),
    ],
)
def test_a_head_is_named_or_given_with_its_options(given, expected):
    for model in (ResNet8(head=given), ResNet8.model_validate_json(json.dumps({"head": given}))):
        assert model.head == expected
        assert type(model.head) is type(expected)
        assert ResNet8.model_validate_json(model.model_dump_json()) == model
    assert ResNet8().head == LinearHead()


@pytest.mark.parametrize(
    ("given", "location", "message"),
    [
        ("cosin", ("head",), "unknown head 'cosin' (did you mean 'cosine'?); heads: linear, cosine, large_margin"),
        ({"type": "arcface"}, ("head",), "unknown head 'arcface'; heads: linear, cosine, large_margin"),
        ({"scale": 1.0}, ("head",), "expected a head, or a mapping with its type; heads: linear, cosine, large_margin"),
        ({"type": 3}, ("head",), "expected a head, or a mapping with its type"),
        ({"type": ["cosine"]}, ("head",), "expected a head, or a mapping with its type"),
        (3, ("head",), "expected a head, or a mapping with its type"),
        (None, ("head",), "expected a head, or a mapping with its type"),
        ({"type": "cosine", "scale": 0.0}, ("head", "cosine", "scale"), "greater than 0"),
        ({"type": "cosine", "scale": math.inf}, ("head", "cosine", "scale"), "finite"),
        ({"type": "cosine", "margin": 2}, ("head", "cosine", "margin"), "not permitted"),
        ({"type": "large_margin", "margin": 0}, ("head", "large_margin", "margin"), "greater than or equal to 1"),
        ({"type": "large_margin", "margin": 9}, ("head", "large_margin", "margin"), "less than or equal to 8"),
        ({"type": "large_margin", "margin": 2.5}, ("head", "large_margin", "margin"), "integer"),
        ({"type": "large_margin", "relaxation": -1}, ("head", "large_margin", "relaxation"), "equal to 0"),
        ({"type": "linear", "bias": True}, ("head", "linear", "bias"), "not permitted"),
    ],
)
def test_a_head_that_is_none_is_refused_where_it_stands(given, location, message):
    with pytest.raises(ValidationError) as error:
        ResNet8(head=given)
    (problem,) = error.value.errors()
    assert problem["loc"] == location
    assert message in problem["msg"]


def test_a_label_names_the_head_where_it_is_not_the_default():
    assert ResNet8().label == "resnet8"
    assert ResNet8(head="cosine").label == "resnet8(head={'type': 'cosine', 'scale': 1.0})"


def test_heads_are_drawn_from_the_generator_within_their_bound():
    for head in (CosineHead(), LargeMarginHead()):
        weights = [
            ResNet8(head=head).build((3, 8, 8), 50, derive_generator(seed, "test.weights")).head.weight
            for seed in (0, 0, 1)
        ]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
        assert weights[0].abs().max() <= 1 / 8
        assert weights[0].std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)


def test_a_factor_on_the_features_leaves_cosines_as_they_are():
    """ResNet-9's logits are multiplied by 0.125; a cosine head's are cosines all the same."""
    network = ResNet9(head="cosine").build((3, 8, 8), NUM_CLASSES, derive_generator(0, "test.weights")).eval()
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features_ND = network.blocks(network.stem(images)).amax(dim=(2, 3))
    expected = F.cosine_similarity(features_ND[:, None], network.head.weight[None], dim=2)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-6)
