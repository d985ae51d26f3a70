"""Wrong labels.

Symmetric and pair-flip noise as in Han et al., "Co-teaching: robust training of deep neural networks with extremely
noisy labels", NeurIPS 2018, arXiv:1804.06872; a transition matrix as in Patrini et al., "Making deep neural networks
robust to label noise: a loss correction approach", CVPR 2017, arXiv:1609.03683.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge import answers
from lossforge.devices import constant
from lossforge.errors import SpecError
from lossforge.fields import AnySampler
from lossforge.interfaces import SyntheticSampler
from lossforge.samplers.categorical import check_sum, draw_columns
from lossforge.types import PredictionBatch

Matrix = tuple[tuple[float, ...], ...]


class NoisyLabelsSampler(SyntheticSampler):
    """Another sampler's pairs with labels flipped: symmetric, to the next class, or by a transition matrix.

    Predictions stay as they are. A label y becomes another one:

    * ``symmetric``: with probability ``rate``, one of the C - 1 other classes, each alike. (Some write the share of
      labels drawn anew from all C classes; it is this rate times C / (C - 1).)
    * ``pair_flip``: with probability ``rate``, the next class, y + 1 mod C;
    * ``matrix``: class k with probability ``matrix[y][k]``.

    Given the same generator, the sampler within draws what it draws alone. The clean labels are not kept: an objective
    on the batch takes the given ones for true, so that wrong labels count as more errors of the predictions. How a loss
    bears noise in training is seen by ``proxy_training`` with ``tasks.label_noise``, which makes data of its own.
    """

    type: Literal["noisy_labels"] = "noisy_labels"
    sampler: AnySampler = Field(description="where pairs with clean labels come from")
    noise: Literal["symmetric", "pair_flip", "matrix"] = Field(default="symmetric", description="how labels change")
    rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        examples=[0.2],
        description="share of wrong labels; for symmetric and pair_flip, which need it",
    )
    matrix: Matrix | None = Field(
        default=None,
        description="rows: clean labels, columns: given ones; each row sums to 1; for matrix, which needs it",
    )

    @model_validator(mode="after")
    def _options_fit(self) -> NoisyLabelsSampler:
        needed, other = ("matrix", "rate") if self.noise == "matrix" else ("rate", "matrix")
        if getattr(self, needed) is None:
            raise ValueError(f"noise {self.noise!r} needs {needed}; set it")
        if getattr(self, other) is not None:
            raise ValueError(f"noise {self.noise!r} has no use for {other}; leave it out, or set another noise")
        if self.matrix is not None:
            _check_matrix(self.matrix)
        return self

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs, with the regimes of the sampler within.

        Raises:
            SpecError: the matrix is for another number of classes.
        """
        if self.matrix is not None and len(self.matrix) != num_classes:
            raise SpecError(
                [
                    f"noisy_labels.matrix: has {len(self.matrix)} rows, but there are {num_classes} classes; give as "
                    "many rows as classes, or change search.num_classes"
                ]
            )
        batch = answers.sample(self.sampler, num, num_classes, generator, progress)
        return dataclasses.replace(batch, labels_B=self._flipped(batch.labels_B, num_classes, generator))

    def _flipped(self, labels_B: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        if self.matrix is not None:
            rows_CC = constant(self.matrix, torch.float64, labels_B.device)
            return draw_columns(rows_CC[labels_B], generator)
        assert self.rate is not None
        unit_B = torch.rand(labels_B.shape, dtype=torch.float64, generator=generator, device=labels_B.device)
        if self.noise == "pair_flip":
            shift_B = torch.ones_like(labels_B)
        else:
            shift_B = torch.randint(1, num_classes, labels_B.shape, generator=generator, device=labels_B.device)
        return torch.where(unit_B < self.rate, (labels_B + shift_B) % num_classes, labels_B)


def _check_matrix(matrix: Matrix) -> None:
    size = len(matrix)
    if size < 2:
        raise ValueError(f"matrix has {size} rows; there are at least 2 classes")
    for index, row in enumerate(matrix):
        if len(row) != size:
            raise ValueError(f"matrix must be square: row {index} has {len(row)} entries, and there are {size} rows")
        check_sum(row, f"row {index} of matrix")
