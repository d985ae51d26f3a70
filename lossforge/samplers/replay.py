"""Predictions that a real classifier made."""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.errors import DataError
from lossforge.files import write_atomically
from lossforge.interfaces import SyntheticSampler
from lossforge.types import PredictionBatch

FORMS = ("log_probs", "logits", "probs")
SUFFIXES = (".safetensors", ".npz")
TOLERANCE = 1e-2
"""On a row's sum of recorded probabilities: half precision is that coarse. Rows are divided by their sums."""


class ReplaySampler(SyntheticSampler):
    """Recorded predictions and labels, drawn from a file with replacement: safetensors or npz.

    The file holds ``labels`` (N,), class indices, and one of ``log_probs``, ``logits`` and ``probs`` (N, C), floating
    point. :func:`record_predictions` writes one. It is read once a process, and again when it changes; nothing in it is
    executed.
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
        log_probs_NC, labels_N = _recorded(path, _version(path), str(device))
        found = log_probs_NC.shape[1]
        if found != num_classes:
            raise DataError(
                f"{path}: predictions of {found} classes, but the search has {num_classes}; set search.num_classes: "
                f"{found}, or record others"
            )
        row_B = torch.randint(len(labels_N), (num,), generator=generator, device=device)
        regime_B = torch.zeros(num, dtype=torch.int64, device=device)
        return PredictionBatch(log_probs_NC[row_B], labels_N[row_B], regime_B, ("replay",))


def record_predictions(path: Path | str, logits: Tensor, labels: Tensor) -> None:
    """Write a file that :class:`ReplaySampler` reads: float32 log-probabilities and int64 labels.

    Args:
        path: ends in .safetensors or .npz.
        logits: (N, C), what a classifier returned.
        labels: (N,), the true classes.

    Raises:
        DataError: the path ends otherwise, shapes do not fit, or numbers are out of range.
    """
    path = Path(path).expanduser()
    _check_suffix(path)
    log_probs_NC, labels_N = _checked(path, {"logits": logits.detach().cpu(), "labels": labels.detach().cpu()})
    tensors = {"log_probs": log_probs_NC, "labels": labels_N}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        write_atomically(path, save(tensors))
        return
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})
    write_atomically(path, content.getvalue())


def _version(path: Path) -> tuple[int, int]:
    """Return what changes when a file does."""
    _check_suffix(path)
    try:
        found = path.stat()
    except OSError as cause:
        raise DataError(
            f"{path}: cannot be read ({cause.strerror}); correct path, or write the file with "
            "lossforge.samplers.replay.record_predictions(path, logits, labels)"
        ) from cause
    return found.st_mtime_ns, found.st_size


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: recorded predictions are kept in {' or '.join(SUFFIXES)} files; rename or convert it")


@functools.lru_cache(maxsize=4)
def _recorded(path: Path, version: tuple[int, int], device: str) -> tuple[Tensor, Tensor]:
    """Return the file's log_probs_NC and labels_N on a device; ``version`` is there to tell files apart."""
    log_probs_NC, labels_N = _checked(path, _read(path))
    return log_probs_NC.to(device), labels_N.to(device)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            return load(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    # NumPy raises any of these for damaged archives, and TypeError is torch's for types that it does not have.
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as cause:
        raise DataError(f"{path}: cannot be read as {path.suffix} ({cause}); record it anew") from cause


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return float32 log_probs_NC and int64 labels_N.

    Raises:
        DataError: they are not there, or not what they should be.
    """
    forms = [name for name in FORMS if name in tensors]
    if len(forms) != 1 or "labels" not in tensors:
        found = ", ".join(sorted(tensors)) or "nothing"
        raise DataError(f"{path}: holds {found}; it must hold labels and one of {', '.join(FORMS)}")
    form, values, labels = forms[0], tensors[forms[0]], tensors["labels"]
    problem = _problem(form, values, labels)
    if problem is not None:
        raise DataError(f"{path}: {problem}; record them anew")
    return _log_probs(path, form, values.double()), labels.long()


def _problem(form: str, values: Tensor, labels: Tensor) -> str | None:
    """Return what is wrong with shapes, types and labels, if anything."""
    if values.ndim != 2 or len(values) < 1 or values.shape[1] < 2 or not values.is_floating_point():
        return f"{form} of shape {tuple(values.shape)}, {values.dtype}; they must be (N, C) floating point, C >= 2"
    if labels.shape != values.shape[:1] or labels.is_floating_point() or labels.is_complex():
        return f"labels of shape {tuple(labels.shape)}, {labels.dtype}; they must be {len(values)} class indices"
    low, high, num_classes = int(labels.long().min()), int(labels.long().max()), values.shape[1]
    if low < 0 or high >= num_classes:
        return f"labels from {low} to {high}; with {num_classes} classes they must be in 0..{num_classes - 1}"
    return None


def _log_probs(path: Path, form: str, values_NC: Tensor) -> Tensor:
    """Return log-probabilities in float32, whatever form they were recorded in."""
    logits_NC = values_NC.log() if form == "probs" else values_NC
    log_probs_NC = torch.log_softmax(logits_NC, dim=1).float()
    if not log_probs_NC.isfinite().all():
        remedy = "; record log_probs or logits, in which no class is 0" if form == "probs" else "; record them anew"
        rows = (~log_probs_NC.isfinite()).any(dim=1).sum()
        raise DataError(f"{path}: {form} give log-probabilities that are not finite, in {rows} rows{remedy}")
    off = torch.logsumexp(logits_NC, dim=1).abs().max()
    if form != "logits" and off > TOLERANCE:
        raise DataError(f"{path}: rows of {form} do not sum to 1 (by up to {off.expm1():.3g}); record them as logits")
    return log_probs_NC
