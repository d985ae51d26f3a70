"""The monotone network against a plain loop, and what makes it monotone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lossforge.parameterizations import Monotone

ACTIVATIONS = {"tanh": math.tanh, "softsign": lambda x: x / (1 + abs(x)), "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
P = torch.cat(
    (torch.logspace(-30, -0.01, 40, dtype=torch.float64), 1 - torch.logspace(-2, -15, 14, dtype=torch.float64))
)
LAYOUTS = [{"hidden": (1,)}, {"hidden": (8,)}, {"hidden": (3, 5, 2)}, {"hidden": (4, 4), "knee": 0.5, "log_scale": 3.0}]


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def reference(family: Monotone, solution: list[float], s: float) -> float:
    """g(s), from the documented layout."""
    numbers = iter(solution)
    value = (family.floor + softplus(next(numbers))) * s
    units = [s / family.log_scale, math.log(1 + s / family.knee) / math.log(1 + family.log_scale / family.knee)]
    for index, width in enumerate(family.hidden):
        rows = [[softplus(next(numbers)) for _ in units] for _ in range(width)]
        biases = [next(numbers) for _ in range(width)]
        share = 1.0 if index == 0 else 1 / math.sqrt(len(units))
        units = [
            ACTIVATIONS[family.activation](share * math.fsum(w * u for w, u in zip(row, units, strict=True)) + bias)
            for row, bias in zip(rows, biases, strict=True)
        ]
    value += math.fsum(softplus(next(numbers)) * unit for unit in units) / len(units)
    assert next(numbers, None) is None, "parameters are left over"
    return value


def value_and_weight(
    family: Monotone, solutions_PD: torch.Tensor, log_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """g and w = dg/ds of every solution."""
    leaf = log_p.expand(len(solutions_PD), -1).clone().requires_grad_()
    log_probs = torch.stack((leaf, torch.full_like(leaf, -50.0)), dim=2)
    loss = family.loss(solutions_PD, log_probs, torch.zeros(len(log_p), dtype=torch.int64))
    loss.sum().backward()
    return loss.detach(), -leaf.grad


class TestFormula:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("options", LAYOUTS, ids=str)
    def test_it_equals_the_plain_loop(self, options, activation):
        family = Monotone(activation=activation, **options)
        solutions_PD = family.init(3, torch.Generator().manual_seed(0)).double()
        found, _ = value_and_weight(family, solutions_PD, P.log())
        expected = [[reference(family, row, s) for s in (-P.log()).tolist()] for row in solutions_PD.tolist()]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("options", LAYOUTS, ids=str)
    def test_num_parameters(self, options):
        family = Monotone(**options)
        widths = (2, *family.hidden)
        weights = sum(into * out for into, out in zip(widths, family.hidden, strict=False))
        assert family.num_parameters == 1 + weights + sum(family.hidden) + family.hidden[-1]
        assert Monotone().num_parameters == 1 + 16 + 8 + 8


class TestMonotonicity:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("spread", [1.0, 10.0, 1000.0])
    @pytest.mark.parametrize("hidden", [(8,), (4, 4)])
    def test_no_solution_has_a_weight_below_the_floor(self, hidden, spread, activation):
        """In float32, for s from 0 to a million."""
        family = Monotone(hidden=hidden, activation=activation, floor=0.02)
        solutions_PD = spread * torch.randn(200, family.num_parameters, generator=torch.Generator().manual_seed(0))
        log_p = torch.cat((P.log(), torch.tensor([0.0, -1e2, -1e4, -1e6]))).float()
        loss, weight = value_and_weight(family, solutions_PD, log_p)
        assert (weight >= 0.02 * (1 - 1e-6)).all()
        assert loss.isfinite().all()
        assert weight.isfinite().all()

    def test_the_value_rises_with_s(self):
        solutions_PD = Monotone().init(50, torch.Generator().manual_seed(0)).double()
        loss, _ = value_and_weight(Monotone(), solutions_PD, P.log())
        assert (loss.diff(dim=1) < 0).all()  # P rises

    def test_with_nothing_but_the_floor_it_is_a_multiple_of_cross_entropy(self):
        """softplus(-1000) = 0 for the slope and the output weights."""
        family = Monotone(hidden=(2,), floor=0.5)
        solution = torch.tensor([[-1000.0, *[1.0] * 6, -1000.0, -1000.0]], dtype=torch.float64)
        loss, _ = value_and_weight(family, solution, P.log())
        torch.testing.assert_close(loss[0], -0.5 * P.log(), rtol=1e-14, atol=0)

    def test_it_can_take_the_shape_of_other_losses(self):
        """Fitted to the profile of GCE 0.7 and of a loss that favours easy samples, p from 1e-4 to 0.99."""
        family = Monotone(floor=1e-3)
        log_p = torch.linspace(math.log(1e-4), math.log(0.99), 60, dtype=torch.float64)
        log_p = torch.cat((log_p, torch.log1p(-torch.logspace(-2, -0.5, 30, dtype=torch.float64))))
        targets = torch.stack((torch.exp(0.7 * log_p), torch.exp(0.3 * log_p - 0.6 * torch.log(-torch.expm1(log_p)))))
        theta = family.init(2, torch.Generator().manual_seed(0)).double().requires_grad_()
        optimizer = torch.optim.LBFGS([theta], max_iter=200, line_search_fn="strong_wolfe")
        leaf = log_p.expand(2, -1).clone().requires_grad_()

        def weight() -> torch.Tensor:
            log_probs = torch.stack((leaf, torch.full_like(leaf, -50.0)), dim=2)
            loss = family.loss(theta, log_probs, torch.zeros(len(log_p), dtype=torch.int64))
            return -torch.autograd.grad(loss.sum(), leaf, create_graph=True)[0]

        def misfit() -> torch.Tensor:
            optimizer.zero_grad()
            distance = (weight().log() - targets.log()).square().mean()
            distance.backward()
            return distance

        optimizer.step(misfit)
        error = (weight().detach().log() - targets.log()).abs().amax(dim=1)
        assert (error < 0.2).all()


class TestOptions:
    def test_json_round_trip(self):
        family = Monotone(hidden=(4, 3), activation="softsign", log_scale=7, knee=0.1, floor=0.2)
        assert Monotone.model_validate_json(family.model_dump_json()) == family

    @pytest.mark.parametrize(
        "options",
        [{"hidden": ()}, {"hidden": (0,)}, {"activation": "relu"}, {"log_scale": 0.0}, {"knee": 0.0}, {"floor": 0.0},
         {"floor": -1.0}, {"knee": math.inf}, {"bias": True}],
        ids=str,
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            Monotone(**options)
