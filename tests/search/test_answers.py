"""A component that answers a search with what its contract forbids is named, with what it should have returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lossforge.errors import PluginError
from lossforge.evidence.step_variance import measure_steps
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency, Weighted, WeightedTerm
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import ImbalancedSampler, MixtureSampler, NoisyLabelsSampler
from lossforge.search import Search
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import MuCommaLambda, RandomSearch
from lossforge.types import Evaluation

SOUND = {
    "parameterization": PairwiseMLP(hidden=(4,)),
    "sampler": MixtureSampler(),
    "objective": RankingConsistency(),
    "strategy": MuCommaLambda(population_size=8, num_parents=2),
    "mutation": GaussianMutation(),
}
SIZES = {"generations": 3, "num_classes": 4, "batch_size": 24, "selection_batch_size": 48}
OPEN = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)


def altered(sound: Any, method: str, change: Callable[[Any], Any]) -> Any:
    """Return a component whose method answers otherwise than that of a sound one."""
    base = type(sound)

    def answer(self: Any, *arguments: Any, **options: Any) -> Any:
        return change(getattr(base, method)(self, *arguments, **options))

    return type("Flawed", (base,), {method: answer, "__module__": __name__})(**dict(sound))


def told_of(**components: Any) -> str:
    with pytest.raises(PluginError) as error:
        Search(SearchSpec(**{**SOUND, **SIZES, "gates": OPEN, **components}), seed=0).run()
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda answer: answer[0],
            "(children_PD, state), a tensor and a mapping; it returned a torch.float32 tensor of",
        ),
        (
            lambda answer: answer[0][:2],
            "(children_PD, state), a tensor and a mapping; it returned a torch.float32 tensor",
        ),
        (lambda answer: (answer[0][:, :1], answer[1]), "tensor of shape (8, 16) on cpu; it returned a torch.float32"),
        (
            lambda answer: (answer[0].double(), answer[1]),
            "(8, 16) on cpu; it returned a torch.float64 tensor of shape (8,",
        ),
        (
            lambda answer: (answer[0].to("meta"), answer[1]),
            "it returned a torch.float32 tensor of shape (8, 16) on meta",
        ),
        (lambda answer: (answer[0], None), "its state as a mapping; it returned None"),
        (lambda answer: (answer[0], {}), "{**state, ...}, the keys of others included; it returned one without"),
        (lambda answer: None, "(children_PD, state), a tensor and a mapping; it returned None"),
    ],
)
def test_children(change, told):
    message = told_of(mutation=altered(GaussianMutation(), "mutate", change))
    assert message.startswith("mutations 'gaussian' (class Flawed): mutate() must return ")
    assert told in message
    assert message.endswith("; mend the class, which lossforge.testing.MutationKit tests")


@pytest.mark.parametrize(
    ("kind", "method", "change", "told"),
    [
        ("mutation", "init", lambda _: None, "init() must return its state as a mapping; it returned None"),
        (
            "sampler",
            "sample",
            lambda batch: batch.log_probs_BC,
            "sample() must return a lossforge.types.PredictionBatch",
        ),
        (
            "sampler",
            "sample",
            lambda batch: replace(batch, labels_B=batch.labels_B.int()),
            "labels_B as a torch.int64 tensor of shape (24,) on cpu; it returned a torch.int32 tensor of shape (24,)",
        ),
        (
            "sampler",
            "sample",
            lambda batch: replace(batch, log_probs_BC=batch.log_probs_BC[:-1]),
            "log_probs_BC as a torch.float32 tensor of shape (24, 4) on cpu; it returned a torch.float32 tensor of",
        ),
        ("sampler", "sample", lambda batch: replace(batch, regime_B=None), "regime_B as a torch.int64 tensor of shape"),
        ("objective", "evaluate", lambda found: found.fitness_P, "a lossforge.types.Evaluation; it returned a torch."),
        ("objective", "evaluate", lambda found: replace(found, metrics=None), "metrics as a mapping of names to (P,)"),
        (
            "objective",
            "evaluate",
            lambda found: replace(found, fitness_P=found.fitness_P[:, None]),
            "fitness_P as a tensor of shape (8,) on cpu; it returned a torch.float32 tensor of shape (8, 1) on cpu",
        ),
        ("objective", "evaluate", lambda found: Evaluation(found.fitness_P, {"a": 0.5}), "a as a tensor of shape (8,)"),
        (
            "parameterization",
            "init",
            lambda drawn: drawn.double(),
            "solutions_PD as a torch.float32 tensor of shape (8,",
        ),
        (
            "parameterization",
            "init",
            lambda drawn: drawn[:, 1:],
            "of shape (8, 16) on cpu; it returned a torch.float32",
        ),
        ("parameterization", "loss", lambda loss: loss.sum(), "loss_PB as a tensor of shape (16, 256) on cpu; it"),
        (
            "parameterization",
            "loss",
            lambda loss: loss.detach(),
            "differentiable in the log-probabilities; it returned one",
        ),
    ],
)
def test_others(kind, method, change, told):
    flawed = altered(SOUND[kind], method, change)
    message = told_of(**{kind: flawed})
    assert message.startswith(f"{flawed.kind} {flawed.type!r} (class Flawed): {method}() must return ")
    assert told in message


@pytest.mark.parametrize(
    ("method", "change", "told"),
    [
        ("init", lambda _: None, "its state as a mapping; it returned None"),
        ("ask", lambda answer: answer[0], "(solutions_PD, state), a tensor and a mapping; it returned a torch.float32"),
        ("ask", lambda answer: (answer[0].repeat(2, 1), answer[1]), "of shape (8, 16) on cpu; it returned a torch."),
        ("ask", lambda answer: (answer[0][:0], answer[1]), "it returned a torch.float32 tensor of shape (0, 16)"),
        ("ask", lambda answer: (answer[0].sum(), answer[1]), "it returned a torch.float32 tensor of shape ()"),
        ("tell", lambda _: None, "its state as a mapping; it returned None"),
        ("tell", lambda _: {}, "{**state, ...}, the keys of others included; it returned one without"),
    ],
)
def test_strategies(method, change, told):
    message = told_of(strategy=altered(RandomSearch(population_size=8), method, change), mutation=None)
    assert message.startswith(f"strategies 'random_search' (class Flawed): {method}() must return ")
    assert told in message


def test_draws_that_a_strategy_makes_from_the_prior_are_held_to_it_too():
    drawn = iter([8, 8, 7])
    family = altered(PairwiseMLP(hidden=(4,)), "init", lambda solutions_PD: solutions_PD[: next(drawn)])
    message = told_of(parameterization=family, strategy=RandomSearch(population_size=8), mutation=None)
    assert message.startswith("parameterizations 'pairwise_mlp' (class Flawed): init() must return solutions_PD")


def test_an_ablation_measures_the_steps_of_sound_operators_alone():
    flawed = altered(GaussianMutation(), "mutate", lambda answer: answer[0])
    with pytest.raises(PluginError, match=r"mutate\(\) must return \(children_PD, state\)"):
        measure_steps(flawed, 3)


def test_within_others_the_one_that_breaks_its_contract_is_named():
    flawed = altered(MixtureSampler(), "sample", lambda batch: batch.log_probs_BC)
    for outer in (NoisyLabelsSampler(sampler=flawed, rate=0.2), ImbalancedSampler(sampler=flawed, ratio=10.0)):
        assert told_of(sampler=outer).startswith("samplers 'mixture' (class Flawed): sample() must return a lossforge.")
    part = altered(RankingConsistency(), "evaluate", lambda found: replace(found, fitness_P=found.fitness_P[:, None]))
    terms = tuple(WeightedTerm(objective=each, name=name) for each, name in ((part, "a"), (RankingConsistency(), "b")))
    message = told_of(objective=Weighted(terms=terms))
    assert message.startswith("objectives 'ranking_consistency' (class Flawed): evaluate() must return fitness_P")
