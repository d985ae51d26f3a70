"""In a search: the objective on Taylor's own losses, the example, and the preset."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import lossforge
from lossforge import presets
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, apply_gates
from lossforge.spec import GateSpec, RunSpec, SignGate
from lossforge_taylor import Invariant, NullEpoch, Taylor

EXAMPLE = Path(__file__).parents[1] / "examples" / "taylor.yaml"


def evaluated(solutions: Tensor) -> Tensor:
    batch = MixtureSampler().sample(64, 10, torch.Generator().manual_seed(0))
    population = ParameterPopulation(Taylor(), solutions, 10)
    return NullEpoch().evaluate(population, batch, torch.Generator()).fitness_P


def test_the_objective_has_the_sign_of_the_margin():
    solutions = Taylor().init(40, torch.Generator().manual_seed(0))
    margin = Taylor().margin(solutions, Invariant(classes=10))
    assert torch.equal(evaluated(solutions) <= 0, margin >= 0)


def test_a_factor_on_the_loss_changes_nothing_and_a_loss_without_gradient_is_not_finite():
    solutions = Taylor().init(3, torch.Generator().manual_seed(0))
    scaled = solutions * torch.tensor([1.0, 1.0, *[3.0] * 6])
    torch.testing.assert_close(evaluated(scaled), evaluated(solutions), rtol=1e-5, atol=1e-7)
    assert not evaluated(torch.zeros(1, 8)).isfinite().any()


def test_of_the_default_gates_two_refuse_the_prior_and_one_does_not():
    """The absolute error passes signs, the Brier score does not."""
    batch = MixtureSampler().sample(256, 10, torch.Generator().manual_seed(1))
    members = torch.tensor([[0.0, 0, 0, 0, 0, 1, 0, 0], [0.0, 0, 0, -2, 0, 2, 0, 0]])
    draws = Taylor(invariant=Invariant(classes=10)).init(500, torch.Generator().manual_seed(0))
    population = ParameterPopulation(Taylor(), torch.cat((members, draws)), 10)
    violations = apply_gates(GateSpec(signs=SignGate(tolerance=0.2)), population, batch).violations
    assert (violations["weight_band"] > 0).all()
    assert violations["signs"][0] == 0
    assert (violations["signs"][1:] > 0).all()
    assert (violations["same_prediction"][2:] == 0).float().mean() > 0.85


def test_the_example_runs_and_its_loss_loads(tmp_path):
    assert f"lossforge run plugins/lossforge-taylor/examples/{EXAMPLE.name}" in EXAMPLE.read_text()
    shorter = ["search.generations=2", "search.objective.stages.1.objective.steps=8"]
    lossforge.run(RunSpec.from_yaml(EXAMPLE, shorter), tmp_path / "run")
    loss = lossforge.load_loss(tmp_path / "run")
    logits = torch.zeros(4, 10, requires_grad=True)
    loss(logits, torch.arange(4)).backward()
    assert (logits.grad[range(4), range(4)] < 0).all(), "the winner met the threshold of the null epoch"


def test_the_preset_is_the_authors_search():
    spec = presets.load("taylorglo").search
    assert spec.parameterization == Taylor(factorials="none", invariant=Invariant(classes=spec.num_classes))
    assert spec.strategy.type == "cma_es"
    assert (spec.strategy.population_size, spec.strategy.sigma, spec.generations) == (40, 1.2, 100)


def test_specs_are_named_like_their_files():
    assert RunSpec.from_yaml(EXAMPLE).name == EXAMPLE.stem
    assert presets.load("taylorglo").name == "taylorglo"
