"""Pairs of predictions, one of which deserves the larger loss, and how often candidates agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.finite import all_finite


@dataclass(frozen=True)
class Comparisons:
    """B comparisons among R >= B rows of predictions: comparison i is between row ``first_B[i]`` and row i.

    Attributes:
        log_probs_RC: predictions; the rows from B on are second in no comparison.
        labels_R: their labels.
        first_B: the other row of each comparison.
        sign_B: 1 where the first row deserves the larger loss, -1 where the second does, 0 where neither.
        cell_B: what each is counted with, in rising order.
        num_cells: K, all of them; some may be empty.
    """

    log_probs_RC: Tensor
    labels_R: Tensor
    first_B: Tensor
    sign_B: Tensor
    cell_B: Tensor
    num_cells: int


@dataclass(frozen=True)
class Concordance:
    """In how many comparisons the row that deserves it has the larger loss; ties count as wrong.

    Attributes:
        counts_PK: int64, by cell.
        finite_P: whether all R losses of a candidate are finite.
    """

    counts_PK: Tensor
    finite_P: Tensor


def concordance(loss_PR: Tensor, comparisons: Comparisons) -> Concordance:
    """Return how the losses of candidates agree with fewer than 2^24 comparisons."""
    second_PB = loss_PR[:, : len(comparisons.first_B)]
    gap_PB = (loss_PR.index_select(1, comparisons.first_B) - second_PB) * comparisons.sign_B
    # A product with a table of cells: whole numbers below 2^24 are exact in float32.
    cells = torch.arange(comparisons.num_cells, device=loss_PR.device)
    cells_BK = (comparisons.cell_B[:, None] == cells).to(loss_PR.dtype)
    counts_PK = (gap_PB > 0).to(loss_PR.dtype) @ cells_BK
    return Concordance(counts_PK.long(), all_finite(loss_PR))
