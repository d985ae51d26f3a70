"""Every installed mutation operator passes its kit; and what is asked of those of lossforge beyond it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lossforge import registry
from lossforge.interfaces import MutationOperator
from lossforge.mutations.maps import MAPS
from lossforge.testing import MutationKit

# Options besides the defaults.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "chaotic": [{"map": name, "form": form} for name in MAPS for form in ("standardised", "gaussianised")],
    "chaotic_evolution": [{"crossover_rate": 0.4}],
    "polynomial": [{"eta": 0.5}],
}
WITHOUT_VARIANCE = {"cauchy"}


def operators() -> dict[str, MutationOperator]:
    found = {}
    for name in registry.types("mutations"):
        for options in ({}, *VARIANTS.get(name, [])):
            operator = registry.get("mutations", name)(**options)
            assert isinstance(operator, MutationOperator)
            found["-".join((name, *map(str, options.values())))] = operator
    return found


ALL = operators()


class TestMutations(MutationKit):
    @pytest.fixture(params=[name for name in ALL if name not in WITHOUT_VARIANCE])
    def component(self, request):
        return ALL[request.param]


class TestWithoutVariance(MutationKit):
    has_variance = False

    @pytest.fixture(params=sorted(WITHOUT_VARIANCE))
    def component(self, request):
        return ALL[request.param]


@pytest.mark.parametrize("name", WITHOUT_VARIANCE)
def test_half_of_the_steps_without_variance_are_shorter_than_sigma(name):
    generator = torch.Generator().manual_seed(0)
    parents_PD = torch.zeros(3000, 20, dtype=torch.float64)
    children_PD, _ = ALL[name].mutate(parents_PD, 1.0, ALL[name].init(3000, 20, generator), generator)
    quartiles = children_PD.flatten().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert quartiles.tolist() == pytest.approx([-1, 1], abs=0.05)


@pytest.mark.parametrize(
    "operator", [each for each in ALL.values() if each.init(1, 1, torch.Generator())], ids=lambda each: each.label
)
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (3, 4)])
def test_where_there_is_memory_other_parents_are_refused(operator, shape):
    generator = torch.Generator().manual_seed(0)
    state = operator.init(4, 3, generator)
    with pytest.raises(ValueError, match=r"cannot mutate parents of shape .*; initialise the operator"):
        operator.mutate(torch.zeros(shape), 1.0, state, generator)
