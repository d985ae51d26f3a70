"""Recordings of trainings: what a loss is called with in chosen epochs, and what a network says of other images."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lossforge.errors import DataError, RunDirectoryError, SpecError
from lossforge.evidence import training_seed
from lossforge.evidence.choices import choose
from lossforge.evidence.gap.features import Outputs
from lossforge.evidence.gap.recorder import RecordingLoss
from lossforge.evidence.gap.requirements import check_classes, recorded_epochs
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.evidence.tuning import Point
from lossforge.recorded import read_predictions, record_predictions
from lossforge.search import existing_device
from lossforge.sizes import told_by_size
from lossforge.spec.gap import GapSpec
from lossforge.spec.training import TrainingSpec
from lossforge.training import PreparedData, prepare
from lossforge.training.evaluation import predict
from lossforge.training.loop import train_epoch
from lossforge.training.memory import kept_memory
from lossforge.training.reproducible import reproducible_cudnn
from lossforge.training.steps import Training, start

FORMAT_VERSION = 1

Tell = Callable[[str], None]
"""Is told, in a few words, of what has been done."""


@dataclass(frozen=True)
class Recording:
    """The outputs of one training, or of a file; ``loss``: what it was trained with, by its name."""

    name: str
    loss: str
    outputs: Outputs


def record(
    training: TrainingSpec,
    losses: Mapping[str, nn.Module],
    identities: Mapping[str, str],
    options: GapSpec,
    seed: int,
    device: torch.device | str,
    *,
    points: Mapping[str, Point] | None = None,
    folder: Path | None = None,
    num_classes: int | None = None,
    data: PreparedData | None = None,
    tell: Tell | None = None,
) -> list[Recording]:
    """Train with each loss over the seeds, as ``lossforge train`` would, up to the last epoch to record.

    The test images are not looked at.

    Args:
        training: how each training is done.
        losses: loss modules by name; copies of them are used.
        identities: for each a string that changes with what it computes.
        options: what is recorded.
        seed: of the run; the training seeds derive from it.
        device: where to train.
        points: learning rate and weight decay of losses, by name; of the others they are those of ``training``.
        folder: keeps recordings, by a hash of all that they follow from: one that is there is not made again; and in
            ``choices.json`` what ``auto`` came to.
        num_classes: how many classes there must be.
        data: the images, if they are prepared already.
        tell: told of each recording.

    Raises:
        SpecError: an epoch to record is beyond the training, no images are held out whose outputs are wanted, or a
            training diverged.
        DataError: the images are not to be had, or have another number of classes.
        RunDirectoryError: a recording in ``folder`` is damaged.
    """
    epochs = recorded_epochs(training, options)
    device = existing_device(device)
    images = functools.cache(lambda: _images(training, seed, device, data, num_classes))
    settled = _settled(training, folder, images)
    recordings = []
    for name, loss in losses.items():
        tuned = points[name].apply(settled) if points and name in points else settled
        for index in range(options.seeds):
            identity = _identity(tuned, options, epochs, device, seed, index, identities[name])
            paths = {part: _path(folder, name, index, identity, part) for part in ("training", "held_out")}
            outputs = _read(paths[options.part])
            if outputs is None:
                found = _recorded(tuned, images(), loss, name, options, epochs, training_seed(seed, index))
                for part, each in found.items():
                    _write(paths[part], each)
                outputs = _read(paths[options.part]) or found[options.part]  # as whoever reads it will have them
            recordings.append(Recording(f"{name}, seed {index}", name, outputs))
            if tell is not None:
                tell(f"{name}, seed {index}: {len(outputs)} outputs of epochs {', '.join(map(str, epochs))}")
    return recordings


def read_recording(path: Path) -> Recording:
    """Return what a file holds that :func:`lossforge.samplers.record_predictions` or a recording has written.

    Raises:
        DataError: it is missing or damaged, or holds what makes no sense.
    """
    return Recording(str(path), "recording", _outputs(path.expanduser()))


def _images(
    training: TrainingSpec, seed: int, device: torch.device, data: PreparedData | None, num_classes: int | None
) -> PreparedData:
    data = data or prepare(training, seed, device, recorded=False)
    if num_classes is not None:
        check_classes(data, training, num_classes)
    return data


def _settled(training: TrainingSpec, folder: Path | None, images: Callable[[], PreparedData]) -> TrainingSpec:
    """Return the spec with its precision settled, once for all recordings of a folder."""
    if training.precision != "auto":
        return training
    store = None if folder is None else ArmStore(folder)
    choices = None if store is None else store.read_choices()
    if choices is None:
        choices = choose(training, images(), num_seeds=1)
        if store is not None:
            store.write_choices(choices)
    return choices.apply(training)


def _recorded(
    spec: TrainingSpec,
    data: PreparedData,
    loss: nn.Module,
    name: str,
    options: GapSpec,
    epochs: Sequence[int],
    seed: int,
) -> dict[str, Outputs]:
    """Return the outputs of one training, by part."""
    assert spec.precision != "auto"
    recorder = RecordingLoss(loss, 2 if spec.mixup or spec.cutmix else 1)
    found: dict[str, list[tuple[int, Tensor, Tensor]]] = {"training": []}
    with told_by_size(spec, "training"), reproducible_cudnn(), kept_memory(data.device):
        training = start(spec, data, recorder, [seed], spec.precision)
        (copied,) = training.losses
        assert isinstance(copied, RecordingLoss)
        steps = _spread(training.steps_per_epoch, options.batches)
        for epoch in range(1, epochs[-1] + 1):
            copied.begin(steps if epoch in epochs else ())
            (of_epoch,) = train_epoch(training, epoch, None)
            if not math.isfinite(of_epoch.train_loss):
                raise SpecError(
                    [f"the training with {name} at the rate {spec.learning_rate:g} diverged in epoch {epoch}; lower it"]
                )
            if epoch in epochs:
                found["training"].append((epoch, *copied.kept()))
                if data.validation is not None:
                    found.setdefault("held_out", []).append((epoch, *_held_out(training)))
    return {part: _as_outputs(of_part) for part, of_part in found.items()}


def _spread(num_steps: int, num: int) -> list[int]:
    """Return so many of an epoch's steps, evenly spaced from the first on; all where there are fewer."""
    return sorted({index * num_steps // num for index in range(num)})


def _held_out(training: Training) -> tuple[Tensor, Tensor]:
    validation = training.data.validation
    assert validation is not None
    logits_NC = predict(training.replicas.network(0), training.data, validation.images_NCHW, training.precision)
    return logits_NC.cpu(), validation.labels_N.cpu()


def _as_outputs(parts: Sequence[tuple[int, Tensor, Tensor]]) -> Outputs:
    return Outputs(
        torch.cat([torch.log_softmax(logits_NC.double(), dim=1).float() for _, logits_NC, _ in parts]),
        torch.cat([labels_N for _, _, labels_N in parts]),
        torch.cat([torch.full_like(labels_N, epoch) for epoch, _, labels_N in parts]),
    )


def _identity(
    training: TrainingSpec,
    options: GapSpec,
    epochs: Sequence[int],
    device: torch.device,
    seed: int,
    index: int,
    loss: str,
) -> str:
    """Return the hash of all that a recording follows from."""
    return identity_hash(
        {
            "format_version": FORMAT_VERSION,
            "training": training.model_dump(mode="json"),
            "epochs": list(epochs),
            "batches": options.batches,
            "device": device.type,
            "run_seed": seed,
            "seed_index": index,
            "loss": loss,
        }
    )


def _path(folder: Path | None, name: str, index: int, identity: str, part: str) -> Path | None:
    return None if folder is None else folder / f"{name}-seed-{index}-{identity[:12]}.{part}.safetensors"


def _read(path: Path | None) -> Outputs | None:
    if path is None or not path.exists():
        return None
    try:
        return _outputs(path)
    except DataError as cause:
        raise RunDirectoryError(f"{cause}: delete it, and give the command again") from cause


def _outputs(path: Path) -> Outputs:
    read = read_predictions(path)
    epoch_N = torch.zeros_like(read.labels_N) if read.epoch_N is None else read.epoch_N
    return Outputs(read.log_probs_NC, read.labels_N, epoch_N)


def _write(path: Path | None, outputs: Outputs) -> None:
    if path is not None:
        record_predictions(path, outputs.log_probs_NC, outputs.labels_N, outputs.epoch_N)
