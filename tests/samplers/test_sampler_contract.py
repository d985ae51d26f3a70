"""What every installed sampler keeps to, as objectives and searches rely on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import TypeAdapter

from lossforge import registry
from lossforge.fields import AnySampler
from lossforge.interfaces import SyntheticSampler
from lossforge.samplers import DirichletSampler, ImbalancedSampler, NoisyLabelsSampler, record_predictions
from lossforge.types import PredictionBatch

CLASSES = 5
TRANSITIONS = [[0.8 if row == column else 0.05 for column in range(CLASSES)] for row in range(CLASSES)]

# As they stand in a spec, for those that need more than their type.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "curriculum": [{"start": {"boundary": 0}, "end": {"near_uniform": 0}, "pace": "cosine"}],
    "imbalanced": [
        {"sampler": "mixture", "ratio": 20},
        {"sampler": "mixture", "prior": [0.4, 0.3, 0.2, 0.1, 0.0]},
    ],
    "noisy_labels": [
        {"sampler": "mixture", "rate": 0.4},
        {"sampler": "mixture", "noise": "pair_flip", "rate": 0.4},
        {
            "sampler": {"type": "imbalanced", "sampler": "dirichlet", "ratio": 5},
            "noise": "matrix",
            "matrix": TRANSITIONS,
        },
    ],
    "replay": [{"path": "predictions.npz"}, {"path": "predictions.safetensors"}],
}
CASES = [(name, options) for name in registry.types("samplers") for options in VARIANTS.get(name, [{}])]
every_sampler = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where recorded predictions are."""
    folder = tmp_path_factory.mktemp("predictions")
    logits = torch.randn(300, CLASSES, generator=generator(3))
    for path in ("predictions.npz", "predictions.safetensors"):
        record_predictions(folder / path, logits, torch.arange(300) % CLASSES)
    return folder


@pytest.fixture
def sampler(name: str, options: dict[str, Any], folder: Path) -> SyntheticSampler:
    if "path" in options:
        options = {**options, "path": str(folder / options["path"])}
    sampler: SyntheticSampler = TypeAdapter(AnySampler).validate_python({"type": name, **options})
    return sampler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: PredictionBatch, second: PredictionBatch) -> bool:
    pairs = zip(
        (first.log_probs_BC, first.labels_B, first.regime_B),
        (second.log_probs_BC, second.labels_B, second.regime_B),
        strict=True,
    )
    return first.regime_names == second.regime_names and all(torch.equal(*pair) for pair in pairs)


@every_sampler
class TestContract:
    @pytest.mark.parametrize("num", [1, 7, 400])
    def test_shapes_and_types(self, sampler, num):
        batch = sampler.sample(num, CLASSES, generator())
        assert batch.log_probs_BC.shape == (num, CLASSES)
        assert batch.log_probs_BC.dtype == torch.float32
        for values in (batch.labels_B, batch.regime_B):
            assert values.shape == (num,)
            assert values.dtype == torch.int64

    def test_rows_are_distributions_and_labels_classes(self, sampler):
        batch = sampler.sample(3000, CLASSES, generator())
        assert batch.log_probs_BC.isfinite().all()
        total = batch.log_probs_BC.double().exp().sum(dim=1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=2e-6, atol=0)
        assert batch.labels_B.min() >= 0
        assert batch.labels_B.max() < CLASSES

    def test_regimes_have_names(self, sampler):
        batch = sampler.sample(400, CLASSES, generator())
        assert batch.regime_names
        assert all(isinstance(name, str) and name for name in batch.regime_names)
        assert len(set(batch.regime_names)) == len(batch.regime_names)
        assert batch.regime_B.min() >= 0
        assert batch.regime_B.max() < len(batch.regime_names)

    @pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
    def test_it_takes_how_far_the_search_is(self, sampler, progress):
        batch = sampler.sample(60, CLASSES, generator(), progress)
        assert same(batch, sampler.sample(60, CLASSES, generator(), progress=progress))
        assert batch.regime_names == sampler.sample(60, CLASSES, generator()).regime_names

    def test_the_end_is_the_default(self, sampler):
        assert same(sampler.sample(60, CLASSES, generator()), sampler.sample(60, CLASSES, generator(), 1.0))

    def test_the_generator_decides_and_nothing_else(self, sampler):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = sampler.sample(100, CLASSES, generator(1))
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert same(sampler.sample(100, CLASSES, generator(1)), first)
        assert not same(sampler.sample(100, CLASSES, generator(2)), first)

    def test_the_generator_goes_on(self, sampler):
        source = generator()
        assert not same(sampler.sample(100, CLASSES, source), sampler.sample(100, CLASSES, source))

    def test_a_batch_is_the_callers(self, sampler):
        first = sampler.sample(50, CLASSES, generator())
        kept = first.log_probs_BC.clone()
        first.log_probs_BC.fill_(0)
        first.labels_B.fill_(0)
        assert torch.equal(sampler.sample(50, CLASSES, generator()).log_probs_BC, kept)

    def test_options_go_through_json(self, sampler):
        assert type(sampler).model_validate_json(sampler.model_dump_json()) == sampler

    def test_every_option_is_described(self, sampler):
        assert all(field.description for name, field in type(sampler).model_fields.items() if name != "type")

    def test_the_line_on_it_fits_a_terminal(self, sampler):
        summary = (type(sampler).__doc__ or "").partition("\n")[0]
        assert summary.endswith((".", ";"))
        assert 30 < len(summary) <= 120


class Marking(SyntheticSampler):
    """Puts how far the search is in its regimes' name."""

    type: Literal["marking"] = "marking"

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        batch = DirichletSampler().sample(num, num_classes, generator)
        return dataclasses.replace(batch, regime_names=(f"at {progress}",))


@pytest.mark.parametrize(
    "wrapper",
    [
        NoisyLabelsSampler(sampler=Marking(), rate=0.1),
        ImbalancedSampler(sampler=Marking(), ratio=3.0),
        NoisyLabelsSampler(sampler=ImbalancedSampler(sampler=Marking(), ratio=3.0), rate=0.1),
    ],
)
def test_a_sampler_that_contains_another_tells_it_how_far_the_search_is(wrapper):
    assert wrapper.sample(4, 3, generator(), 0.25).regime_names == ("at 0.25",)
    assert wrapper.sample(4, 3, generator()).regime_names == ("at 1.0",)
