"""What components answer to a search, held to their contracts.

A component that breaks its contract is named, with what it should have returned, where its answer is taken in; else it
would be told later, by torch, as a matter of sizes. Shapes, types and devices are looked at, never values, which a GPU
would have to be waited for.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lossforge.component import Component
from lossforge.errors import PluginError
from lossforge.interfaces import (
    LossParameterization,
    MutationOperator,
    Objective,
    Population,
    Prior,
    Strategy,
    SyntheticSampler,
)
from lossforge.types import Evaluation, PredictionBatch, State

_KITS = {
    "parameterizations": "ParameterizationKit",
    "samplers": "SamplerKit",
    "objectives": "ObjectiveKit",
    "mutations": "MutationKit",
    "strategies": "StrategyKit",
}


def draw(parameterization: LossParameterization, num: int, generator: torch.Generator) -> Tensor:
    """Return draws from a family's prior, (num, D).

    Raises:
        PluginError: they are none, as in all functions here.
    """
    solutions_PD = parameterization.init(num, generator)
    shape = num, parameterization.num_parameters
    _hold(parameterization, "init()", "solutions_PD", solutions_PD, shape, torch.float32, generator.device)
    return solutions_PD


def loss(parameterization: LossParameterization, solutions_PD: Tensor, inputs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return a family's loss_PB, which has a graph where the log-probabilities have one."""
    loss_PB = parameterization.loss(solutions_PD, inputs_PBC, labels_B)
    shape = len(solutions_PD), len(labels_B)
    _hold(parameterization, "loss()", "loss_PB", loss_PB, shape, None, inputs_PBC.device)
    if inputs_PBC.requires_grad and torch.is_grad_enabled() and not loss_PB.requires_grad:
        wanted = "loss_PB that is differentiable in the log-probabilities"
        raise _breach(parameterization, "loss()", wanted, "one without a graph")
    return loss_PB


def sample(
    sampler: SyntheticSampler, num: int, num_classes: int, generator: torch.Generator, progress: float
) -> PredictionBatch:
    """Return a sampler's batch of ``num`` pairs."""
    batch, device = sampler.sample(num, num_classes, generator, progress), generator.device
    if not isinstance(batch, PredictionBatch):
        raise _breach(sampler, "sample()", "a lossforge.types.PredictionBatch", _described(batch))
    _hold(sampler, "sample()", "log_probs_BC", batch.log_probs_BC, (num, num_classes), torch.float32, device)
    _hold(sampler, "sample()", "labels_B", batch.labels_B, (num,), torch.int64, device)
    _hold(sampler, "sample()", "regime_B", batch.regime_B, (num,), torch.int64, device)
    return batch


def evaluate(
    objective: Objective, population: Population, batch: PredictionBatch, generator: torch.Generator
) -> Evaluation:
    """Return an objective's evaluation of a population, a number of each kind for each candidate."""
    evaluation = objective.evaluate(population, batch, generator)
    if not isinstance(evaluation, Evaluation):
        raise _breach(objective, "evaluate()", "a lossforge.types.Evaluation", _described(evaluation))
    for name, values in (("metrics", evaluation.metrics), ("trade_offs", evaluation.trade_offs)):
        if not isinstance(values, Mapping):
            raise _breach(objective, "evaluate()", f"{name} as a mapping of names to (P,) tensors", _described(values))
    shape, device = (population.num_solutions,), batch.labels_B.device
    for name, values_P in {"fitness_P": evaluation.fitness_P, **evaluation.metrics, **evaluation.trade_offs}.items():
        _hold(objective, "evaluate()", name, values_P, shape, None, device)
    return evaluation


def first_steps(mutation: MutationOperator, num: int, dim: int, generator: torch.Generator) -> State:
    """Return an operator's state for ``num`` children of ``dim`` coordinates."""
    return _state(mutation, "init()", mutation.init(num, dim, generator))


