"""Plain values that flow between components, and the legend of shape suffixes.

Tensor names end in their shape, one capital letter a dimension:

* P: candidates of a population
* D: parameters of a candidate
* B: prediction-label pairs of a batch
* C: classes
* G: points of a grid of true-class probabilities

``loss_PB`` is thus a (candidates, pairs) tensor. A leading size of 1 in place of P means "shared by all candidates".
Logarithms are natural; losses are in nats where they are logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

State: TypeAlias = Mapping[str, Tensor | float | int]
"""What changes during a run: a flat mapping with prefixed keys such as ``mutation.orbit``.

Tensors are stored as safetensors, finite scalars as JSON. States are passed in and returned, never changed in place.
"""


@dataclass(frozen=True)
class PredictionBatch:
    """Synthetic prediction-label pairs.

    Attributes:
        log_probs_BC: natural logarithms of predicted probabilities; each row's exponentials sum to 1.
        labels_B: class indices (int64) in [0, C).
        regime_B: index (int64) into ``regime_names`` of the regime that drew each row.
        regime_names: names of the sampler's regimes.
    """

    log_probs_BC: Tensor
    labels_B: Tensor
    regime_B: Tensor
    regime_names: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """What an objective says of a population.

    Attributes:
        fitness_P: to be minimised; a value that is not finite ranks last.
        metrics: name to a (P,) tensor, for the history and the report; never used for selection.
        trade_offs: what an objective with several goals minimises, name to a (P,) tensor that can be compared between
            populations; the search keeps an archive of what is not dominated in them. Empty where there is one goal.
    """

    fitness_P: Tensor
    metrics: Mapping[str, Tensor]
    trade_offs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSet:
    """Labelled images in memory.

    Attributes:
        images_NCHW: uint8 in 0..255.
        labels_N: int64 class indices.
    """

    images_NCHW: Tensor
    labels_N: Tensor


@dataclass(frozen=True)
class ImageData:
    """A dataset's two parts and the names of its classes, in label order."""

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]


Setting: TypeAlias = str | int | float | bool | None
"""A single value of a spec."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run before it is told how the run gets on.

    Attributes:
        name: of the run; others may be called so, too.
        path: absolute path of the run directory, or of the folder of trainings.
        settings: the single values of the resolved spec by their place, such as ``search.strategy.sigma``; items of a
            list are counted from 0, and an empty list is the text ``[]``. Those of ``trackers`` are left out.
        resumed: whether trackers were opened for this run before.
    """

    name: str
    path: Path
    settings: Mapping[str, Setting]
    resumed: bool

    @property
    def memory(self) -> Path:
        """Folder, which exists, for a file ``<type>.json`` of what a tracker needs to find the run again."""
        return self.path / "trackers"
