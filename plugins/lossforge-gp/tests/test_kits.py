"""The contracts of lossforge: families, mutation operators and strategies."""

from __future__ import annotations

import pytest
import torch

from lossforge.testing import MutationKit, ParameterizationKit, StrategyKit
from lossforge.types import State
from lossforge_gp import GPExpression, GPGenerational, GPMutation, Grammar, encoded
from lossforge_gp.text import parsed

GRAMMARS = {
    "evomal": Grammar(),
    "autoloss_zero": Grammar(functions="autoloss_zero", max_nodes=31, max_depth=8),
    "glo": Grammar(functions="glo"),
    "few": Grammar(functions=("mul", "sub", "log"), max_nodes=9, max_depth=4),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Many small operations: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TestGPExpression(ParameterizationKit):
    @pytest.fixture(params=GRAMMARS)
    def component(self, request):
        return GPExpression(grammar=GRAMMARS[request.param])


class TestGPGenerational(StrategyKit):
    @pytest.fixture(params=["default", "others"])
    def component(self, request):
        options = {"population_size": 20, "crossover_rate": 0.9, "elite_share": 0.2, "tournament_size": 2}
        return GPGenerational(**({} if request.param == "default" else options))


class TestGPMutation(MutationKit):
    """Parents are expressions, and sigma is the step of constants alone: what the kit asks of steps is asked of it."""

    has_variance = False
    operator = GPMutation(grammar=Grammar(functions="evomal"))
    constants_only = GPMutation(grammar=Grammar(functions="evomal"), subtree=1e-12, point=0, hoist=0, shrink=0)

    @pytest.fixture
    def component(self):
        return self.operator

    def parents(self, num: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return encoded([parsed("mul(-1, mul(y, log(p)))")] * num, 20).to(dtype)

    def mutated(self, operator, parents_PD, sigma=1.0, seed=0):
        source = torch.Generator().manual_seed(seed)
        state = operator.init(*parents_PD.shape, source)
        return operator.mutate(parents_PD, sigma, state, source)[0]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_children_have_shape_type_and_device_of_their_parents(self, component, device, dtype):
        for num in (1, 7):
            children_PD = self.mutated(component, self.parents(num, dtype))
            assert children_PD.shape == (num, 40)
            assert children_PD.dtype == dtype
            assert children_PD.isfinite().all()

    def test_sigma_scales_the_steps_around_the_parents(self, component, device):
        parents_PD = self.parents(50)
        small, large = (self.mutated(self.constants_only, parents_PD, sigma) - parents_PD for sigma in (0.25, 0.5))
        torch.testing.assert_close(large, 2 * small, rtol=1e-4, atol=1e-6)
        assert (small != 0).sum() == 50

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_sigma_may_be_a_number_for_each_parent(self, component, device, dtype):
        parents_PD = self.parents(4, dtype)
        sigma_P1 = torch.tensor([[0.1], [0.2], [0.4], [3.0]], dtype=dtype)
        alike = self.mutated(component, parents_PD, torch.full_like(sigma_P1, 0.3))
        torch.testing.assert_close(alike, self.mutated(component, parents_PD, 0.3))
        steps = self.mutated(self.constants_only, parents_PD, sigma_P1) - parents_PD
        expected = sigma_P1 * (self.mutated(self.constants_only, parents_PD, 1.0) - parents_PD)
        torch.testing.assert_close(steps, expected, rtol=1e-4, atol=1e-6)

    def test_its_keys_are_its_own_and_others_are_passed_on(self, component, device):
        assert component.init(4, 40, torch.Generator()) == {}
        others: State = {"strategy.generation": 3}
        assert component.mutate(self.parents(4), 1.0, others, torch.Generator())[1] == others

    def test_what_it_is_given_is_left_alone(self, component, device):
        parents_PD, sigma_P1 = self.parents(4), torch.full((4, 1), 0.5)
        self.mutated(component, parents_PD, sigma_P1)
        self.operator.cross(parents_PD, parents_PD, torch.Generator())
        assert torch.equal(parents_PD, self.parents(4))
        assert torch.equal(sigma_P1, torch.full((4, 1), 0.5))

    def test_the_generator_alone_decides(self, component, device):
        for make in (
            lambda seed: self.mutated(component, self.parents(9), seed=seed),
            lambda seed: component.cross(*self.parents(18).split(9), torch.Generator().manual_seed(seed)),
        ):
            torch.manual_seed(1)
            before = torch.get_rng_state()
            first = make(1)
            assert torch.equal(torch.get_rng_state(), before)
            torch.manual_seed(2)
            assert torch.equal(make(1), first)
            assert not torch.equal(make(2), first)

    test_a_restored_state_goes_on_bit_for_bit = None  # there is no state
    test_a_fresh_process_comes_to_the_same_bytes = None  # parents of the kit are no expressions; see test_example.py
