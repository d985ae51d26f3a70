"""Finished trainings of a comparison on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lossforge.errors import RunDirectoryError
from lossforge.evidence.choices import Choices
from lossforge.files import to_json, write_atomically
from lossforge.training import Predictions, TrainingResult

FORMAT_VERSION = 3

_UNFINISHED = re.compile(r"seed-(\d+)(?:-to-(\d+))?\.unfinished\.safetensors")


def identity_hash(identity: dict[str, Any]) -> str:
    """Return the SHA-256 of plain values as canonical JSON: sorted keys, no spaces, no NaN."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ArmStore:
    """A folder with ``<loss>/seed-<index>.json`` and, unless it diverged, logits and labels beside it as safetensors.

    The JSON is written last: an arm is finished if it is there. Predictions are those on the test images (``logits``,
    ``labels``) and, if there are any, on the validation images (``validation_logits``, ``validation_labels``).
    """

    folder: Path

    def __post_init__(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RunDirectoryError(f"{self.folder}: not a folder; choose another place for the comparison")

    def read(self, loss: str, index: int, identity: str) -> TrainingResult | None:
        """Return the arm of a loss and a seed index, or None if it is not finished.

        Raises:
            RunDirectoryError: it was written for another spec, seed or loss, or is damaged.
        """
        path = self._path(loss, index, ".json")
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            written_for = content["identity"], content["format_version"]
        except (ValueError, KeyError, TypeError) as cause:
            raise _damaged(path, cause) from cause
        if written_for[1] != FORMAT_VERSION:
            raise RunDirectoryError(
                f"{path} was written by another lossforge (format {written_for[1]}, this one reads {FORMAT_VERSION}); "
                "go on with that version, or delete that file to train this arm again"
            )
        if written_for[0] != identity:
            raise RunDirectoryError(
                f"{path} was written for another training spec, seed or loss; give this comparison a folder of its "
                "own, or delete that file"
            )
        return self._result(path, content)

    def write(self, loss: str, index: int, identity: str, result: TrainingResult) -> None:
        """Write a finished arm, each file atomically."""
        path = self._path(loss, index, ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**_tensors("", result.test), **_tensors("validation_", result.validation)}
        if tensors:
            write_atomically(path.with_suffix(".safetensors"), safetensors.torch.save(tensors))
        content = {
            "format_version": FORMAT_VERSION,
            "identity": identity,
            "loss": loss,
            "seed_index": index,
            "result": result.to_json(),
        }
        write_atomically(path, to_json(content))

    def read_choices(self) -> Choices | None:
        """Return what ``auto`` has come to in this folder, or None if that is still open.

        Raises:
            RunDirectoryError: the file is damaged.
        """
        path = self.folder / "choices.json"
        if not path.exists():
            return None
        try:
            return Choices.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as cause:
            raise RunDirectoryError(f"{path}: damaged ({cause}); delete it to have the choices made anew") from cause

    def write_choices(self, choices: Choices) -> None:
        """Write what ``auto`` comes to, for all trainings of this folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "choices.json", to_json(choices.to_json()))

    def write_record(self, record: Mapping[str, Any], place: str = "") -> None:
        """Write what is trained on, to ``data.json`` in a folder within this one.

        Raises:
            RunDirectoryError: it is not what the folder was begun with, though the spec is: a file has changed.
        """
        path, content = self.folder / place / "data.json", to_json(dict(record))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        elif path.read_text(encoding="utf-8") != content:
            raise RunDirectoryError(
                f"{path}: the images or labels are not those that this comparison was begun with; restore them, or "
                "choose another folder"
            )

    def checkpoint(self, loss: str, indices: Sequence[int]) -> Path:
        """Return where the state of an unfinished training of one seed lies, or of several together."""
        last = "" if len(indices) == 1 else f"-to-{indices[-1]}"
        return self._path(loss, indices[0], f"{last}.unfinished.safetensors")

    def unfinished(self, loss: str) -> list[range]:
        """Return the seed indices of each training of a loss, or group of them, that was begun and not finished."""
        names = (path.name for path in (self.folder / loss).glob("seed-*.unfinished.safetensors"))
        spans = (match.groups() for name in names if (match := _UNFINISHED.fullmatch(name)))
        return sorted((range(int(first), int(last or first) + 1) for first, last in spans), key=lambda group: group[0])

    def _path(self, loss: str, index: int, suffix: str) -> Path:
        return self.folder / loss / f"seed-{index}{suffix}"

    def _result(self, path: Path, content: dict[str, Any]) -> TrainingResult:
        tensors = path.with_suffix(".safetensors")
        try:
            scalars = TrainingResult.from_json(content["result"])
            if scalars.metrics is None and scalars.validation_metrics is None:
                return scalars
            read = safetensors.torch.load(tensors.read_bytes())
            test = None if scalars.metrics is None else Predictions(read["logits"], read["labels"])
            validation = None
            if scalars.validation_metrics is not None:
                validation = Predictions(read["validation_logits"], read["validation_labels"])
            return TrainingResult.from_json(content["result"], test, validation)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as cause:
            raise _damaged(path, cause) from cause


def _tensors(prefix: str, predictions: Predictions | None) -> dict[str, Tensor]:
    if predictions is None:
        return {}
    tensors = {"logits": predictions.logits_NC, "labels": predictions.labels_N}
    return {prefix + name: value.contiguous() for name, value in tensors.items()}


def _damaged(path: Path, cause: Exception) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} or the safetensors file beside it is damaged ({type(cause).__name__}: {cause}); delete both to "
        "train this arm again"
    )
