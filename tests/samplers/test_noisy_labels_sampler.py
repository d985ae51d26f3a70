"""Wrong labels: empirical transition matrices against the stated ones; predictions stay."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.errors import SpecError
from lossforge.samplers import DirichletSampler, MixtureSampler, NoisyLabelsSampler

NUM, CLASSES = 20_000, 4
MATRIX = ((0.5, 0.5, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.1, 0.2, 0.3, 0.4), (0.25, 0.0, 0.75, 0.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transitions(num_classes: int = CLASSES, num: int = NUM, seed: int = 0, **options) -> Tensor:
    """Return how many labels of each class (rows) became each class (columns)."""
    clean = DirichletSampler().sample(num, num_classes, generator(seed))
    noisy = NoisyLabelsSampler(sampler=DirichletSampler(), **options).sample(num, num_classes, generator(seed))
    pairs = clean.labels_B * num_classes + noisy.labels_B
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def agrees(counts: Tensor, expected: np.ndarray) -> bool:
    """Return whether rows of counts come from rows of probabilities, none of probability 0 among them."""
    for found, row in zip(counts.numpy(), expected, strict=True):
        possible = row > 0
        if found[~possible].any():
            return False
        if possible.sum() > 1 and stats.chisquare(found[possible], row[possible] * found.sum()).pvalue < 1e-3:
            return False
    return True


class TestTransitions:
    @pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 1.0])
    def test_symmetric(self, rate):
        """A wrong label is any of the C - 1 others."""
        expected = np.full((CLASSES, CLASSES), rate / (CLASSES - 1))
        np.fill_diagonal(expected, 1 - rate)
        assert agrees(transitions(rate=rate), expected)

    @pytest.mark.parametrize("rate", [0.0, 0.2, 0.45, 1.0])
    def test_pair_flip(self, rate):
        expected = (1 - rate) * np.eye(CLASSES) + rate * np.roll(np.eye(CLASSES), 1, axis=1)
        assert agrees(transitions(noise="pair_flip", rate=rate), expected)

    def test_matrix(self):
        assert agrees(transitions(noise="matrix", matrix=MATRIX), np.array(MATRIX))

    def test_two_classes_know_one_kind_of_flip(self):
        counts = [transitions(num_classes=2, noise=noise, rate=0.3) for noise in ("symmetric", "pair_flip")]
        expected = np.array([[0.7, 0.3], [0.3, 0.7]])
        assert all(agrees(each, expected) for each in counts)

    def test_a_class_of_probability_0_is_never_drawn(self, monkeypatch):
        """Not even at the ends of the random numbers."""
        for unit in (0.0, 1 - 2**-53):
            with monkeypatch.context() as context:
                sampler = NoisyLabelsSampler(
                    sampler=DirichletSampler(), noise="matrix", matrix=((0.0, 0.1, 0.9, 0.0),) * 4
                )
                clean = torch.arange(4)
                context.setattr(
                    torch, "rand", lambda shape, unit=unit, **options: torch.full(shape, unit, dtype=torch.float64)
                )
                assert sampler._flipped(clean, 4, generator()).tolist() == [1 if unit == 0 else 2] * 4

    def test_the_convention_of_others_is_a_factor(self):
        """A label redrawn from all classes with probability r' is wrong with probability r' (C - 1) / C."""
        redrawn, rate = 0.4, 0.4 * (CLASSES - 1) / CLASSES
        expected = np.full((CLASSES, CLASSES), redrawn / CLASSES) + (1 - redrawn) * np.eye(CLASSES)
        assert agrees(transitions(rate=rate), expected)


class TestWrapping:
    def test_predictions_and_regimes_are_those_of_the_sampler_within(self):
        clean = MixtureSampler().sample(600, 5, generator(3))
        for options in ({"rate": 0.4}, {"noise": "pair_flip", "rate": 0.4}):
            noisy = NoisyLabelsSampler(sampler=MixtureSampler(), **options).sample(600, 5, generator(3))
            assert torch.equal(noisy.log_probs_BC, clean.log_probs_BC)
            assert torch.equal(noisy.regime_B, clean.regime_B)
            assert noisy.regime_names == clean.regime_names
            assert (noisy.labels_B != clean.labels_B).any()

    def test_it_can_hold_itself(self):
        """Two flips to the next class in a row are one to that after it."""
        once = NoisyLabelsSampler(sampler=DirichletSampler(), noise="pair_flip", rate=1.0)
        twice = NoisyLabelsSampler(sampler=once, noise="pair_flip", rate=1.0)
        clean = DirichletSampler().sample(50, 5, generator())
        assert torch.equal(twice.sample(50, 5, generator()).labels_B, (clean.labels_B + 2) % 5)

    def test_as_in_a_spec(self):
        text = '{"sampler": {"type": "dirichlet", "alpha": 0.3}, "noise": "matrix", "matrix": [[0.9, 0.1], [0.2, 0.8]]}'
        sampler = NoisyLabelsSampler.model_validate_json(text)
        assert sampler.sampler == DirichletSampler(alpha=0.3)
        assert NoisyLabelsSampler.model_validate_json(sampler.model_dump_json()) == sampler
        assert json.loads(sampler.model_dump_json())["sampler"]["type"] == "dirichlet"


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "noise 'symmetric' needs rate"),
            ({"noise": "pair_flip"}, "noise 'pair_flip' needs rate"),
            ({"noise": "matrix"}, "noise 'matrix' needs matrix"),
            ({"rate": 0.1, "matrix": ((1.0, 0.0), (0.0, 1.0))}, "'symmetric' has no use for matrix"),
            ({"noise": "matrix", "rate": 0.1, "matrix": ((1.0, 0.0), (0.0, 1.0))}, "'matrix' has no use for rate"),
            ({"noise": "matrix", "matrix": ((1.0,),)}, "1 rows; there are at least 2 classes"),
            ({"noise": "matrix", "matrix": ()}, "0 rows"),
            ({"noise": "matrix", "matrix": ((0.5, 0.5), (1.0,))}, "must be square: row 1 has 1 entries"),
            ({"noise": "matrix", "matrix": ((0.5, 0.5), (0.5, 0.6))}, "row 1 of matrix sums to 1.1; make it 1"),
            ({"noise": "matrix", "matrix": ((1.5, -0.5), (0.5, 0.5))}, "row 0 of matrix has a negative entry"),
            ({"noise": "matrix", "matrix": ((float("nan"), 1.0), (0.5, 0.5))}, "finite number"),
            ({"rate": 1.1}, "less than or equal to 1"),
            ({"rate": -0.1}, "greater than or equal to 0"),
            ({"noise": "uniform", "rate": 0.1}, "'symmetric', 'pair_flip' or 'matrix'"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValidationError, match=message):
            NoisyLabelsSampler(sampler=DirichletSampler(), **options)

    def test_a_matrix_for_another_number_of_classes(self):
        sampler = NoisyLabelsSampler(sampler=DirichletSampler(), noise="matrix", matrix=MATRIX)
        with pytest.raises(
            SpecError, match=r"noisy_labels\.matrix: has 4 rows, but there are 10 classes; give as many"
        ):
            sampler.sample(10, 10, generator())

    def test_no_sampler(self):
        with pytest.raises(ValidationError, match="sampler"):
            NoisyLabelsSampler(rate=0.1)

    def test_a_third_is_a_third(self):
        """Rows that a user rounds to seven digits are accepted."""
        row = (0.3333333, 0.3333333, 0.3333334)
        NoisyLabelsSampler(sampler=DirichletSampler(), noise="matrix", matrix=(row, row, row))
