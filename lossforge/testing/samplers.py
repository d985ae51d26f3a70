"""What objectives and searches rely on in a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch

from lossforge.interfaces import SyntheticSampler
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import same_bits
from lossforge.types import PredictionBatch

TENSORS = ("log_probs_BC", "labels_B", "regime_B")


class SamplerKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.SyntheticSampler`.

    Attributes:
        class_counts: the numbers of classes it is checked with; a sampler that is made for one says which.
    """

    base = SyntheticSampler
    class_counts: ClassVar[tuple[int, ...]] = (2, 5, 100)

    @pytest.mark.parametrize("num", [1, 2, 400])
    def test_shapes_types_and_device(self, component: SyntheticSampler, device: str, num: int) -> None:
        """float32 log-probabilities, int64 labels and regimes, for any number of pairs and classes."""
        for num_classes in self.class_counts:
            batch = component.sample(num, num_classes, seeded(0, device))
            assert isinstance(batch, PredictionBatch), f"sample() returned a {type(batch).__name__}"
            for name, shape, dtype in (
                ("log_probs_BC", (num, num_classes), torch.float32),
                ("labels_B", (num,), torch.int64),
                ("regime_B", (num,), torch.int64),
            ):
                values = getattr(batch, name)
                found = (tuple(values.shape), values.dtype, values.device.type)
                assert found == (shape, dtype, device), f"{name} is {found}, it must be {(shape, dtype, device)}"

    def test_rows_are_distributions(self, component: SyntheticSampler, device: str) -> None:
        """Log-probabilities are finite, and their exponentials sum to 1."""
        for num_classes in self.class_counts:
            log_probs_BC = component.sample(1000, num_classes, seeded(0, device)).log_probs_BC
            assert log_probs_BC.isfinite().all(), "log_probs_BC are not finite: bound probabilities away from 0"
            off = (log_probs_BC.double().exp().sum(dim=1) - 1).abs().max().item()
            # float32 has 1e-7 a class's share, and log-probabilities near -16 lose 1e-6 of theirs.
            assert off < 2e-6, f"exp(log_probs_BC) sums to 1 within {off:.1e} only; finish with log_softmax in float64"

    def test_labels_are_classes(self, component: SyntheticSampler, device: str) -> None:
        """Indices in [0, C)."""
        for num_classes in self.class_counts:
            labels_B = component.sample(1000, num_classes, seeded(0, device)).labels_B
            low, high = labels_B.min().item(), labels_B.max().item()
            assert 0 <= low <= high < num_classes, f"labels are in [{low}, {high}], classes in [0, {num_classes})"

    def test_regimes_have_names(self, component: SyntheticSampler, device: str) -> None:
        """Each row is of a regime in ``regime_names``, which are distinct, and the same for every batch."""
        for num_classes in self.class_counts:
            batch = component.sample(400, num_classes, seeded(0, device))
            names = batch.regime_names
            assert names, "regime_names is empty; a sampler has one regime at least"
            assert isinstance(names, tuple), f"regime_names is a {type(names).__name__}, it must be a tuple"
            assert all(isinstance(name, str) and name for name in names), f"regime_names are strings, got {names}"
            assert len(set(names)) == len(names), f"regime_names repeat: {names}"
            low, high = batch.regime_B.min().item(), batch.regime_B.max().item()
            assert 0 <= low <= high < len(names), f"regime_B is in [{low}, {high}], there are {len(names)} regime_names"
            others = component.sample(3, num_classes, seeded(1, device), 0.0).regime_names
            assert others == names, f"regime_names depend on the batch: {names} and {others}"

    @pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
    def test_it_takes_how_far_the_search_is(self, component: SyntheticSampler, progress: float) -> None:
        """By position or by name; the end, 1, is the default."""
        num_classes = self.class_counts[0]
        batch = component.sample(60, num_classes, seeded(), progress)
        assert same(batch, component.sample(60, num_classes, seeded(), progress=progress)), "progress by name differs"
        if progress == 1.0:
            assert same(batch, component.sample(60, num_classes, seeded())), "the default of progress must be 1.0"

    def test_the_generator_alone_decides(self, component: SyntheticSampler, device: str) -> None:
        """Global random states are neither used nor moved; one seed gives one batch, another another."""
        num_classes = self.class_counts[-1]
        seed_everything(1)
        with global_state_untouched("sample()"):
            first = component.sample(100, num_classes, seeded(1, device))
        seed_everything(2)
        again = component.sample(100, num_classes, seeded(1, device))
        assert same(again, first), "a generator of the same seed gave another batch: nothing else may decide"
        other = component.sample(100, num_classes, seeded(2, device))
        assert not torch.equal(other.log_probs_BC, first.log_probs_BC), "generators of two seeds gave the same batch"

    def test_the_generator_goes_on(self, component: SyntheticSampler, device: str) -> None:
        """Two batches of one generator differ."""
        source, num_classes = seeded(0, device), self.class_counts[-1]
        first, second = (component.sample(100, num_classes, source).log_probs_BC for _ in range(2))
        assert not torch.equal(first, second), "two batches of one generator are the same: draw from it, do not copy it"

    def test_a_batch_is_the_callers(self, component: SyntheticSampler, device: str) -> None:
        """Whoever writes into a batch changes no other."""
        num_classes = self.class_counts[-1]
        first = component.sample(50, num_classes, seeded(0, device))
        kept = {name: getattr(first, name).clone() for name in TENSORS}
        for name in TENSORS:
            getattr(first, name).fill_(-1)
        again = component.sample(50, num_classes, seeded(0, device))
        for name, values in kept.items():
            assert torch.equal(getattr(again, name), values), (
                f"{name} of a batch shares memory with the sampler: return a copy"
            )

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: SyntheticSampler) -> None:
        """Batches at the beginning and at the end of a search."""
        require_registered(component)
        same_in_a_fresh_process(results, component, num_classes=self.class_counts[-1])


def same(first: PredictionBatch, second: PredictionBatch) -> bool:
    """Return whether two batches have the same bits."""
    pairs = ((getattr(first, name), getattr(second, name)) for name in TENSORS)
    return first.regime_names == second.regime_names and all(same_bits(*pair) for pair in pairs)


def results(sampler: SyntheticSampler, num_classes: int) -> Mapping[str, object]:
    """Return what a fresh process has to come to."""
    found: dict[str, object] = {}
    for progress in (0.0, 1.0):
        batch = sampler.sample(50, num_classes, seeded(), progress)
        for name in (*TENSORS, "regime_names"):
            found[f"{name} at progress {progress}"] = getattr(batch, name)
    return found
