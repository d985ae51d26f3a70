"""Flawed samplers: each breaks a contract, which its docstring tells."""

from dataclasses import replace
from typing import Literal

from lossforge.samplers import DirichletSampler


class Unnormalised(DirichletSampler):
    """Its rows sum to more than 1."""

    type: Literal["unnormalised"] = "unnormalised"

    def sample(self, num, num_classes, generator, progress=1.0):
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, log_probs_BC=batch.log_probs_BC + 1e-4)


class DoubleRows(DirichletSampler):
    """Its rows are float64."""

    type: Literal["double_rows"] = "double_rows"

    def sample(self, num, num_classes, generator, progress=1.0):
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, log_probs_BC=batch.log_probs_BC.double().log_softmax(1))


class FromOne(DirichletSampler):
    """Its labels count from 1."""

    type: Literal["from_one"] = "from_one"

    def sample(self, num, num_classes, generator, progress=1.0):
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, labels_B=batch.labels_B + 1)


class Nameless(DirichletSampler):
    """A regime has no name."""

    type: Literal["nameless"] = "nameless"

    def sample(self, num, num_classes, generator, progress=1.0):
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, regime_B=batch.regime_B + 1)


class Earlier(DirichletSampler):
    """The beginning is its default."""

    type: Literal["earlier"] = "earlier"

    def sample(self, num, num_classes, generator, progress=0.0):
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, log_probs_BC=(batch.log_probs_BC * (0.5 + progress)).log_softmax(1))


KEPT = {}


class Shared(DirichletSampler):
    """It hands the same batch out again."""

    type: Literal["shared"] = "shared"

    def sample(self, num, num_classes, generator, progress=1.0):
        key = (num, num_classes, generator.get_state().numpy().tobytes())
        batch = super().sample(num, num_classes, generator, progress)
        return KEPT.setdefault(key, batch)


LABELS = {}


class SharedLabels(DirichletSampler):
    """It hands the same labels out again."""

    type: Literal["shared_labels"] = "shared_labels"

    def sample(self, num, num_classes, generator, progress=1.0):
        key = (num, num_classes, generator.get_state().numpy().tobytes())
        batch = super().sample(num, num_classes, generator, progress)
        return replace(batch, labels_B=LABELS.setdefault(key, batch.labels_B))
