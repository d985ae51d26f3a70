"""What every installed mutation operator keeps to, as strategies and searches rely on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import MutationOperator
from lossforge.mutations.maps import MAPS
from lossforge.types import State

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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every(condition: Callable[[MutationOperator], object]) -> pytest.MarkDecorator:
    chosen = {name: operator for name, operator in operators().items() if condition(operator)}
    return pytest.mark.parametrize("operator", chosen.values(), ids=chosen)


every_operator = every(lambda operator: True)
every_one_with_variance = every(lambda operator: operator.type not in WITHOUT_VARIANCE)
every_one_with_memory = every(lambda operator: operator.init(1, 1, generator()))


def mutate(operator: MutationOperator, parents_PD: Tensor, sigma: float | Tensor = 1.0, seed: int = 0) -> Tensor:
    source = generator(seed)
    return operator.mutate(parents_PD, sigma, operator.init(*parents_PD.shape, source), source)[0]


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(*map(torch.as_tensor, (first[k], second[k]))) for k in first
    )


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_children_have_the_shape_and_precision_of_their_parents(operator, dtype):
    for shape in ((5, 3), (1, 1), (7, 1)):
        children = mutate(operator, torch.zeros(shape, dtype=dtype))
        assert children.shape == shape
        assert children.dtype == dtype
        assert children.isfinite().all()


@every_operator
def test_steps_have_mean_0_and_variance_1(operator):
    steps = mutate(operator, torch.zeros(3000, 20, dtype=torch.float64)).flatten()
    size = len(steps) ** -0.5
    if operator.type in WITHOUT_VARIANCE:
        quartiles = steps.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
        assert quartiles.tolist() == pytest.approx([-1, 1], abs=0.05)
        return
    assert steps.mean().item() == pytest.approx(0, abs=5 * size)
    assert steps.var().item() == pytest.approx(1, abs=5 * size * steps.square().std().item())


@every_one_with_variance
def test_so_they_have_in_every_coordinate_over_generations(operator):
    """Over 50 generations of 400 children; orbits remember a few steps, so errors are taken twice as wide."""
    source, steps = generator(1), []
    state = operator.init(400, 3, source)
    for _ in range(50):
        children, state = operator.mutate(torch.zeros(400, 3, dtype=torch.float64), 1.0, state, source)
        steps.append(children)
    drawn = torch.cat(steps)
    size = 2 * 5 * len(drawn) ** -0.5
    assert drawn.mean(dim=0).abs().max() < size
    assert ((drawn.var(dim=0) - 1).abs() < size * drawn.square().std(dim=0)).all()


@every_operator
def test_sigma_scales_the_steps_and_parents_are_their_centre(operator):
    parents_PD = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    small, large = (mutate(operator, parents_PD, sigma) - parents_PD for sigma in (0.25, 0.5))
    torch.testing.assert_close(large, 2 * small)
    assert torch.equal(mutate(operator, parents_PD, 0.0), parents_PD)


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigma_may_be_a_number_for_each_parent(operator, dtype):
    parents_PD = torch.randn(4, 3, dtype=dtype, generator=generator(5))
    alike = mutate(operator, parents_PD, torch.full((4, 1), 0.3, dtype=dtype))
    torch.testing.assert_close(alike, mutate(operator, parents_PD, 0.3))
    assert alike.dtype == dtype
    sigma_P1 = torch.tensor([[0.0], [0.1], [0.2], [3.0]], dtype=dtype)
    own = mutate(operator, parents_PD, sigma_P1)
    expected = parents_PD + sigma_P1 * mutate(operator, torch.zeros_like(parents_PD))
    torch.testing.assert_close(own, expected)


@every_operator
def test_the_state_is_its_own_and_that_of_others_is_passed_on(operator):
    state = operator.init(4, 3, generator())
    assert all(key.startswith("mutation.") for key in state)
    others = {"strategy.generation": 3, "strategy.parents": torch.ones(2, 3)}
    _, after = operator.mutate(torch.zeros(4, 3), 1.0, {**others, **state}, generator())
    assert after.keys() == {*others, *state}
    assert same({key: after[key] for key in others}, others)


@every_operator
def test_what_it_is_given_is_left_alone(operator):
    parents_PD = torch.ones(4, 3)
    state = operator.init(4, 3, generator())
    copy = {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
    operator.mutate(parents_PD, 1.0, state, generator())
    assert torch.equal(parents_PD, torch.ones(4, 3))
    assert same(state, copy)


@every_operator
def test_the_generator_decides_and_nothing_else(operator):
    parents_PD = torch.zeros(4, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mutate(operator, parents_PD, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(mutate(operator, parents_PD, seed=1), first)
    assert not torch.equal(mutate(operator, parents_PD, seed=2), first)


@every_operator
def test_it_goes_on_from_a_copy_of_its_state(operator):
    """As a resumed search does: tensors through a file, numbers through JSON."""
    source, parents_PD = generator(), torch.zeros(4, 3)
    state = operator.init(4, 3, source)
    for _ in range(3):
        _, state = operator.mutate(parents_PD, 1.0, state, source)
    assert all(isinstance(value, Tensor | int | float) for value in state.values())
    copy = {key: torch.tensor(v.tolist(), dtype=v.dtype) if isinstance(v, Tensor) else v for key, v in state.items()}
    first, after = operator.mutate(parents_PD, 1.0, state, generator(8))
    second, again = operator.mutate(parents_PD, 1.0, copy, generator(8))
    assert torch.equal(first, second)
    assert same(after, again)


@every_one_with_memory
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (3, 4)])
def test_where_there_is_memory_other_parents_are_refused(operator, shape):
    state = operator.init(4, 3, generator())
    with pytest.raises(ValueError, match=r"cannot mutate parents of shape .*; initialise the operator"):
        operator.mutate(torch.zeros(shape), 1.0, state, generator())


@every_operator
def test_options_go_through_json(operator):
    assert type(operator).model_validate_json(operator.model_dump_json()) == operator


@every_operator
def test_every_option_is_described(operator):
    assert all(field.description for name, field in type(operator).model_fields.items() if name != "type")


@every_operator
def test_the_line_on_it_fits_a_terminal(operator):
    summary = (type(operator).__doc__ or "").partition("\n")[0]
    assert summary.endswith(".")
    assert 40 < len(summary) <= 120
