"""Files of predictions that a classifier made: what is recorded in trainings, and what a search can replay."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.errors import DataError
from lossforge.files import write_atomically

FORMS = ("log_probs", "logits", "probs")
SUFFIXES = (".safetensors", ".npz")
EPOCH = "epoch"
"""Tensor of such a file, (N,) integers, that may say in which epoch each prediction was made."""
TOLERANCE = 1e-2
"""On a row's sum of recorded probabilities: half precision is that coarse. Rows are divided by their sums."""


@dataclass(frozen=True)
class RecordedPredictions:
    """Predictions with the labels that they were met with.

    Attributes:
        log_probs_NC: float32 log-probabilities.
        labels_N: int64 class indices.
        epoch_N: int64, the epoch of each, counted from 1; None where it is not known.
    """

    log_probs_NC: Tensor
    labels_N: Tensor
    epoch_N: Tensor | None = field(default=None)


def read_predictions(path: Path) -> RecordedPredictions:
    """Read a file of predictions; nothing in it is executed.

    Raises:
        DataError: the file is missing or damaged, or holds what makes no sense.
    """
    file_version(path)
    return _checked(path, _read(path))


def record_predictions(path: Path | str, logits: Tensor, labels: Tensor, epoch: Tensor | None = None) -> None:
    """Write a file that the sampler ``replay`` reads: float32 log-probabilities and int64 labels.

    Args:
        path: ends in .safetensors or .npz.
        logits: (N, C), what a classifier returned.
        labels: (N,), the true classes.
        epoch: (N,) integers, in which epoch it did, if that is to be known.

    Raises:
        DataError: the path ends otherwise, shapes do not fit, or numbers are out of range.
    """
    path = Path(path).expanduser()
    _check_suffix(path)
    given = {"logits": logits, "labels": labels, **({} if epoch is None else {EPOCH: epoch})}
    recorded = _checked(path, {name: tensor.detach().cpu() for name, tensor in given.items()})
    tensors = {"log_probs": recorded.log_probs_NC, "labels": recorded.labels_N}
    if recorded.epoch_N is not None:
        tensors[EPOCH] = recorded.epoch_N
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        write_atomically(path, save(tensors))
        return
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})
    write_atomically(path, content.getvalue())


def file_version(path: Path) -> tuple[int, int]:
    """Return what changes when a file of predictions does.

    Raises:
        DataError: there is none, or its name does not end like one.
    """
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


def _checked(path: Path, tensors: Mapping[str, Tensor]) -> RecordedPredictions:
    """Return what tensors hold.

    Raises:
        DataError: they are not there, or not what they should be.
    """
    forms = [name for name in FORMS if name in tensors]
    if len(forms) != 1 or "labels" not in tensors:
        found = ", ".join(sorted(tensors)) or "nothing"
        raise DataError(f"{path}: holds {found}; it must hold labels and one of {', '.join(FORMS)}")
    form, values, labels, epoch = forms[0], tensors[forms[0]], tensors["labels"], tensors.get(EPOCH)
    problem = _problem(form, values, labels) or _epoch_problem(epoch, labels)
    if problem is not None:
        raise DataError(f"{path}: {problem}; record them anew")
    log_probs_NC = _log_probs(path, form, values.double())
    return RecordedPredictions(log_probs_NC, labels.long(), None if epoch is None else epoch.long())


def _epoch_problem(epoch: Tensor | None, labels: Tensor) -> str | None:
    if epoch is None or (epoch.shape == labels.shape and not (epoch.is_floating_point() or epoch.is_complex())):
        return None
    return f"{EPOCH} of shape {tuple(epoch.shape)}, {epoch.dtype}; it must be {len(labels)} integers"


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
