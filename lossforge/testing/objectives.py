"""What a search relies on in an objective."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from lossforge.interfaces import Objective
from lossforge.testing.batches import prediction_batch
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.population import SmoothedPopulation
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import same_bits
from lossforge.types import Evaluation

ALL = (0, 1, 2, 3, 4, 5)
SPOILT = 2
"""The candidate whose losses are not numbers."""


class ObjectiveKit(ComponentKit):
    """Checks of an :class:`~lossforge.interfaces.Objective`, on six candidates of which one is not finite.

    Objectives whose fitness is relative, or that are a contest, say so themselves.

    Attributes:
        tells_apart: whether a fitness on 200 pairs is fine enough that most of five losses have their own; False for
            one that counts a handful of errors.
        other_classes: another number of classes than the 10 of most checks; 10 for an objective that is made for 10.
    """

    base = Objective
    tells_apart: ClassVar[bool] = True
    other_classes: ClassVar[int] = 3

    def test_a_number_for_each_candidate(self, component: Objective, device: str) -> None:
        """Fitness, metrics and trade-offs are (P,) tensors without a graph, on the device of the batch."""
        evaluation = evaluated(component, device)
        assert evaluation.fitness_P.is_floating_point(), f"fitness_P is {evaluation.fitness_P.dtype}, not a float"
        named = {"fitness_P": evaluation.fitness_P, **evaluation.metrics, **evaluation.trade_offs}
        assert len(named) > 1, "there are no metrics; an evaluation says at least what the fitness is made of"
        for name, values_P in named.items():
            assert isinstance(values_P, Tensor), f"{name!r} is a {type(values_P).__name__}, not a (P,) tensor"
            assert values_P.shape == (6,), f"{name!r} has the shape {tuple(values_P.shape)}, not one number a candidate"
            assert values_P.device.type == device, f"{name!r} is on {values_P.device}, the batch on {device}"
            assert not values_P.requires_grad, f"{name!r} has a graph: detach it"

    def test_what_is_not_finite_ranks_last(self, component: Objective, device: str) -> None:
        """A candidate with losses of NaN has a fitness that is not finite; the others have finite ones."""
        finite = evaluated(component, device).fitness_P.isfinite().tolist()
        expected = [place != SPOILT for place in ALL]
        assert finite == expected, (
            f"fitness is finite for {finite}; losses are for {expected}, and each is judged alone"
        )

    def test_candidates_are_told_apart(self, component: Objective) -> None:
        """Five different losses have three or more different fitnesses."""
        if not self.tells_apart:
            return
        num = len(set(evaluated(component).fitness_P[[place for place in ALL if place != SPOILT]].tolist()))
        assert num > 2, f"five losses have {num} different fitnesses; where that is meant, set tells_apart = False"

    def test_permuting_the_population_permutes_the_fitness(self, component: Objective, device: str) -> None:
        """And the metrics, bit for bit."""
        order = (4, 2, 0, 5, 3, 1)
        straight, permuted = evaluated(component, device), evaluated(component, device, order)
        for name, values_P in by_name(straight).items():
            assert same_bits(by_name(permuted)[name], values_P[list(order)]), (
                f"{name!r} of a candidate depends on its place in the population"
            )

    def test_draws_do_not_depend_on_how_many_there_are(self, component: Objective, device: str) -> None:
        """A candidate that is alone has the fitness it has among others, unless fitness is relative."""
        if component.fitness_is_relative:
            return
        whole_P = evaluated(component, device).fitness_P
        for place in [int(whole_P.nan_to_num(torch.inf).argmin())] if component.has_contest else [0, 4]:
            alone = evaluated(component, device, (place,)).fitness_P
            assert same_bits(alone, whole_P[[place]]), (
                f"candidate {place} has the fitness {alone.item()} alone and {whole_P[place].item()} among six: draws "
                "are common to all and do not depend on P; where fitness is an order, set fitness_is_relative = True"
            )

    def test_the_generator_alone_decides(self, component: Objective, device: str) -> None:
        """Global random states are neither used nor moved; the same seed gives the same evaluation."""
        places = (0, 4)
        seed_everything(1)
        with global_state_untouched("evaluate()"):
            first = evaluate(component, device, places)
        seed_everything(2)
        again = by_name(evaluate(component, device, places))
        differ = [name for name, values_P in by_name(first).items() if not same_bits(values_P, again[name])]
        assert not differ, f"generators of the same seed gave other values of {differ}: nothing else may decide"

    def test_what_it_is_given_is_left_alone(self, component: Objective, device: str) -> None:
        """Batch and candidates keep their values."""
        batch, candidates = prediction_batch(device=device), population(device, (0, 4))
        component.evaluate(candidates, batch, seeded(7, device))
        for name in ("log_probs_BC", "labels_B", "regime_B"):
            same = same_bits(getattr(batch, name), getattr(prediction_batch(device=device), name))
            assert same, f"evaluate() changed the batch's {name} in place"
        assert same_bits(candidates.q_P, population(device, (0, 4)).q_P), "evaluate() changed the candidates in place"

    def test_batches_may_be_others(self, component: Objective, device: str) -> None:
        """Of another size, of other classes and 1 regime: what is finite is the same."""
        batch = prediction_batch(64, self.other_classes, device)
        batch = replace(batch, regime_B=torch.zeros_like(batch.regime_B), regime_names=("flat",))
        candidates = replace(population(device), num_classes=self.other_classes)
        fitness_P = component.evaluate(candidates, batch, seeded(7, device)).fitness_P
        assert fitness_P.isfinite().tolist() == [place != SPOILT for place in ALL], (
            f"fitness is {fitness_P.tolist()} on 64 pairs of {self.other_classes} classes in 1 regime; "
            f"all losses but those of candidate {SPOILT} are finite"
        )

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: Objective) -> None:
        """Fitness and metrics."""
        require_registered(component)
        same_in_a_fresh_process(results, component)


def population(device: str = "cpu", places: tuple[int, ...] = ALL) -> SmoothedPopulation:
    """Return the candidates at the places; that at place 2 is not finite."""
    q_P = torch.tensor([1e-3, 0.3, torch.nan, 0.7, 1.0, 0.5], device=device)
    smoothing_P = torch.tensor([0.0, 0.3, 0.1, 0.05, 0.6, 0.9], device=device)
    return SmoothedPopulation(q_P, smoothing_P, num_classes=10).take(torch.tensor(places, device=device))


def evaluate(objective: Objective, device: str, places: tuple[int, ...]) -> Evaluation:
    """Evaluate the candidates at the places."""
    return objective.evaluate(population(device, places), prediction_batch(device=device), seeded(7, device))


def evaluated(objective: Objective, device: str = "cpu", places: tuple[int, ...] = ALL) -> Evaluation:
    """Evaluate the candidates at the places, or remember what came of it."""
    return _remembered(type(objective), objective.model_dump_json(), device, places)


@functools.lru_cache(maxsize=128)
def _remembered(cls: type[Objective], options: str, device: str, places: tuple[int, ...]) -> Evaluation:
    seed_everything(0)
    return evaluate(cls.model_validate_json(options), device, places)


def by_name(evaluation: Evaluation) -> Mapping[str, Tensor]:
    """Return fitness, metrics and trade-offs."""
    return {"fitness_P": evaluation.fitness_P, **evaluation.metrics, **evaluation.trade_offs}


def results(objective: Objective) -> Mapping[str, Tensor]:
    """Return what a fresh process has to come to."""
    return by_name(evaluate(objective, "cpu", ALL))
