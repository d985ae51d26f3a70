"""Both network families against a plain loop in double precision, and what they promise of themselves."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lossforge import registry
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP

FAMILIES = (PairwiseMLP, ClasswiseMLP)
ACTIVATIONS = {
    "tanh": math.tanh,
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
}
SMOOTH = ("tanh", "softsign", "silu", "softplus", "sigmoid")
SHAPES = [
    {"hidden": (1,)},
    {"hidden": (12,), "bias": False},
    {"hidden": (16, 16)},
    {"hidden": (16, 16), "bias": False},
    {"hidden": (3, 5, 2)},
]

both_families = pytest.mark.parametrize("family", FAMILIES)
both_features = pytest.mark.parametrize("features", ["log_prob", "prob"])


def network(family, solution: list[float], first: float, second: float) -> float:
    """f(first, second), from the documented layout: rows of (out, in) weights, then biases, layer by layer."""
    act, numbers = ACTIVATIONS[family.activation], iter(solution)
    x = [first, second]
    for width in family.hidden:
        weight = [[next(numbers) for _ in x] for _ in range(width)]
        bias = [next(numbers) if family.bias else 0.0 for _ in range(width)]
        x = [
            act(math.fsum(w * v for w, v in zip(row, x, strict=True)) + b) for row, b in zip(weight, bias, strict=True)
        ]
    result = math.fsum(next(numbers) * value for value in x)
    assert next(numbers, None) is None, "parameters are left over"
    return result


def reference_loss(family, solution: list[float], log_probs: list[float], label: int) -> float:
    """The loss of one candidate on one pair."""

    def phi(log_p: float) -> float:
        return math.exp(log_p) if family.features == "prob" else -log_p / family.log_scale

    inputs = [phi(value) for value in log_probs]
    if isinstance(family, PairwiseMLP):
        rivals = [value for index, value in enumerate(inputs) if index != label]
        return math.fsum(network(family, solution, inputs[label], rival) for rival in rivals) / len(rivals)
    return math.fsum(network(family, solution, value, float(c == label)) for c, value in enumerate(inputs))


def reference_losses(family, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> np.ndarray:
    solutions, labels = solutions_PD.double().tolist(), labels_B.tolist()
    log_probs = log_probs_PBC.double().expand(len(solutions), -1, -1).tolist()
    return np.array(
        [
            [reference_loss(family, solution, row, label) for row, label in zip(rows, labels, strict=True)]
            for solution, rows in zip(solutions, log_probs, strict=True)
        ]
    )


def draw(family, num=3, num_pairs=4, num_classes=5, leading=1, seed=0, spread=3.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    solutions_PD = family.init(num, generator).to(dtype)
    logits = spread * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return solutions_PD, torch.log_softmax(logits, dim=-1).to(dtype), labels_B


@both_families
class TestLoss:
    @both_features
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_equals_the_plain_loop(self, family, features, activation):
        component = family(features=features, activation=activation)
        given = draw(component)
        np.testing.assert_allclose(component.loss(*given), reference_losses(component, *given), rtol=1e-12, atol=1e-13)

    @pytest.mark.parametrize("options", SHAPES, ids=str)
    @pytest.mark.parametrize("leading", [1, 3])
    def test_equals_the_plain_loop_for_every_layout(self, family, options, leading):
        component = family(**options)
        given = draw(component, leading=leading)
        np.testing.assert_allclose(component.loss(*given), reference_losses(component, *given), rtol=1e-12, atol=1e-13)

    @pytest.mark.parametrize("num_classes", [2, 10, 100])
    def test_works_for_any_number_of_classes(self, family, num_classes):
        component = family()
        assert component.class_count is None
        given = draw(component, num=2, num_pairs=3, num_classes=num_classes)
        np.testing.assert_allclose(component.loss(*given), reference_losses(component, *given), rtol=1e-12, atol=1e-13)

    @both_features
    def test_float32_is_as_close_as_float32_can_be(self, family, features):
        component = family(features=features, hidden=(16, 16))
        given = draw(component, num=5, num_pairs=20, dtype=torch.float32)
        loss_PB = component.loss(*given)
        assert loss_PB.dtype == torch.float32
        np.testing.assert_allclose(loss_PB, reference_losses(component, *given), rtol=1e-5, atol=1e-5)

    def test_the_result_has_the_precision_of_the_predictions(self, family):
        component = family()
        solutions_PD, log_probs, labels_B = draw(component)
        loss_PB = component.loss(solutions_PD.float(), log_probs, labels_B)
        assert loss_PB.dtype == torch.float64
        expected = reference_losses(component, solutions_PD.float(), log_probs, labels_B)
        np.testing.assert_allclose(loss_PB, expected, rtol=1e-12, atol=1e-13)

    def test_shared_and_own_predictions_agree(self, family):
        component = family(hidden=(16, 16))
        solutions_PD, log_probs, labels_B = draw(component, num=5)
        shared = component.loss(solutions_PD, log_probs, labels_B)
        own = component.loss(solutions_PD, log_probs.repeat(5, 1, 1), labels_B)
        torch.testing.assert_close(own, shared, rtol=1e-14, atol=1e-14)

    def test_each_candidate_meets_its_own_predictions(self, family):
        component = family()
        solutions_PD, log_probs, labels_B = draw(component, num=3, leading=3)
        together = component.loss(solutions_PD, log_probs, labels_B)
        alone = [component.loss(solutions_PD[[i]], log_probs[[i]], labels_B)[0] for i in range(3)]
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-14, atol=1e-14)

    @both_features
    def test_renaming_the_classes_changes_nothing(self, family, features):
        component = family(features=features)
        solutions_PD, log_probs, labels_B = draw(component, num_pairs=8, num_classes=7)
        renamed = torch.randperm(7, generator=torch.Generator().manual_seed(3))
        permuted = torch.empty_like(log_probs)
        permuted[..., renamed] = log_probs
        torch.testing.assert_close(
            component.loss(solutions_PD, permuted, renamed[labels_B]),
            component.loss(solutions_PD, log_probs, labels_B),
            rtol=1e-12,
            atol=1e-12,
        )

    def test_a_solution_of_another_length_is_refused(self, family):
        component = family()
        solutions_PD, log_probs, labels_B = draw(component)
        for wrong in (solutions_PD[:, 1:], torch.cat((solutions_PD, solutions_PD[:, :1]), dim=1)):
            with pytest.raises(ValueError, match=f"a solution has {component.num_parameters} parameters, got"):
                component.loss(wrong, log_probs, labels_B)


@both_families
class TestGradients:
    @both_features
    @pytest.mark.parametrize("activation", SMOOTH)
    @pytest.mark.parametrize("leading", [1, 2])
    def test_gradcheck(self, family, features, activation, leading):
        component = family(features=features, activation=activation, hidden=(3,))
        solutions_PD, log_probs, labels_B = draw(component, num=2, num_pairs=2, num_classes=3, leading=leading)
        assert torch.autograd.gradcheck(
            lambda solutions, logits: component.loss(solutions, torch.log_softmax(logits, dim=-1), labels_B),
            (solutions_PD.requires_grad_(), log_probs.requires_grad_()),
        )

    @pytest.mark.parametrize("options", [{"hidden": (3, 2)}, {"hidden": (3, 2), "bias": False}], ids=str)
    def test_gradcheck_of_deeper_networks(self, family, options):
        component = family(**options)
        solutions_PD, log_probs, labels_B = draw(component, num=2, num_pairs=2, num_classes=3)
        assert torch.autograd.gradcheck(
            lambda solutions, log_probs: component.loss(solutions, log_probs, labels_B),
            (solutions_PD.requires_grad_(), log_probs.requires_grad_()),
        )

    @both_features
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_values_and_gradients_are_finite_for_every_confidence(self, family, features, activation):
        """In float32, with p_y from 1e-30 to 1, and rivals uniform or one dominant."""
        component = family(features=features, activation=activation)
        p_y = torch.logspace(-30, 0, 31, dtype=torch.float64)
        # z_y - z_rival = log(p_y / (1 - p_y)) + log(C - 1); at p_y = 1, a gap that float32 rounds to 1.
        z_y = torch.where(p_y < 1, p_y.log() - torch.log1p(-p_y), torch.tensor(200.0, dtype=torch.float64))
        logits = torch.zeros(31, 2, 5, dtype=torch.float64)
        logits[:, :, 0] = z_y[:, None]
        logits[:, 1, 1] = 40.0
        logits = logits.flatten(0, 1).float()[None].requires_grad_()
        solutions_PD = component.init(20, torch.Generator().manual_seed(0))
        loss_PB = component.loss(solutions_PD, torch.log_softmax(logits, dim=-1), torch.zeros(62, dtype=torch.int64))
        loss_PB.sum().backward()
        assert loss_PB.isfinite().all()
        assert logits.grad.isfinite().all()

    def weight(self, component, p_y: float) -> Tensor:
        """|w(p)| of many candidates, rivals uniform."""
        solutions_PD = component.init(50, torch.Generator().manual_seed(0)).double()
        logits = torch.zeros(50, 1, 10, dtype=torch.float64)
        logits[..., 0] = math.log(p_y) - math.log1p(-p_y) + math.log(9)
        logits.requires_grad_()
        component.loss(
            solutions_PD, torch.log_softmax(logits, dim=-1), torch.zeros(1, dtype=torch.int64)
        ).sum().backward()
        return logits.grad[:, 0, 0].abs() / (1 - p_y)

    def test_with_raw_probabilities_misclassified_samples_stop_counting(self, family):
        """w(p) = O(p): a tenth of the probability, a tenth of the weight."""
        component = family(features="prob")
        ratio = self.weight(component, 1e-7) / self.weight(component, 1e-6)
        torch.testing.assert_close(ratio, torch.full_like(ratio, 0.1), rtol=1e-3, atol=0)

    def test_with_log_probabilities_they_count(self, family):
        component = family(features="log_prob", activation="softsign")
        ratio = self.weight(component, 1e-7) / self.weight(component, 1e-6)
        assert 0.5 < ratio.median() < 2


@both_families
class TestSolutions:
    @pytest.mark.parametrize("options", [{}, *SHAPES], ids=str)
    def test_num_parameters_is_the_length_of_the_layout(self, family, options):
        component = family(**options)
        widths = (2, *component.hidden)
        weights = sum(into * out for into, out in pairwise(widths)) + widths[-1]
        assert component.num_parameters == weights + (sum(component.hidden) if component.bias else 0)
        assert component.init(3, torch.Generator()).shape == (3, component.num_parameters)

    def test_num_parameters_in_numbers(self, family):
        assert family().num_parameters == 12 * 2 + 12 + 12
        assert family(hidden=(16, 16), bias=False).num_parameters == 16 * 2 + 16 * 16 + 16

    def test_the_prior_has_the_stated_moments(self, family):
        """Weights N(0, 1 / fan-in), biases N(0, 1), column by column within 5 standard errors."""
        num = 4000
        component = family(hidden=(3, 4))
        solutions = component.init(num, torch.Generator().manual_seed(0))
        assert solutions.dtype == torch.float32
        variance = torch.tensor([1 / 2] * 6 + [1.0] * 3 + [1 / 3] * 12 + [1.0] * 4 + [1 / 4] * 4)
        assert (solutions.mean(dim=0).abs() < 5 * (variance / num) ** 0.5).all()
        assert ((solutions.var(dim=0) / variance - 1).abs() < 5 * (2 / num) ** 0.5).all()
        correlation = torch.corrcoef(solutions.T) - torch.eye(29)
        assert correlation.abs().max() < 5 * num**-0.5

    def test_the_prior_is_the_generators_alone(self, family):
        first = family().init(5, torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        assert torch.equal(family().init(5, torch.Generator().manual_seed(1)), first)
        assert not torch.equal(family().init(5, torch.Generator().manual_seed(2)), first)

    def test_features(self, family):
        log_probs = torch.tensor([[0.0, -1.0, -25.0]], dtype=torch.float64)
        log_features = family(features="log_prob", log_scale=5.0).features_of(log_probs)
        assert log_features.tolist() == [[0.0, 0.2, 5.0]]
        assert family(features="prob").features_of(log_probs).tolist() == [[1.0, math.exp(-1), math.exp(-25)]]


@both_families
class TestOptions:
    def test_json_round_trip(self, family):
        component = family(features="prob", log_scale=7, hidden=(4, 3), activation="silu", bias=False)
        text = component.model_dump_json()
        assert family.model_validate_json(text) == component
        assert '"hidden":[4,3]' in text

    def test_it_is_installed_under_its_type(self, family):
        name = family().type
        assert registry.get("parameterizations", name) is family
        assert registry.is_registered(family())

    @pytest.mark.parametrize(
        "options",
        [
            {"features": "logit"},
            {"log_scale": 0.0},
            {"log_scale": -1.0},
            {"log_scale": math.inf},
            {"hidden": ()},
            {"hidden": (0,)},
            {"hidden": (8, -1)},
            {"hidden": (2.5,)},
            {"hidden": [8]},
            {"activation": "gelu"},
            {"bias": 1},
            {"width": 3},
            {"type": "mlp"},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, family, options):
        with pytest.raises(ValidationError):
            family(**options)

    def test_it_cannot_be_changed(self, family):
        with pytest.raises(ValidationError, match="frozen"):
            family().log_scale = 2.0


def test_pairwise_of_two_classes_is_the_network_itself():
    """With one rival the mean is over one value, and a one-unit ReLU network can be worked out by hand."""
    component = PairwiseMLP(hidden=(1,), activation="relu", features="prob")
    solution = torch.tensor([[2.0, -1.0, 0.25, 3.0]], dtype=torch.float64)  # 3 relu(2 p_y - p_j + 1/4)
    log_probs = torch.tensor([[[0.75, 0.25]]], dtype=torch.float64).log()
    assert component.loss(solution, log_probs, torch.tensor([0])).item() == pytest.approx(3 * 1.5)
    assert component.loss(solution, log_probs, torch.tensor([1])).item() == pytest.approx(0.0)


def test_classwise_sums_over_classes_by_hand():
    component = ClasswiseMLP(hidden=(1,), activation="relu", features="prob")
    solution = torch.tensor([[1.0, -0.5, 0.125, 2.0]], dtype=torch.float64)  # 2 relu(p_c - y_c / 2 + 1/8)
    log_probs = torch.tensor([[[0.5, 0.25, 0.25]]], dtype=torch.float64).log()
    assert component.loss(solution, log_probs, torch.tensor([0])).item() == pytest.approx(2 * (0.125 + 0.375 + 0.375))
    assert component.loss(solution, log_probs, torch.tensor([1])).item() == pytest.approx(2 * (0.625 + 0.0 + 0.375))


def test_a_linear_pairwise_network_can_be_the_log_margin():
    """f = a phi(p_y) + b phi(p_j) with a leaky unit on its positive side: mean over rivals of -log p_y + log p_j."""
    component = PairwiseMLP(hidden=(1,), activation="relu", log_scale=2.0)
    solution = torch.tensor([[2.0, -2.0, 100.0, 1.0]], dtype=torch.float64)
    _, log_probs, labels_B = draw(component)
    own = log_probs[0].gather(1, labels_B[:, None])
    expected = 100 + (log_probs[0].sum(dim=1, keepdim=True) - own) / 4 - own
    torch.testing.assert_close(component.loss(solution, log_probs, labels_B), expected.T, rtol=1e-12, atol=1e-12)
