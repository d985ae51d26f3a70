"""Every installed sampler passes its kit; and a sampler within another."""

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
from lossforge.testing import SamplerKit
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
CASES = {
    f"{name}-{index}": {"type": name, **options}
    for name in registry.types("samplers")
    for index, options in enumerate(VARIANTS.get(name, [{}]))
}
OF_FIVE_CLASSES = {"imbalanced-1", "noisy_labels-2", "replay-0", "replay-1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where recorded predictions are."""
    folder = tmp_path_factory.mktemp("predictions")
    logits = torch.randn(300, CLASSES, generator=torch.Generator().manual_seed(3))
    for path in ("predictions.npz", "predictions.safetensors"):
        record_predictions(folder / path, logits, torch.arange(300) % CLASSES)
    return folder


def sampler(case: str, folder: Path) -> SyntheticSampler:
    options = dict(CASES[case])
    if "path" in options:
        options["path"] = str(folder / options["path"])
    built: SyntheticSampler = TypeAdapter(AnySampler).validate_python(options)
    return built


class TestSamplers(SamplerKit):
    @pytest.fixture(params=[case for case in CASES if case not in OF_FIVE_CLASSES])
    def component(self, request, folder):
        return sampler(request.param, folder)


class TestSamplersOfFiveClasses(SamplerKit):
    class_counts = (CLASSES,)

    @pytest.fixture(params=sorted(OF_FIVE_CLASSES))
    def component(self, request, folder):
        return sampler(request.param, folder)


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
    assert wrapper.sample(4, 3, torch.Generator(), 0.25).regime_names == ("at 0.25",)
    assert wrapper.sample(4, 3, torch.Generator()).regime_names == ("at 1.0",)
