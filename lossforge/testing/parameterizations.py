"""What searches, loss modules and exports rely on in a family of losses."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from lossforge.interfaces import LossParameterization
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.families import draw, edge_logits, network_of, num_classes_of, value_and_gradients
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import assert_near, num_distinct, same_bits


class ParameterizationKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.LossParameterization`; of 5 classes where it takes any number."""

    base = LossParameterization

    def test_the_prior_draws_solutions(self, component: LossParameterization, device: str) -> None:
        """float32, finite, of shape (num, D), no two alike; on the generator's device."""
        solutions_PD = component.init(7, seeded(0, device))
        found = (tuple(solutions_PD.shape), solutions_PD.dtype, solutions_PD.device.type)
        expected = ((7, component.num_parameters), torch.float32, device)
        assert found == expected, f"init(7, generator) returned {found}, it must be {expected}"
        assert solutions_PD.isfinite().all(), "init() drew numbers that are not finite"
        assert num_distinct(solutions_PD) == 7, "init() drew a solution twice"

    def test_the_generator_alone_decides(self, component: LossParameterization, device: str) -> None:
        """Global random states are neither used nor moved, by losses neither; one seed gives one draw."""
        seed_everything(1)
        with global_state_untouched("init() or loss()"):
            first = component.init(5, seeded(1, device))
            value_PB = component.loss(first, *draw(component, device=device)[1:])
        seed_everything(2)
        again = component.init(5, seeded(1, device))
        assert same_bits(again, first), "a generator of the same seed gave other solutions: nothing else may decide"
        again_PB = component.loss(first, *draw(component, device=device)[1:])
        assert same_bits(again_PB, value_PB), "two calls of loss() on the same predictions gave different losses"
        assert not torch.equal(component.init(5, seeded(2, device)), first), "two seeds gave the same solutions"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("leading", [1, 3], ids=["shared", "own"])
    def test_a_value_for_every_candidate_and_pair(
        self, component: LossParameterization, device: str, leading: int, dtype: torch.dtype
    ) -> None:
        """In the precision of the predictions, whatever that of the solutions."""
        solutions_PD, log_probs_PBC, labels_B = draw(component, leading=leading, dtype=dtype, device=device)
        for solutions in (solutions_PD, solutions_PD.float()):
            loss_PB = component.loss(solutions, log_probs_PBC, labels_B)
            found = (tuple(loss_PB.shape), loss_PB.dtype, loss_PB.device.type)
            assert found == ((3, 4), dtype, device), f"loss() returned {found}, it must be {((3, 4), dtype, device)}"

    def test_candidates_and_pairs_are_independent(self, component: LossParameterization, device: str) -> None:
        """Alone and together, with predictions shared and of their own, they have the same values."""
        solutions_PD, shared, labels_B = draw(component, num=5, device=device)
        together = component.loss(solutions_PD, shared, labels_B)
        own = shared.repeat(5, 1, 1)
        candidates = [component.loss(solutions_PD[[i]], own[[i]], labels_B)[0] for i in range(5)]
        pairs = [component.loss(solutions_PD, shared[:, [i]], labels_B[[i]])[:, 0] for i in range(4)]
        for what, found in (
            ("with predictions of their own", component.loss(solutions_PD, own, labels_B)),
            ("with each candidate alone", torch.stack(candidates)),
            ("with each pair alone", torch.stack(pairs, dim=1)),
        ):
            assert_near(found, together, f"loss() {what} differs from all together", rtol=1e-12, atol=1e-13)

    def test_classes_are_alike_and_of_any_number_unless_it_says_otherwise(
        self, component: LossParameterization, device: str
    ) -> None:
        """Where ``class_count`` is None, renaming the classes changes nothing, for 2, 7 and 100 of them."""
        if component.class_count is not None:
            assert component.class_count >= 2, f"class_count is {component.class_count}; a loss needs two classes"
            return
        for num_classes in (2, 7, 100):
            solutions_PD, log_probs_PBC, labels_B = draw(component, num_classes=num_classes, device=device)
            renamed = torch.randperm(num_classes, generator=seeded()).to(device)
            permuted = torch.empty_like(log_probs_PBC)
            permuted[..., renamed] = log_probs_PBC
            assert_near(
                component.loss(solutions_PD, permuted, renamed[labels_B]),
                component.loss(solutions_PD, log_probs_PBC, labels_B),
                "class_count is None, yet the loss depends on the order of classes",
                rtol=1e-11,
                atol=1e-11,
            )

    @pytest.mark.parametrize("leading", [1, 2], ids=["shared", "own"])
    def test_gradcheck(self, component: LossParameterization, device: str, leading: int) -> None:
        """Gradients in solutions and log-probabilities are the derivatives of the values, in float64."""
        solutions_PD, log_probs_PBC, labels_B = draw(component, num=2, num_pairs=2, leading=leading, device=device)
        assert torch.autograd.gradcheck(
            lambda solutions, log_probs: component.loss(solutions, log_probs, labels_B),
            (solutions_PD.requires_grad_(), log_probs_PBC.requires_grad_()),
        )

    @pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
    def test_values_and_gradients_are_finite_for_every_confidence(
        self, component: LossParameterization, device: str, autocast: bool
    ) -> None:
        """p from 1e-30 to 1 - 1e-7 and 1; draws of the prior, and three times as far out, in float32."""
        logits_BC = edge_logits(num_classes_of(component)).to(device)
        labels_B = torch.zeros(len(logits_BC), dtype=torch.int64, device=device)
        for spread in (1, 3):
            solutions_PD = spread * component.init(20, seeded(0, device))

            def loss(log_probs: Tensor, solutions_PD: Tensor = solutions_PD) -> Tensor:
                with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
                    return component.loss(solutions_PD, log_probs, labels_B)

            numbers = value_and_gradients(loss, logits_BC[None].expand(20, -1, -1))
            for what, each in zip(("value", "gradient in log p", "gradient in the logits"), numbers, strict=True):
                assert each.dtype == torch.float32, f"the {what} is {each.dtype}, it must be float32"
                bad_B = ~each.reshape(20, len(labels_B), -1).isfinite().all(dim=2).all(dim=0)
                assert not bad_B.any(), (
                    f"the {what} is not finite at logits {logits_BC[bad_B][0].tolist()[:6]}, label 0, draws x {spread}"
                )

    def test_values_are_finite_for_log_probabilities_as_given(
        self, component: LossParameterization, device: str
    ) -> None:
        """log p_y exactly 0, and 1e-30 and less below it, as rounding may leave it, and 1e-8 above."""
        solutions_PD = component.init(20, seeded(0, device))
        log_probs_PBC = torch.full((1, 4, num_classes_of(component)), -50.0, device=device)
        log_probs_PBC[0, :, 0] = torch.tensor([0.0, -1e-30, -1e-45, 1e-8])
        log_probs_PBC.requires_grad_()
        loss_PB = component.loss(solutions_PD, log_probs_PBC, torch.zeros(4, dtype=torch.int64, device=device))
        (gradient_PBC,) = torch.autograd.grad(loss_PB.sum(), log_probs_PBC)
        assert loss_PB.isfinite().all(), "the loss is not finite for log p_y = 0 or next to it"
        assert gradient_PBC.isfinite().all(), "the gradient is not finite for log p_y = 0 or next to it"

    def test_what_is_not_a_number_stays_so_and_alone(self, component: LossParameterization, device: str) -> None:
        """NaN in one pair makes that pair NaN and moves no other."""
        solutions_PD, log_probs_PBC, labels_B = draw(component, dtype=torch.float32, device=device)
        expected = component.loss(solutions_PD, log_probs_PBC, labels_B)
        log_probs_PBC[0, 1] = torch.nan
        found = component.loss(solutions_PD, log_probs_PBC, labels_B)
        assert found[:, 1].isnan().all(), "predictions of NaN have a loss that is a number: a training would not notice"
        others = [0, 2, 3]
        assert torch.equal(found[:, others], expected[:, others]), "NaN in one pair moved the losses of others"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    def test_it_is_computed_in_float32_under_autocast(
        self, component: LossParameterization, device: str, dtype: torch.dtype
    ) -> None:
        """Autocast changes no bit, and half-precision predictions are computed in float32."""
        solutions_PD, log_probs_PBC, labels_B = draw(component, num_pairs=16, dtype=torch.float32, device=device)
        log_probs_PBC = log_probs_PBC.to(dtype).requires_grad_()
        expected = component.loss(solutions_PD, log_probs_PBC.float(), labels_B)
        for enabled in (False, True):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
                found = component.loss(solutions_PD, log_probs_PBC, labels_B)
            where = f"predictions of {dtype}, autocast {'on' if enabled else 'off'}"
            assert found.dtype == torch.float32, f"{where}: the loss is {found.dtype}, it must be float32"
            assert torch.equal(found, expected), (
                f"{where}: the loss is not that in float32; compute with torch.autocast(device, enabled=False)"
            )
            (gradient_PBC,) = torch.autograd.grad(found.sum(), log_probs_PBC)
            assert gradient_PBC.dtype == dtype, f"{where}: the gradient is {gradient_PBC.dtype}"
            assert gradient_PBC.isfinite().all(), f"{where}: the gradient is not finite"

    def test_float32_is_near_float64(self, component: LossParameterization, device: str) -> None:
        """To 2e-5."""
        solutions_PD, log_probs_PBC, labels_B = draw(
            component, num=20, num_pairs=50, dtype=torch.float32, device=device
        )
        exact = component.loss(solutions_PD.double(), log_probs_PBC.double(), labels_B)
        assert_near(
            component.loss(solutions_PD, log_probs_PBC, labels_B).double(),
            exact,
            "values in float32 are far from those in float64",
            rtol=2e-5,
            atol=2e-5,
        )

    def test_what_it_is_given_is_left_alone(self, component: LossParameterization, device: str) -> None:
        """Solutions, predictions and labels keep their values."""
        given = draw(component, device=device)
        copies = [each.clone() for each in given]
        component.loss(*given)
        component.source(given[0][0])
        for name, each, copy in zip(("solutions_PD", "log_probs_PBC", "labels_B"), given, copies, strict=True):
            assert torch.equal(each, copy), f"loss() or source() changed {name} in place"

    def test_training_works_after_inference(self, component: LossParameterization, device: str) -> None:
        """Values in inference mode are those with gradients, and nothing that was made there is kept."""
        solutions_PD, log_probs_PBC, labels_B = draw(component, num=2, num_pairs=9, seed=5, device=device)
        with torch.inference_mode():
            inferred_PB = component.loss(solutions_PD.clone(), log_probs_PBC.clone(), labels_B.clone())
        value_PB = component.loss(solutions_PD.requires_grad_(), log_probs_PBC.requires_grad_(), labels_B)
        torch.autograd.grad(value_PB.sum(), (solutions_PD, log_probs_PBC), allow_unused=True)
        assert_near(
            inferred_PB.clone(), value_PB.detach(), "loss() has other values in inference mode", rtol=1e-12, atol=1e-13
        )

    def test_its_source_needs_torch_alone(self, component: LossParameterization) -> None:
        """The code compiles, and imports nothing but torch and math."""
        code = component.source(component.init(1, seeded(3))[0])
        imported = set()
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
        assert imported <= {"torch", "math"}, f"source() imports {sorted(imported - {'torch', 'math'})}"
        assert issubclass(network_of(code), nn.Module), "source() must define class Network(nn.Module)"

    def test_its_source_is_the_same_loss(self, component: LossParameterization) -> None:
        """Values and gradients of ``Network`` are those of ``loss``, in float64, for extreme logits, too.

        Of 2 and 7 classes as well, where the family takes any number.
        """
        network = network_of(component.source(component.init(1, seeded(3))[0]))()
        for num_classes in (num_classes_of(component), *(() if component.class_count else (2, 7))):
            solutions_PD, log_probs_PBC, labels_B = draw(component, 1, 8, seed=3, num_classes=num_classes)
            edges_BC = edge_logits(num_classes).double()
            assert_same_loss(component, network, solutions_PD, log_probs_PBC[0], labels_B)
            assert_same_loss(component, network, solutions_PD, edges_BC, edges_BC.new_zeros(62).long())

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: LossParameterization) -> None:
        """Solutions, their losses and gradients, and the code of one."""
        require_registered(component)
        same_in_a_fresh_process(results, component)


def assert_same_loss(
    family: LossParameterization, network: nn.Module, solutions_PD: Tensor, logits_BC: Tensor, labels_B: Tensor
) -> None:
    """Fail unless a network has the values and gradients of the one solution's loss."""
    expected = value_and_gradients(lambda log_probs: family.loss(solutions_PD, log_probs[None], labels_B)[0], logits_BC)
    found = value_and_gradients(lambda log_probs: network(log_probs, labels_B), logits_BC)
    for what, each, of_loss in zip(("values", "gradients"), found, expected, strict=False):
        assert_near(each, of_loss, f"{what} of source() are not those of loss()", rtol=1e-7, atol=1e-10)


def results(family: LossParameterization) -> Mapping[str, object]:
    """Return what a fresh process has to come to."""
    solutions_PD, log_probs_PBC, labels_B = draw(family, dtype=torch.float32)
    value_PB, gradient_PBC, _ = value_and_gradients(
        lambda log_probs: family.loss(solutions_PD, log_probs, labels_B), log_probs_PBC
    )
    source = family.source(solutions_PD[0])
    return {"solutions": solutions_PD, "values": value_PB, "gradients": gradient_PBC, "source()": source}
