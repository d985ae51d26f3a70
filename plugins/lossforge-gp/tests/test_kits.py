"""The contracts of lossforge: families, mutation operators and strategies."""

from __future__ import annotations

import pytest
import torch

from lossforge.testing import MutationKit, ParameterizationKit, StrategyKit
from lossforge.testing.mutations import mutate
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


@pytest.mark.parametrize("component", [GPExpression, GPGenerational, GPMutation])
def test_no_number_is_without_a_bound(component):
    schema = component.model_json_schema()
    for group in (schema, *schema.get("$defs", {}).values()):
        for name, option in group.get("properties", {}).items():
            assert option.get("type") != "integer" or "maximum" in option, name


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
    adds_steps = False
    constants_only = GPMutation(grammar=Grammar(functions="evomal"), subtree=1e-12, point=0, hoist=0, shrink=0)

    @pytest.fixture
    def component(self):
        return GPMutation(grammar=Grammar(functions="evomal"))

    def parents(self, num: int) -> torch.Tensor:
        return encoded([parsed("mul(-1, mul(y, log(p)))")] * num, 20)

    def steps(self, sigma: float | torch.Tensor) -> torch.Tensor:
        return mutate(self.constants_only, self.parents(50), sigma) - self.parents(50)

    def test_sigma_is_the_step_of_constants(self):
        torch.testing.assert_close(self.steps(0.5), 2 * self.steps(0.25), rtol=1e-4, atol=1e-6)
        assert (self.steps(0.25) != 0).sum() == 50
        sigma_P1 = torch.linspace(0.1, 3, 50)[:, None]
        torch.testing.assert_close(self.steps(sigma_P1), sigma_P1 * self.steps(1.0), rtol=1e-4, atol=1e-6)

    def test_crossover_keeps_what_it_is_given_and_is_drawn_from_the_generator_alone(self, component):
        def crossed(seed: int) -> torch.Tensor:
            return component.cross(*parents_PD.split(9), torch.Generator().manual_seed(seed))

        parents_PD = self.parents(18)
        before = torch.get_rng_state()
        first = crossed(1)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(crossed(1), first)
        assert not torch.equal(crossed(2), first)
        assert torch.equal(parents_PD, self.parents(18))
