import math

import pytest
import torch
from torch import nn

from lossforge.spec.training import SGD, AdamW, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.datasets import FakeImages
from lossforge.training.descent import Descent, load_optimizer_tensors, optimizer_tensors
from lossforge.training.models import ResNet8

NUM_STEPS = 12
RATES = [0.1 * (1 + math.sin(step)) + 0.01 for step in range(NUM_STEPS)]
SHAPES = ((4, 3), (4,), (2, 3, 3, 3), (5,))
"""A linear layer's weights and bias, a convolution's weights, a batch norm's."""

EVERY_SGD = [
    SGD(momentum=momentum, nesterov=nesterov, decoupled_weight_decay=decoupled)
    for momentum, nesterov in ((0.9, True), (0.9, False), (0.5, True), (0.0, False))
    for decoupled in (False, True)
]


def spec(**options):
    return TrainingSpec(dataset=FakeImages(), model=ResNet8(), **options)


def drawn(name, leading=(), dtype=torch.float64):
    generator = derive_generator(0, f"test.{name}")
    return [torch.randn(*leading, *shape, generator=generator, dtype=dtype) for shape in SHAPES]


def moved(spec, weights, gradients, num_replicas=1):
    """Return the parameters after steps of descent along given gradients."""
    parameters = [nn.Parameter(each.clone()) for each in weights]
    descent = Descent(spec, parameters, num_replicas)
    for rate, of_step in zip(RATES, gradients, strict=False):
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = gradient.clone()
        descent.step(rate)
    return [each.detach() for each in parameters]


def sgd_by_hand(weights, gradients, options, decays):
    weights = [each.clone() for each in weights]
    velocity = [torch.zeros_like(each) for each in weights]
    for rate, of_step in zip(RATES, gradients, strict=True):
        for index, gradient in enumerate(of_step):
            if options.decoupled_weight_decay:
                weights[index] = (1 - rate * decays[index]) * weights[index]
            else:
                gradient = gradient + decays[index] * weights[index]
            velocity[index] = options.momentum * velocity[index] + gradient
            step = gradient + options.momentum * velocity[index] if options.nesterov else velocity[index]
            weights[index] = weights[index] - rate * step
    return weights


def adamw_by_hand(weights, gradients, options, decays):
    weights = [each.clone() for each in weights]
    first = [torch.zeros_like(each) for each in weights]
    second = [torch.zeros_like(each) for each in weights]
    for t, (rate, of_step) in enumerate(zip(RATES, gradients, strict=True), start=1):
        for index, gradient in enumerate(of_step):
            first[index] = options.beta1 * first[index] + (1 - options.beta1) * gradient
            second[index] = options.beta2 * second[index] + (1 - options.beta2) * gradient**2
            mean, square = first[index] / (1 - options.beta1**t), second[index] / (1 - options.beta2**t)
            shrunk = (1 - rate * decays[index]) * weights[index]
            weights[index] = shrunk - rate * mean / (square.sqrt() + options.epsilon)
    return weights


GRADIENTS = [drawn(f"gradients.{step}") for step in range(NUM_STEPS)]


@pytest.mark.parametrize("options", EVERY_SGD, ids=repr)
@pytest.mark.parametrize("decay_norms", [True, False])
def test_sgd_equals_its_formula_in_float64(options, decay_norms):
    found = moved(spec(optimizer=options, weight_decay=0.2, decay_norms=decay_norms), drawn("weights"), GRADIENTS)
    decays = [0.2 if decay_norms or len(shape) > 1 else 0.0 for shape in SHAPES]
    torch.testing.assert_close(found, sgd_by_hand(drawn("weights"), GRADIENTS, options, decays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [AdamW(), AdamW(beta1=0.5, beta2=0.9, epsilon=0.1), AdamW(beta1=0.0)], ids=repr)
@pytest.mark.parametrize("decay_norms", [True, False])
def test_adamw_equals_its_formula_in_float64(options, decay_norms):
    found = moved(spec(optimizer=options, weight_decay=0.2, decay_norms=decay_norms), drawn("weights"), GRADIENTS)
    decays = [0.2 if decay_norms or len(shape) > 1 else 0.0 for shape in SHAPES]
    expected = adamw_by_hand(drawn("weights"), GRADIENTS, options, decays)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def by_torch(optimizer_of, weights, gradients, clip_norm=None):
    parameters = [nn.Parameter(each.clone()) for each in weights]
    optimizer = optimizer_of(parameters)
    for rate, of_step in zip(RATES, gradients, strict=True):
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = gradient.clone()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm, foreach=False)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return [each.detach() for each in parameters]


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_in_float32_equals_torchs_own_loop(nesterov):
    weights = drawn("weights", dtype=torch.float32)
    gradients = [[each.float() for each in of_step] for of_step in GRADIENTS]
    found = moved(spec(optimizer=SGD(nesterov=nesterov), weight_decay=0.01), weights, gradients)

    def plain(parameters):
        options = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.01}
        return torch.optim.SGD(parameters, foreach=False, fused=False, **options)

    torch.testing.assert_close(found, by_torch(plain, weights, gradients), rtol=1e-5, atol=1e-5)


