"""What loss modules rely on in a published loss."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from lossforge.interfaces import ClasswiseLoss, LocalLoss, Loss
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import assert_near, same_bits


class LossKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.Loss`."""

    base = Loss

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_a_value_for_each_sample(self, component: Loss, device: str, dtype: torch.dtype) -> None:
        """Of the type and on the device of the logits, for any number of samples and classes."""
        for num, num_classes in ((6, 5), (1, 2), (3, 1000), (0, 4)):
            logits_BC, labels_B = draw(num, num_classes, dtype, device)
            loss_B = component.per_sample(logits_BC, labels_B)
            assert tuple(loss_B.shape) == (num,), (
                f"per_sample() of {num} samples has the shape {tuple(loss_B.shape)}, not ({num},): reduce nothing"
            )
            found = (loss_B.dtype, loss_B.device.type)
            assert found == (dtype, device), f"per_sample() returned {found} for logits of {(dtype, device)}"
            assert loss_B.isfinite().all(), f"values are not finite for {num_classes} classes"

    def test_samples_are_independent(self, component: Loss) -> None:
        """Each alone has the value it has among others."""
        logits_BC, labels_B = draw()
        alone = [component.per_sample(logits_BC[[i]], labels_B[[i]])[0] for i in range(len(labels_B))]
        assert_near(
            component.per_sample(logits_BC, labels_B),
            torch.stack(alone),
            "the loss of a sample depends on the others of its batch",
            rtol=1e-12,
            atol=1e-13,
        )

    def test_classes_are_treated_alike(self, component: Loss) -> None:
        """Renaming the classes changes nothing."""
        logits_BC, labels_B = draw()
        order_C = torch.tensor([3, 0, 4, 2, 1])
        assert_near(
            component.per_sample(logits_BC[:, order_C], order_C.argsort()[labels_B]),
            component.per_sample(logits_BC, labels_B),
            "the loss depends on the order of classes",
            rtol=1e-9,
            atol=1e-12,
        )

    def test_gradcheck(self, component: Loss, device: str) -> None:
        """Gradients are the derivatives of the values, in float64."""
        logits_BC, labels_B = draw(3, 4, device=device)
        assert torch.autograd.gradcheck(
            lambda logits: component.per_sample(logits, labels_B), logits_BC.requires_grad_()
        )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_values_and_gradients_are_finite_at_extreme_logits(
        self, component: Loss, device: str, dtype: torch.dtype
    ) -> None:
        """Every pattern of -1e4, 0 and 1e4 over four classes, and the extremes of 2 and 1000 classes."""
        patterns = torch.tensor(list(itertools.product((-1e4, 0.0, 1e4), repeat=4)), dtype=dtype)
        for logits_BC in (patterns, extremes(2, dtype), extremes(1000, dtype)):
            for label in range(4) if logits_BC is patterns else (0, logits_BC.shape[1] - 1):
                labels_B = torch.full((len(logits_BC),), label, device=device)
                value_B, gradient_BC = value_and_gradient(component, logits_BC.to(device), labels_B)
                for what, numbers in (("value", value_B), ("gradient", gradient_BC)):
                    bad_B = ~numbers.reshape(len(numbers), -1).isfinite().all(dim=1)
                    assert not bad_B.any(), (
                        f"the {what} is not finite for logits {logits_BC[bad_B.cpu()][0].tolist()[:6]} and label "
                        f"{label}: use log_softmax, and keep 0 * inf out of both branches of torch.where"
                    )

    def test_float32_is_near_float64(self, component: Loss, device: str) -> None:
        """Values to 2e-5, gradients as well."""
        logits_BC, labels_B = draw(40, device=device)
        exact = value_and_gradient(component, logits_BC, labels_B)
        single = value_and_gradient(component, logits_BC.float(), labels_B)
        for what, found, expected in zip(("values", "gradients"), single, exact, strict=True):
            assert_near(
                found.double(), expected, f"{what} in float32 are far from those in float64", rtol=2e-5, atol=2e-6
            )

    def test_all_classes_at_once_are_each_in_turn(self, component: Loss, device: str) -> None:
        """``per_class`` is ``per_sample`` with each class as the label; for losses that have it."""
        if not isinstance(component, ClasswiseLoss):
            return
        for num_classes in (2, 5):
            logits_BC, _ = draw(6, num_classes, device=device)
            each = [
                component.per_sample(logits_BC, torch.full((6,), label, device=device)) for label in range(num_classes)
            ]
            assert_near(
                component.per_class(logits_BC),
                torch.stack(each, dim=1),
                "per_class() and per_sample() disagree",
                rtol=1e-9,
                atol=1e-12,
            )

    def test_a_function_of_log_p_is_elementwise(self, component: Loss, device: str) -> None:
        """``of_log_prob`` takes any shape; for losses that have it."""
        if not isinstance(component, LocalLoss):
            return
        log_prob = -torch.rand(2, 3, 4, dtype=torch.float64, generator=seeded(0, device), device=device)
        found = component.of_log_prob(log_prob)
        assert found.shape == log_prob.shape, f"of_log_prob() made {tuple(found.shape)} of {tuple(log_prob.shape)}"
        assert_near(
            found.flatten(),
            component.of_log_prob(log_prob.flatten()),
            "of_log_prob() is not elementwise",
            rtol=1e-12,
            atol=1e-13,
        )

    def test_what_it_is_given_is_left_alone_and_nothing_is_drawn(self, component: Loss, device: str) -> None:
        """Logits and labels keep their values, global random states stay, and a second call has the same bits."""
        logits_BC, labels_B = draw(device=device)
        copies = logits_BC.clone(), labels_B.clone()
        seed_everything(1)
        with global_state_untouched("per_sample()"):
            first = component.per_sample(logits_BC, labels_B)
        assert torch.equal(logits_BC, copies[0]), "per_sample() changed the logits in place"
        assert torch.equal(labels_B, copies[1]), "per_sample() changed the labels in place"
        seed_everything(2)
        again = component.per_sample(logits_BC, labels_B)
        assert same_bits(again, first), "two calls of per_sample() on the same logits gave different losses"

    def test_training_works_after_inference(self, component: Loss, device: str) -> None:
        """Values in inference mode are those with gradients, and nothing that was made there is kept."""
        logits_BC, labels_B = draw(7, 6, device=device)
        with torch.inference_mode():
            inferred_B = component.per_sample(logits_BC.clone(), labels_B.clone())
        value_B, _ = value_and_gradient(component, logits_BC, labels_B)
        assert_near(
            inferred_B.clone(), value_B, "per_sample() has other values in inference mode", rtol=1e-12, atol=1e-13
        )

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: Loss) -> None:
        """Values and gradients in float32."""
        require_registered(component)
        same_in_a_fresh_process(results, component)


def draw(
    num: int = 6, num_classes: int = 5, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return logits of standard deviation 2, and labels."""
    generator = seeded()
    logits_BC = 2 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    labels_B = torch.randint(num_classes, (num,), generator=generator)
    return logits_BC.to(device, dtype), labels_B.to(device)


def extremes(num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return logits of -1e4, of which the first, all but the first, or all are 1e4."""
    logits_BC = torch.full((4, num_classes), -1e4, dtype=dtype)
    logits_BC[0, 0], logits_BC[1, 1:], logits_BC[2] = 1e4, 1e4, 1e4
    return logits_BC


def value_and_gradient(loss: Loss, logits_BC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses, and their gradients in the logits."""
    leaf = logits_BC.detach().clone().requires_grad_()
    value_B = loss.per_sample(leaf, labels_B)
    (gradient_BC,) = torch.autograd.grad(value_B.sum(), leaf)
    return value_B.detach(), gradient_BC


def results(loss: Loss) -> Mapping[str, Tensor]:
    """Return what a fresh process has to come to."""
    value_B, gradient_BC = value_and_gradient(loss, *draw(40, dtype=torch.float32))
    return {"values": value_B, "gradients": gradient_BC}
