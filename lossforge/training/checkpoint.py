"""The state of an unfinished training on disk, after each epoch."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lossforge.errors import RunDirectoryError
from lossforge.files import write_atomically
from lossforge.training.best_epoch import BestEpoch
from lossforge.training.descent import load_optimizer_tensors, optimizer_tensors
from lossforge.training.result import EpochRecord
from lossforge.training.steps import Training

FORMAT_VERSION = 1

_log = logging.getLogger(__name__)

Records = list[list[EpochRecord]]
"""The completed epochs of each replica."""


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A safetensors file with weights, optimiser, running mean and the losses' buffers, and the records as metadata.

    Draws are derived anew for each epoch, so a training that goes on from here comes to the same bits.

    Attributes:
        path: of the file; its folder is made when it is needed.
        identity: a string that changes with what the training comes to, such as a hash of spec, loss and seed.
    """

    path: Path
    identity: str

    def save(self, training: Training, best: BestEpoch | None, epoch: int, records: Records) -> None:
        """Write the state after an epoch, counted from 1, over that of the one before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format_version": FORMAT_VERSION,
            "identity": self.identity,
            "epoch": epoch,
            "records": [[record.to_json() for record in of_replica] for of_replica in records],
        }
        # Copies, for layers may share weights, which safetensors refuses.
        tensors = {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in _state(training, best).items()
        }
        write_atomically(self.path, safetensors.torch.save(tensors, {"lossforge": json.dumps(content)}))

    def restore(self, training: Training, best: BestEpoch | None) -> tuple[int, Records]:
        """Give a fresh training and its best epoch the state on disk; return how many epochs are done, and records.

        A file that cannot be read is told in a warning, and counts as none.

        Raises:
            RunDirectoryError: it was written for another training.
        """
        nothing: tuple[int, Records] = 0, [[] for _ in training.seeds]
        if not self.path.exists():
            return nothing
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                content = json.loads((file.metadata() or {})["lossforge"])
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            written_for = content["identity"], content["format_version"]
            records = [[EpochRecord(**record) for record in of_replica] for of_replica in content["records"]]
            epoch = int(content["epoch"])
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as cause:
            _log.warning("%s: damaged (%s); this training begins anew", self.path, cause)
            return nothing
        if written_for != (self.identity, FORMAT_VERSION):
            raise RunDirectoryError(
                f"{self.path} was written for another training; delete it to begin this one anew, or choose another "
                "folder"
            )
        _load(training, best, tensors)
        return epoch, records

    def remove(self) -> None:
        """Remove the file; the training is finished, and what it came to is stored elsewhere."""
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):  # of a process that was ended while it wrote
            left.unlink(missing_ok=True)


def _state(training: Training, best: BestEpoch | None) -> dict[str, Tensor]:
    parts = {
        "replicas": training.replicas.state_dict(),
        "optimizer": optimizer_tensors(training.descent.optimizer),
        **{f"loss{index}": loss.state_dict() for index, loss in enumerate(training.losses)},
    }
    if training.average is not None:
        parts["average"] = {str(index): value for index, value in enumerate(training.average.averages)}
    if best is not None:
        parts["best"] = best.tensors()
    return {f"{part}.{name}": value for part, of_part in parts.items() for name, value in of_part.items()}


def _load(training: Training, best: BestEpoch | None, tensors: dict[str, Tensor]) -> None:
    training.replicas.load_state_dict(_part(tensors, "replicas"))
    load_optimizer_tensors(training.descent.optimizer, _part(tensors, "optimizer"))
    for index, loss in enumerate(training.losses):
        loss.load_state_dict(_part(tensors, f"loss{index}"))
    if best is not None:
        best.load(_part(tensors, "best"))
    if training.average is not None:
        averages = _part(tensors, "average")
        for index, average in enumerate(training.average.averages):
            average.copy_(averages[str(index)])


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
