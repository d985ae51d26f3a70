"""The encoding of stages, and what parts are called."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.fields import AnyObjective
from lossforge.interfaces import Objective
from lossforge.objectives import (
    Halving,
    HalvingRung,
    Lexicographic,
    LexicographicStage,
    Pareto,
    Part,
    RankingConsistency,
    Weighted,
    WeightedTerm,
)
from lossforge.objectives.parts import squash

finite = st.floats(allow_nan=False, allow_infinity=False)


def squashed(values: list[float]) -> list[float]:
    return squash(torch.tensor(values, dtype=torch.float64)).tolist()


class TestSquash:
    def test_values_by_hand(self):
        assert squashed([0.0, 1.0, -1.0, 3.0, -3.0]) == [0.5, 0.75, 0.25, 0.875, 0.125]

    @given(st.lists(finite, min_size=2, max_size=30), st.integers(0, 5))
    def test_rounding_never_turns_an_order_around(self, values, stages_left):
        fitness = [stages_left + each for each in squashed(sorted(values))]
        assert fitness == sorted(fitness)
        assert stages_left <= min(fitness)
        assert max(fitness) <= stages_left + 1

    @settings(max_examples=200)
    @given(st.lists(st.floats(-1e307, 1e307), min_size=1, max_size=20))
    def test_it_is_the_formula(self, values):
        expected = [0.5 + value / (2 * (1 + abs(value))) for value in values]
        assert squashed(values) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("stages_left", [0, 1, 2, 3])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_neighbouring_float32_values_stay_apart(self, stages_left, sign):
        """From 1e-7 to 1e7 in size."""
        near = np.geomspace(1e-7, 1e7, 2001).astype(np.float32)
        values = sign * np.sort(np.concatenate((near, np.nextafter(near, np.float32(np.inf)))))
        fitness = stages_left + squash(torch.from_numpy(values).double())
        steps = fitness.diff() * sign
        assert (steps[torch.from_numpy(np.diff(values) != 0)] > 0).all()


class TestParts:
    def test_a_part_is_called_after_its_type_or_its_name(self, column):
        assert Part(objective=column()).title == "column"
        assert Part(objective=column(), name="wide-1").title == "wide-1"

    def test_an_objective_that_only_orders_is_refused(self, relative):
        with pytest.raises(ValidationError, match="'relative' orders the candidates of one population"):
            Part(objective=relative())

    @pytest.mark.parametrize("name", ["", "a.b", "a b", "ä"])
    def test_names_are_plain(self, column, name):
        with pytest.raises(ValidationError):
            Part(objective=column(), name=name)

    def test_the_remedy_for_equal_names_is_told(self):
        term = WeightedTerm(objective=RankingConsistency())
        with pytest.raises(ValidationError, match=r"'ranking_consistency'; give each of them a 'name' of its own"):
            Weighted(terms=(term, term))
        named = WeightedTerm(objective=RankingConsistency(form="hinge"), name="hinge")
        assert [each.title for each in Weighted(terms=(term, named)).terms] == ["ranking_consistency", "hinge"]


class TestContests:
    """What a candidate comes to by halving depends on the others, and cannot be added up or kept in an archive."""

    @pytest.fixture
    def contest(self, column) -> Halving:
        return Halving(rungs=(HalvingRung(objective=column(), fraction=0.5), HalvingRung(objective=column(), name="b")))

    @pytest.mark.parametrize("is_deep", [False, True])
    def test_sums_and_trade_offs_refuse_them(self, column, contest, is_deep):
        stages = (
            LexicographicStage(objective=column(), threshold=1.0),
            LexicographicStage(objective=contest, name="contest"),
        )
        inside = Lexicographic(stages=stages) if is_deep else contest
        message = f"'{inside.type}' values a candidate by how far it comes among the others"
        with pytest.raises(ValidationError, match=message):
            Weighted(terms=(WeightedTerm(objective=inside),))
        with pytest.raises(ValidationError, match=message):
            Pareto(objectives=(Part(objective=column()), Part(objective=inside)))

    def test_an_order_may_end_in_one(self, table, column, contest, batch):
        last = LexicographicStage(objective=contest)
        objective = Lexicographic(stages=(LexicographicStage(objective=column(), threshold=1.0), last))
        population = table(torch.tensor([[2.0], [1.0], [0.0], [-1.0]]))
        fitness_P = objective.evaluate(population, batch, torch.Generator().manual_seed(0)).fitness_P
        assert fitness_P.argsort().tolist() == [3, 2, 1, 0]


class Wrapped(Objective):
    """Another objective as it is."""

    type: Literal["wrapped"] = "wrapped"
    inner: AnyObjective

    def evaluate(self, population, batch, generator):
        return self.inner.evaluate(population, batch, generator)


class TestWhichHoldContests:
    plain = RankingConsistency()
    halving = Halving(rungs=(HalvingRung(objective=plain, fraction=0.5), HalvingRung(objective=plain, name="last")))

    @pytest.mark.parametrize(
        ("objective", "expected"),
        [
            (plain, False),
            (halving, True),
            (Wrapped(inner=plain), False),
            (Wrapped(inner=halving), True),
            (Weighted(terms=(WeightedTerm(objective=plain),)), False),
            (
                Lexicographic(
                    stages=(LexicographicStage(objective=plain, threshold=0.1), LexicographicStage(objective=halving))
                ),
                True,
            ),
        ],
    )
    def test_one_anywhere_inside_is_seen(self, objective, expected):
        assert objective.has_contest is expected

    def test_all_options_within_are_walked_through(self):
        types = [each.type for each in Wrapped(inner=self.halving).within() if isinstance(each, Objective)]
        assert types == ["wrapped", "halving", "ranking_consistency", "ranking_consistency"]
