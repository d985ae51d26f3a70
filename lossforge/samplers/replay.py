"""Predictions that a real classifier made."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.errors import DataError
from lossforge.interfaces import SyntheticSampler
from lossforge.recorded import file_version, read_predictions, record_predictions
from lossforge.types import PredictionBatch

__all__ = ["ReplaySampler", "record_predictions"]


class ReplaySampler(SyntheticSampler):
    """Recorded predictions and labels, drawn from a file with replacement: safetensors or npz.

    The file holds ``labels`` (N,), class indices, and one of ``log_probs``, ``logits`` and ``probs`` (N, C), floating
    point; more than these is left alone. ``lossforge gap`` records trainings as such files, :func:`record_predictions`
    writes one of anything else. It is read once a process, and again when it changes; nothing in it is executed.
    """

    type: Literal["replay"] = "replay"
    path: str = Field(
        min_length=1,
        examples=["predictions.safetensors"],
        description="file of recorded predictions, .safetensors or .npz; ~ is expanded, and a relative path begins at "
        "the working directory",
    )

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` of the recorded pairs; one regime, ``replay``.

        Raises:
            DataError: the file is missing or damaged, holds what makes no sense, or has another number of classes.
        """
        device = generator.device
        path = Path(self.path).expanduser().absolute()
        log_probs_NC, labels_N = _recorded(path, file_version(path), str(device))
        found = log_probs_NC.shape[1]
        if found != num_classes:
            raise DataError(
                f"{path}: predictions of {found} classes, but the search has {num_classes}; set search.num_classes: "
                f"{found}, or record others"
            )
        row_B = torch.randint(len(labels_N), (num,), generator=generator, device=device)
        regime_B = torch.zeros(num, dtype=torch.int64, device=device)
        return PredictionBatch(log_probs_NC[row_B], labels_N[row_B], regime_B, ("replay",))


@functools.lru_cache(maxsize=4)
def _recorded(path: Path, version: tuple[int, int], device: str) -> tuple[Tensor, Tensor]:
    """Return the file's log_probs_NC and labels_N on a device; ``version`` is there to tell files apart."""
    recorded = read_predictions(path)
    return recorded.log_probs_NC.to(device), recorded.labels_N.to(device)
