"""The artifact on disk: ``loss.json`` and ``loss.safetensors``, and ``loss.py`` for those without lossforge.

Reading one parses JSON and safetensors; it executes nothing from the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.artifact.export import standalone_source
from lossforge.artifact.learned import LearnedLoss
from lossforge.errors import ArtifactError
from lossforge.fields import AnyParameterization
from lossforge.files import to_json, write_atomically
from lossforge.interfaces import LossParameterization
from lossforge.provenance import lost
from lossforge.spec.model import NAME_PATTERN
from lossforge.version import __version__

FORMAT_VERSION = 1
"""Version of the artifact format this lossforge reads and writes."""


@dataclass(frozen=True)
class Artifact:
    """A found loss and what is known of it.

    Attributes:
        name: name of the run.
        parameterization: the family.
        solution_D: its parameters, float32 on the CPU.
        scale: E ||dCE/dz|| / E ||dloss/dz|| on a fixed synthetic batch; the module multiplies by it.
        evidence: JSON values: held-out metrics, weight profile, how it was searched. No times, no host.
    """

    name: str
    parameterization: LossParameterization
    solution_D: Tensor
    scale: float
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Both go into generated code.
        if not (isinstance(self.name, str) and re.fullmatch(NAME_PATTERN, self.name)):
            raise ArtifactError(f"name {self.name!r}: only letters, digits, '.', '_' and '-' are allowed")
        if not (isinstance(self.scale, float) and 0 < self.scale < math.inf):
            raise ArtifactError(f"scale {self.scale!r}: must be a positive number")

    def loss(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> LearnedLoss:
        """Return the loss as a module, with the options of ``nn.CrossEntropyLoss``."""
        return LearnedLoss(
            self.parameterization,
            self.solution_D,
            self.scale,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    def identity(self) -> str:
        """Return a SHA-256 that changes with what the loss computes."""
        digest = hashlib.sha256(self.solution_D.numpy().tobytes())
        digest.update(f"{self.scale!r} {self.parameterization!r}".encode())
        return digest.hexdigest()

    def source(self) -> str:
        """Return the standalone code of the loss."""
        return standalone_source(self.name, __version__, self.parameterization, self.solution_D, self.scale)

    def save(self, folder: Path | str) -> None:
        """Write ``loss.safetensors``, ``loss.json`` and ``loss.py`` into ``folder``, each atomically."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format_version": FORMAT_VERSION,
            "lossforge_version": __version__,
            "name": self.name,
            "parameterization": _ADAPTER.dump_python(self.parameterization, mode="json"),
            "scale": self.scale,
            **self.evidence,
        }
        write_atomically(folder / "loss.safetensors", save({"solution": self.solution_D.contiguous()}))
        write_atomically(folder / "loss.py", self.source())
        write_atomically(folder / "loss.json", to_json(content))


_ADAPTER: TypeAdapter[LossParameterization] = TypeAdapter(AnyParameterization)
_REQUIRED = ("format_version", "name", "parameterization", "scale")
_NOT_EVIDENCE = (*_REQUIRED, "lossforge_version")


def load_artifact(path: Path | str) -> Artifact:
    """Read an artifact folder, or the artifact of a run directory.

    Raises:
        ArtifactError: nothing is there, a file is damaged, or it was written by a newer lossforge.
        PluginError: its parameterization belongs to a plugin that fails.
    """
    folder = _artifact_folder(Path(path))
    content = _read_json(folder / "loss.json")
    try:
        parameterization = _ADAPTER.validate_python(content["parameterization"])
    except ValidationError as cause:
        problems = "; ".join(error["msg"] for error in cause.errors())
        lines = lost(folder.parent / "manifest.json", json.dumps(content["parameterization"]))
        if lines:
            lines.append(f"{folder / 'loss.py'} has the same loss, and needs torch alone")
        raise ArtifactError("\n".join([f"{folder / 'loss.json'}: parameterization: {problems}", *lines])) from cause
    try:
        tensors = load((folder / "loss.safetensors").read_bytes())
        solution_D = tensors["solution"]
    except (OSError, SafetensorError, KeyError) as cause:
        raise ArtifactError(f"{folder / 'loss.safetensors'}: cannot be read: {cause}; export it anew") from cause
    if solution_D.shape != (parameterization.num_parameters,):
        raise ArtifactError(
            f"{folder / 'loss.safetensors'}: {tuple(solution_D.shape)} parameters, but loss.json describes a "
            f"{parameterization.type!r} of {parameterization.num_parameters}; the two files do not belong together"
        )
    if not (solution_D.is_floating_point() and solution_D.isfinite().all()):
        raise ArtifactError(
            f"{folder / 'loss.safetensors'}: the parameters are not all finite floating point numbers; export it anew"
        )
    evidence = {key: value for key, value in content.items() if key not in _NOT_EVIDENCE}
    try:
        return Artifact(content["name"], parameterization, solution_D, content["scale"], evidence)
    except ArtifactError as cause:
        raise ArtifactError(f"{folder / 'loss.json'}: {cause}") from cause


def load_loss(
    path: Path | str,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> LearnedLoss:
    """Load a found loss as an ``nn.Module`` that stands in for ``nn.CrossEntropyLoss``.

    Args:
        path: an artifact folder or a run directory.
        weight: as in ``nn.CrossEntropyLoss``, like the other options.
        ignore_index: index target that is left out.
        reduction: ``mean``, ``sum`` or ``none``.
        label_smoothing: share of the target spread over all classes.

    Raises:
        ArtifactError: nothing is there, a file is damaged, or it was written by a newer lossforge.
    """
    return load_artifact(path).loss(
        weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _artifact_folder(path: Path) -> Path:
    for folder in (path, path / "artifact"):
        if (folder / "loss.json").is_file():
            return folder
    raise ArtifactError(
        f"{path}: no loss.json here or in {path / 'artifact'}; give an artifact folder or a run directory"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as cause:
        raise ArtifactError(f"{path}: cannot be read: {cause}") from cause
    missing = [key for key in _REQUIRED if key not in content] if isinstance(content, dict) else list(_REQUIRED)
    if missing:
        raise ArtifactError(f"{path}: not a lossforge artifact: {', '.join(missing)} missing")
    if content["format_version"] != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version {content['format_version']}, this lossforge {__version__} reads "
            f"{FORMAT_VERSION}; use the version that wrote it ({content.get('lossforge_version', 'unknown')})"
        )
    checked: dict[str, Any] = content
    return checked
