"""Every objective of lossforge passes its kit, and is part of a spec; what its metrics are beside others."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from lossforge import registry
from lossforge.fields import AnyObjective
from lossforge.interfaces import Objective
from lossforge.mutations import GaussianMutation
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.spec import RunSpec, SearchSpec
from lossforge.strategies import MuPlusLambda
from lossforge.testing import ObjectiveKit
from lossforge.testing.objectives import evaluated
from lossforge.testing.states import same_bits

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

HARDLY_TRAINED = {"short_training", "proxy_training"}
"""At chance level for several."""


def build(name: str) -> Objective:
    return ADAPTER.validate_python({"type": name, **OPTIONS[name]})


class TestObjectives(ObjectiveKit):
    @pytest.fixture(params=sorted(OPTIONS.keys() - HARDLY_TRAINED))
    def component(self, request):
        return build(request.param)


class TestTrainings(ObjectiveKit):
    tells_apart = False
    other_classes = 10

    @pytest.fixture(params=sorted(HARDLY_TRAINED))
    def component(self, request):
        return build(request.param)


def test_every_objective_of_the_package_is_here():
    ours = {offer.type for offer in registry.offers("objectives") if offer.distribution == "lossforge"}
    assert set(OPTIONS) == ours


@pytest.mark.parametrize("name", [name for name in sorted(OPTIONS) if not build(name).has_contest])
def test_values_do_not_depend_on_how_many_there_are(name):
    """Metrics, also of an objective whose fitness is an order; which there are in a contest depends on the others."""
    whole, alone = evaluated(build(name)), evaluated(build(name), places=(4,))
    for metric in alone.metrics.keys() - {"front"}:
        assert same_bits(alone.metrics[metric], whole.metrics[metric][[4]]), metric


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_only_pareto_has_trade_offs(name):
    assert bool(evaluated(build(name)).trade_offs) == (name == "pareto")


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_spec_is_read_back_equal(tmp_path, name):
    spec = RunSpec(
        name="toy",
        search=SearchSpec(
            parameterization=PairwiseMLP(hidden=(5,)),
            sampler=MixtureSampler(),
            objective=build(name),
            strategy=MuPlusLambda(population_size=8, num_parents=2),
            mutation=GaussianMutation(),
        ),
    )
    path = tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml())
    assert RunSpec.from_yaml(path) == spec
