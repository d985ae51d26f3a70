"""What every installed objective promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from lossforge import registry
from lossforge.fields import AnyObjective
from lossforge.interfaces import Objective
from lossforge.mutations import GaussianMutation
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.spec import RunSpec, SearchSpec
from lossforge.strategies import MuPlusLambda
from lossforge.types import PredictionBatch

ADAPTER: TypeAdapter[Objective] = TypeAdapter(AnyObjective)

RANKING = {"type": "ranking_consistency", "form": "hinge"}
DESCENT = {"type": "prediction_descent", "steps": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "gradient_shape": {},
    "halving": {
        "rungs": [
            {"objective": RANKING, "fraction": 0.7},
            {"objective": "gradient_shape", "fraction": 0.5},
            {"objective": DESCENT},
        ]
    },
    "lexicographic": {
        "stages": [{"objective": "gradient_shape", "threshold": 0.3}, {"objective": RANKING, "name": "ranking"}]
    },
    "pareto": {"objectives": [{"objective": RANKING}, {"objective": DESCENT}], "archive_size": 4},
    "prediction_descent": {"steps": 3, "num_rows": 40},
    "proxy_training": {
        "tasks": {"num_tasks": 2, "num_samples": 40, "num_held_out": 1000, "num_features": 6},
        "steps": 3,
        "hidden": [64],
        "learning_rates": [0.03, 0.1],
    },
    "ranking_consistency": {},
    "short_training": {
        "dataset": "digits",
        "model": "resnet8",
        "num_train": 64,
        "num_validation": 50,
        "epochs": 1,
        "batch_size": 32,
        "crop_padding": 1,
    },
    "weighted": {"terms": [{"objective": RANKING, "weight": 0.5}, {"objective": DESCENT}]},
}
"""Small ones where the defaults are dear."""

FAMILY = PairwiseMLP(hidden=(5,))


def build(name: str) -> Objective:
    return ADAPTER.validate_python({"type": name, **OPTIONS[name]})


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def solutions_PD() -> Tensor:
    """Six candidates; not that at place 2."""
    solutions = FAMILY.init(6, generator(0))
    solutions[2] = torch.nan
    return solutions


@pytest.fixture(scope="module")
def evaluate(solutions_PD: Tensor, batch: PredictionBatch) -> Callable[..., Any]:
    """Evaluate the candidates at these places; asked again, the answer is remembered."""
    known: dict[Any, Any] = {}

    def run(name: str, places: tuple[int, ...] = tuple(range(6)), again: bool = False) -> Any:
        if again or (name, places) not in known:
            population = ParameterPopulation(FAMILY, solutions_PD[list(places)], 10)
            known[name, places] = build(name).evaluate(population, batch, generator(7))
        return known[name, places]

    return run


every_objective = pytest.mark.parametrize("name", sorted(OPTIONS))


def test_every_objective_of_the_package_is_here():
    ours = {offer.type for offer in registry.offers("objectives") if offer.distribution == "lossforge"}
    assert set(OPTIONS) == ours


@every_objective
def test_shapes(evaluate, name):
    evaluation = evaluate(name)
    assert evaluation.fitness_P.shape == (6,)
    assert evaluation.fitness_P.is_floating_point()
    assert evaluation.metrics
    for values_P in (*evaluation.metrics.values(), *evaluation.trade_offs.values()):
        assert values_P.shape == (6,)
        assert not values_P.requires_grad
    assert bool(evaluation.trade_offs) == (name == "pareto")


@every_objective
def test_candidates_are_told_apart_and_what_is_not_finite_is_last(evaluate, name):
    fitness_P = evaluate(name).fitness_P
    assert fitness_P.isfinite().tolist() == [True, True, False, True, True, True]
    if name not in ("short_training", "proxy_training"):  # hardly trained: chance level for several
        assert len(fitness_P[[0, 1, 3, 4, 5]].unique()) > 2


@every_objective
def test_permuting_the_population_permutes_the_fitness(evaluate, name):
    order = (4, 2, 0, 5, 3, 1)
    straight, permuted = evaluate(name), evaluate(name, order)
    assert torch.equal(permuted.fitness_P, straight.fitness_P[list(order)])
    for metric, values_P in straight.metrics.items():
        torch.testing.assert_close(
            permuted.metrics[metric], values_P[list(order)], rtol=0, atol=0, equal_nan=True, msg=metric
        )


@pytest.mark.parametrize("name", [name for name in sorted(OPTIONS) if not build(name).fitness_is_relative])
def test_draws_do_not_depend_on_how_many_there_are(evaluate, name):
    whole = evaluate(name).fitness_P
    places = [int(whole.argmin())] if build(name).has_contest else [0, 4]
    alone = [evaluate(name, (place,)).fitness_P.item() for place in places]
    assert alone == whole[places].tolist()


@pytest.mark.parametrize("name", [name for name in sorted(OPTIONS) if not build(name).has_contest])
def test_values_do_not_depend_on_how_many_there_are(evaluate, name):
    """Metrics, also of an objective whose fitness is an order; which there are in a contest depends on the others."""
    whole, alone = evaluate(name), evaluate(name, (4,))
    for metric in alone.metrics.keys() - {"front"}:
        torch.testing.assert_close(
            alone.metrics[metric], whole.metrics[metric][[4]], rtol=0, atol=0, equal_nan=True, msg=metric
        )


@every_objective
def test_the_generator_decides(evaluate, name):
    first, again = evaluate(name), evaluate(name, again=True)
    assert torch.equal(first.fitness_P, again.fitness_P)


@every_objective
def test_the_global_random_state_is_left_alone(evaluate, name):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    evaluate(name, (0,), again=True)
    assert torch.equal(torch.get_rng_state(), before)


@every_objective
def test_options_survive_json(name):
    objective = build(name)
    assert type(objective).model_validate_json(objective.model_dump_json()) == objective
    assert ADAPTER.validate_python(ADAPTER.dump_python(objective, mode="json")) == objective
    assert registry.is_registered(objective)


@every_objective
def test_a_spec_is_read_back_equal(tmp_path, name):
    spec = RunSpec(
        name="toy",
        search=SearchSpec(
            parameterization=FAMILY,
            sampler=MixtureSampler(),
            objective=build(name),
            strategy=MuPlusLambda(population_size=8, num_parents=2),
            mutation=GaussianMutation(),
        ),
    )
    path = tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml())
    assert RunSpec.from_yaml(path) == spec
