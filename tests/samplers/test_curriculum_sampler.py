"""Shares that move with the search: at its beginning, middle and end, and through a real search."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from pydantic import ValidationError

from lossforge.interfaces import Objective, Population
from lossforge.mutations import GaussianMutation
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import CurriculumSampler, MixtureSampler, MixtureWeights
from lossforge.samplers.mixture import REGIMES
from lossforge.search import Search
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import MuCommaLambda
from lossforge.types import Evaluation, PredictionBatch


def weights(*values: float) -> MixtureWeights:
    return MixtureWeights(**dict(zip(REGIMES, map(float, values), strict=True)))


EASY, HARD = weights(1, 0, 1, 0, 0, 0), weights(0, 0, 0, 3, 1, 0)


def counts(sampler: CurriculumSampler, progress: float, num: int = 80) -> list[int]:
    batch = sampler.sample(num, 5, torch.Generator().manual_seed(0), progress)
    return torch.bincount(batch.regime_B, minlength=6).tolist()


class TestShares:
    @pytest.mark.parametrize("pace", ["linear", "cosine"])
    def test_beginning_middle_and_end(self, pace):
        sampler = CurriculumSampler(start=EASY, end=HARD, pace=pace)
        assert counts(sampler, 0.0) == [40, 0, 40, 0, 0, 0]
        assert counts(sampler, 0.5) == [20, 0, 20, 30, 10, 0]
        assert counts(sampler, 1.0) == [0, 0, 0, 60, 20, 0]

    @pytest.mark.parametrize("progress", [0.1, 0.25, 0.8])
    def test_in_between(self, progress):
        moved = {"linear": progress, "cosine": (1 - math.cos(math.pi * progress)) / 2}
        for pace, part in moved.items():
            shares = CurriculumSampler(start=EASY, end=HARD, pace=pace).at(progress).weights
            expected = [0.5 * (1 - part), 0, 0.5 * (1 - part), 0.75 * part, 0.25 * part, 0]
            assert [getattr(shares, name) for name in REGIMES] == pytest.approx(expected)

    def test_a_search_that_does_not_say_where_it_is_is_at_its_end(self):
        batch = CurriculumSampler(start=EASY, end=HARD).sample(80, 5, torch.Generator().manual_seed(0))
        assert torch.bincount(batch.regime_B, minlength=6).tolist() == [0, 0, 0, 60, 20, 0]

    def test_only_ratios_of_weights_count(self):
        """Weights are divided by their sums before they move, so that large ones do not rule the middle."""
        thousandfold = weights(0, 0, 0, 3000, 1000, 0)
        assert counts(CurriculumSampler(start=EASY, end=thousandfold), 0.5) == [20, 0, 20, 30, 10, 0]

    @pytest.mark.parametrize(
        ("progress", "expected"), [(0.0, 0.0), (0.2, 0.0), (0.35, 0.25), (0.5, 0.5), (0.8, 1.0), (1.0, 1.0)]
    )
    def test_they_move_within_the_span(self, progress, expected):
        sampler = CurriculumSampler(start=weights(1, 0, 0, 0, 0, 0), end=weights(0, 0, 0, 0, 0, 1), span=(0.2, 0.8))
        assert counts(sampler, progress)[5] == 80 * expected

    def test_ends_are_the_mixtures_with_those_weights_to_the_last_bit(self):
        options = {"delta": 0.2, "alpha": 0.5, "tau": (0.5, 3.0)}
        odd = weights(0.1, 0.2, 0.3, 0.1, 0.2, 0.1)
        sampler = CurriculumSampler(start=odd, end=HARD, mixture=MixtureSampler(**options))
        for progress, each in ((0.0, odd), (1.0, HARD)):
            ours = sampler.sample(77, 5, torch.Generator().manual_seed(4), progress)
            theirs = MixtureSampler(weights=each, **options).sample(77, 5, torch.Generator().manual_seed(4))
            assert torch.equal(ours.log_probs_BC, theirs.log_probs_BC)
            assert torch.equal(ours.labels_B, theirs.labels_B)
            assert torch.equal(ours.regime_B, theirs.regime_B)
            assert ours.regime_names == REGIMES


SEEN: list[list[int]] = []


class Watching(Objective):
    """Notes the regimes of each batch it is shown."""

    type: Literal["watching"] = "watching"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        SEEN.append(torch.bincount(batch.regime_B, minlength=6).tolist())
        return Evaluation(torch.arange(float(population.num_solutions)), {})


@pytest.mark.parametrize("generations", [1, 5])
def test_generation_g_of_a_search_is_at_g_over_all_but_one(generations):
    SEEN.clear()
    sampler = CurriculumSampler(start=EASY, end=HARD)
    spec = SearchSpec(
        parameterization=PairwiseMLP(hidden=(2,)),
        sampler=sampler,
        objective=Watching(),
        strategy=MuCommaLambda(population_size=4, num_parents=2),
        mutation=GaussianMutation(),
        generations=generations,
        num_classes=5,
        batch_size=80,
        selection_batch_size=40,
        gates=GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None),
    )
    search = Search(spec, seed=0)
    for _ in range(generations):
        search.step()
    progress = [generation / max(1, generations - 1) for generation in range(generations)]
    assert [counts(sampler, each) for each in progress] == SEEN
    if generations == 5:
        assert SEEN[0] == [40, 0, 40, 0, 0, 0]
        assert SEEN[2] == [20, 0, 20, 30, 10, 0]
        assert SEEN[4] == [0, 0, 0, 60, 20, 0]
    SEEN.clear()
    search.winner()  # chosen and reported on what the search ends with
    assert SEEN
    assert all(each == [0, 0, 0, sum(each) * 3 // 4, sum(each) // 4, 0] for each in SEEN)


class TestOptions:
    def test_json_round_trip(self):
        sampler = CurriculumSampler(
            start=EASY, end=HARD, pace="cosine", span=(0.1, 0.5), mixture=MixtureSampler(delta=0.3)
        )
        assert CurriculumSampler.model_validate_json(sampler.model_dump_json()) == sampler

    def test_as_in_a_spec(self):
        text = '{"start": {"boundary": 0}, "end": {}, "span": [0, 0.5], "mixture": {"delta": 0.1}}'
        sampler = CurriculumSampler.model_validate_json(text)
        assert sampler.start == MixtureWeights(boundary=0.0)
        assert sampler.mixture == MixtureSampler(delta=0.1)

    @pytest.mark.parametrize("span", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1)])
    def test_the_span_lies_within_the_search(self, span):
        with pytest.raises(ValidationError, match=r"span must be \[low, high\] with 0 <= low < high <= 1"):
            CurriculumSampler(start=EASY, end=HARD, span=span)

    def test_weights_of_the_mixture_would_have_no_effect(self):
        with pytest.raises(ValidationError, match="has no effect here; set start and end"):
            CurriculumSampler(start=EASY, end=HARD, mixture=MixtureSampler(weights=HARD))

    def test_start_and_end_are_needed(self):
        with pytest.raises(ValidationError) as caught:
            CurriculumSampler()
        assert {error["loc"] for error in caught.value.errors()} == {("start",), ("end",)}

    def test_weights_must_make_sense(self):
        with pytest.raises(ValidationError, match="at least one weight must be positive"):
            CurriculumSampler.model_validate_json('{"start": {}, "end": ' + weights_of_nothing() + "}")


def weights_of_nothing() -> str:
    return "{" + ", ".join(f'"{name}": 0' for name in REGIMES) + "}"