def mutate(
    mutation: MutationOperator, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
) -> tuple[Tensor, State]:
    """Return an operator's child of each parent, and the whole next state."""
    answer: object = mutation.mutate(parents_PD, sigma, state, generator)
    children_PD, after = _pair(mutation, "mutate()", "(children_PD, state)", answer)
    shape = tuple(parents_PD.shape)
    _hold(mutation, "mutate()", "children_PD", children_PD, shape, parents_PD.dtype, parents_PD.device)
    return children_PD, _passed_on(mutation, "mutate()", "mutation.", state, after)


def first_state(strategy: Strategy, solutions_PD: Tensor, generator: torch.Generator) -> State:
    """Return a strategy's state before the first ask."""
    return _state(strategy, "init()", strategy.init(solutions_PD, generator))


def ask(
    strategy: Strategy,
    state: State,
    mutation: MutationOperator | None,
    prior: Prior,
    generator: torch.Generator,
    like_PD: Tensor,
) -> tuple[Tensor, State]:
    """Return what a strategy asks for, solutions like others, and the whole next state."""
    answer: object = strategy.ask(state, mutation, prior, generator)
    solutions_PD, after = _pair(strategy, "ask()", "(solutions_PD, state)", answer)
    most = strategy.num_solutions
    num = len(solutions_PD) if solutions_PD.dim() and 0 < len(solutions_PD) <= most else most  # fewer told, fewer asked
    _hold(strategy, "ask()", "solutions_PD", solutions_PD, (num, like_PD.shape[1]), like_PD.dtype, like_PD.device)
    return solutions_PD, _passed_on(strategy, "ask()", "strategy.", state, after)


def tell(strategy: Strategy, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
    """Return a strategy's whole next state, given the fitness of solutions."""
    return _passed_on(strategy, "tell()", "strategy.", state, strategy.tell(state, solutions_PD, fitness_P))


def _hold(
    component: Component,
    method: str,
    name: str,
    value: object,
    shape: tuple[int, ...],
    dtype: torch.dtype | None,
    device: torch.device,
) -> None:
    """Raise PluginError where a value is no tensor of a shape, a type and a device; no type: any."""
    if isinstance(value, Tensor):
        fits = value.shape == shape and value.device.type == device.type
        if fits and dtype in (None, value.dtype):
            return
    wanted = f"{name} as a {'' if dtype is None else f'{dtype} '}tensor of shape {shape} on {device.type}"
    raise _breach(component, method, wanted, _described(value))


def _pair(component: Component, method: str, wanted: str, answer: object) -> tuple[Tensor, object]:
    # A tensor of two rows would pass for a pair.
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[0], Tensor):
        raise _breach(component, method, f"{wanted}, a tensor and a mapping", _described(answer))
    return answer


def _state(component: Component, method: str, answer: object) -> State:
    if not isinstance(answer, Mapping):
        raise _breach(component, method, "its state as a mapping", _described(answer))
    return answer


def _passed_on(component: Component, method: str, own: str, before: State, answer: object) -> State:
    """Return the state that a component answers, which has all keys but those of its own that were there before."""
    after = _state(component, method, answer)
    lost = [key for key in before if key not in after and not key.startswith(own)]
    if lost:
        listed = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        wanted = "the whole next state, {**state, ...}, the keys of others included"
        raise _breach(component, method, wanted, f"one without {listed}")
    return after


def _breach(component: Component, method: str, wanted: str, got: str) -> PluginError:
    kit = f"lossforge.testing.{_KITS[component.kind]}"
    return PluginError(
        f"{component.kind} {component.type!r} (class {type(component).__name__}): {method} must return {wanted}; it "
        f"returned {got}; mend the class, which {kit} tests"
    )


def _described(value: object) -> str:
    """Return what came, in the words of a message."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)} on {value.device.type}"
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(map(_described, value)) or 'nothing'}"
    return "None" if value is None else f"an object of type {type(value).__name__}"
