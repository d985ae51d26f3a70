"""Rare and frequent classes.

The exponential long tail is that of Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
arXiv:1901.05555; the relabelling is ours.
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


class ImbalancedSampler(SyntheticSampler):
    """Another sampler's pairs with frequent and rare classes: a given prior, or an exponential long tail.

    Each pair gets a label n from the prior, and in its prediction the columns of n and of its old label o are swapped:
    p_n is now what p_o was. So the values of p_y in a batch are those of the sampler within, and so is everything that
    does not depend on how classes are numbered: families that treat classes alike have the same losses as without it.
    It is for those with a fixed number of classes, such as ``class_correlation``. Imbalance in training is seen by
    ``proxy_training`` with ``tasks.imbalance``, which makes data of its own.

    This takes for granted that the sampler within treats classes alike: its pairs are as likely after any renumbering
    of the classes. That holds for ``mixture``, ``curriculum``, ``dirichlet`` and ``logit_normal``, and for symmetric
    ``noisy_labels`` of these. It does not for other ``noisy_labels``: put those around this one. Nor does it for
    ``replay``: which classes were taken for which is then no longer what was recorded.
    """

    type: Literal["imbalanced"] = "imbalanced"
    sampler: AnySampler = Field(description="where pairs come from; it must treat classes alike")
    prior: tuple[float, ...] | None = Field(default=None, description="probability of each class; sums to 1")
    ratio: float | None = Field(
        default=None,
        ge=1,
        examples=[100.0],
        description="how much more frequent the first class is than the last, falling exponentially in between",
    )

    @model_validator(mode="after")
    def _one_prior(self) -> ImbalancedSampler:
        if (self.prior is None) == (self.ratio is None):
            raise ValueError("set one of prior (a probability a class) and ratio (first to last class), and not both")
        if self.prior is not None:
            if len(self.prior) < 2:
                raise ValueError(f"prior has {len(self.prior)} entries; there are at least 2 classes")
            check_sum(self.prior, "prior")
        return self

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs, with the regimes of the sampler within.

        Raises:
            SpecError: the prior is for another number of classes.
        """
        prior_C = constant(self.class_prior(num_classes), torch.float64, generator.device)
        batch = answers.sample(self.sampler, num, num_classes, generator, progress)
        labels_B = draw_columns(prior_C.expand(num, -1), generator)
        log_probs_BC = _swapped(batch.log_probs_BC, batch.labels_B, labels_B)
        return dataclasses.replace(batch, log_probs_BC=log_probs_BC, labels_B=labels_B)

    def class_prior(self, num_classes: int) -> tuple[float, ...]:
        """Return the probability of each class; with a ratio r it is proportional to r^(-c / (C - 1))."""
        if self.prior is None:
            assert self.ratio is not None
            tail = [self.ratio ** (-c / (num_classes - 1)) for c in range(num_classes)]
            return tuple(share / sum(tail) for share in tail)
        if len(self.prior) != num_classes:
            raise SpecError(
                [
                    f"imbalanced.prior: has {len(self.prior)} entries, but there are {num_classes} classes; give one a "
                    "class, or use ratio"
                ]
            )
        return self.prior


def _swapped(log_probs_BC: Tensor, first_B: Tensor, second_B: Tensor) -> Tensor:
    """Return each row with two of its columns swapped."""
    columns_B2 = torch.stack((first_B, second_B), dim=1)
    return log_probs_BC.scatter(1, columns_B2, log_probs_BC.gather(1, columns_B2.flip(1)))