def test_kernels_are_fused():
    for optimizer in (SGD(), AdamW()):
        descent = Descent(spec(optimizer=optimizer), [nn.Parameter(torch.ones(2, 2))])
        assert all(group["fused"] for group in descent.optimizer.param_groups)


@pytest.mark.parametrize("clip_norm", [0.05, 5.0, 8.0, 1e9])
def test_one_network_is_clipped_as_by_torch(clip_norm):
    norms = [math.sqrt(sum(float(each.square().sum()) for each in of_step)) for of_step in GRADIENTS]
    assert min(norms) < 8 < max(norms)
    found = moved(spec(clip_norm=clip_norm, weight_decay=0.0), drawn("weights"), GRADIENTS)

    def plain(parameters):
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, foreach=False)

    expected = by_torch(plain, drawn("weights"), GRADIENTS, clip_norm)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 8.0},
        {"clip_norm": 0.5, "decay_norms": False},
        {"optimizer": SGD(decoupled_weight_decay=True), "decay_norms": False},
        {"optimizer": "adamw", "clip_norm": 3.0, "decay_norms": False},
    ],
    ids=repr,
)
def test_replicas_move_as_each_alone(options):
    """Each has a norm of its own, and what is a vector of each is a matrix of all."""
    chosen = spec(weight_decay=0.1, **options)
    weights = drawn("weights", leading=(3,))
    scale_R = torch.tensor([1.0, 0.01, 30.0], dtype=torch.float64)
    gradients = [
        [each * scale_R.view(-1, *[1] * (each.dim() - 1)) for each in drawn(f"gradients.{step}", leading=(3,))]
        for step in range(NUM_STEPS)
    ]
    together = moved(chosen, weights, gradients, num_replicas=3)
    for replica in range(3):
        alone = moved(
            chosen, [each[replica] for each in weights], [[each[replica] for each in of_step] for of_step in gradients]
        )
        torch.testing.assert_close([each[replica] for each in together], alone, rtol=1e-9, atol=1e-12)


def test_a_replica_whose_gradient_is_not_finite_moves_no_other():
    chosen = spec(clip_norm=1.0)
    weights, gradients = drawn("weights", leading=(3,)), drawn("gradients", leading=(3,))
    broken = [each.clone() for each in gradients]
    broken[0][1] = torch.nan
    broken[2][1, 0] = torch.inf
    sound, found = moved(chosen, weights, [gradients], 3), moved(chosen, weights, [broken], 3)
    for before, after in zip(sound, found, strict=True):
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert not after[1].isfinite().all()


def test_gradients_are_forgotten_and_parameters_without_one_stay():
    used, unused, frozen = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    frozen.requires_grad_(False)
    options = {"optimizer": SGD(decoupled_weight_decay=True), "clip_norm": 1.0, "weight_decay": 0.5}
    descent = Descent(spec(**options), [used, frozen])
    used.grad = torch.ones(2, 2)
    descent.step(0.1)
    assert used.grad is None
    assert not torch.equal(used, torch.ones(2, 2))
    assert torch.equal(frozen, torch.ones(2, 2))
    descent = Descent(spec(clip_norm=1.0, weight_decay=0.5), [used, unused])
    used.grad = torch.ones(2, 2)
    descent.step(0.1)
    assert torch.equal(unused, torch.ones(2, 2))


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.0, nesterov=False), AdamW()], ids=repr)
def test_goes_on_from_its_tensors_to_the_same_bits(optimizer):
    """In whatever layout they come back: fused kernels take moments to lie as the weights do."""
    chosen = spec(optimizer=optimizer)
    parameters = [nn.Parameter(each) for each in drawn("weights", dtype=torch.float32)]
    parameters[2] = nn.Parameter(parameters[2].detach().to(memory_format=torch.channels_last))
    descent = Descent(chosen, parameters)
    gradients = [[each.float() for each in of_step] for of_step in GRADIENTS]

    def step(descent, parameters, of_step):
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        descent.step(0.1)

    for of_step in gradients[:3]:
        step(descent, parameters, of_step)
    stored = {name: value.contiguous().clone() for name, value in optimizer_tensors(descent.optimizer).items()}
    copies = [nn.Parameter(each.detach().clone()) for each in parameters]
    resumed = Descent(chosen, copies)
    load_optimizer_tensors(resumed.optimizer, stored)
    for of_step in gradients[3:]:
        step(descent, parameters, of_step)
        step(resumed, copies, of_step)
    assert all(map(torch.equal, parameters, copies))
    assert optimizer_tensors(resumed.optimizer).keys() == stored.keys()
