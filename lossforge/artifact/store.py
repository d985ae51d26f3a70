"""The artifact on disk: ``loss.json`` and ``loss.safetensors``, and ``loss.py`` for those without lossforge.

Reading one parses JSON and safetensors; it executes nothing from the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.artifact.export import standalone_source
from lossforge.artifact.format_version import FORMAT_VERSION, check_version
from lossforge.artifact.learned import LearnedLoss
from lossforge.component import Options
from lossforge.errors import ArtifactError
from lossforge.fields import AnyParameterization
from lossforge.files import to_json, write_atomically
from lossforge.interfaces import LossParameterization
from lossforge.provenance import lost
from lossforge.spec.document import Document, Spot
from lossforge.spec.given import named
from lossforge.spec.load import checked
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.problems import Source, shorten
from lossforge.version import __version__


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
            name = shorten(repr(self.name))
            raise ArtifactError(f"name {name}: only letters, digits, '.', '_' and '-' are allowed")
        # The module holds it in float32, where it may be infinite, or 0.
        if not (isinstance(self.scale, float) and 0 < torch.tensor(self.scale, dtype=torch.float32) < math.inf):
            raise ArtifactError(
                f"scale {shorten(repr(self.scale))}: must be a positive number, such as 0.5, of float32"
            )

    def __repr__(self) -> str:
        """Return one line: the family, the held-out fitness, and what the search has cost."""
        parts = [f"{self.parameterization.type} of {len(self.solution_D)} parameters"]
        held_out = self.evidence.get("held_out")
        fitness = held_out.get("fitness") if isinstance(held_out, Mapping) else None
        if isinstance(fitness, int | float):
            parts.append(f"held-out fitness {fitness:.4g}")
        for name in ("generations", "evaluations"):
            if isinstance(count := self.evidence.get(name), int):
                parts.append(f"{count} {name}")
        return f"<Artifact {self.name!r}: {', '.join(parts)}>"

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
            **_Family(parameterization=self.parameterization).model_dump(mode="json"),
            "scale": self.scale,
            **self.evidence,
        }
        write_atomically(folder / "loss.safetensors", save({"solution": self.solution_D.contiguous()}))
        write_atomically(folder / "loss.py", self.source())
        write_atomically(folder / "loss.json", to_json(content))


class _Family(Options):
    """The part of ``loss.json`` that components have a say in."""

    parameterization: AnyParameterization


_REQUIRED = ("format_version", "name", "parameterization", "scale")
_NOT_EVIDENCE = (*_REQUIRED, "lossforge_version")
_LARGEST_JSON = 10_000_000
_LARGEST_HEADER = 1_000_000
_LARGEST_COUNT = 10**9
_MOST_ERRORS = 5
_LONGEST_ERROR = 1000


def load_artifact(path: Path | str) -> Artifact:
    """Read an artifact folder, or the artifact of a run directory; no file outside of what is given is read.

    Raises:
        ArtifactError: nothing is there, a file is damaged, or it was written by a newer lossforge.
        PluginError: its parameterization belongs to a plugin that fails.
    """
    if not isinstance(path, Path | str):
        remedy = "it has its loss: artifact.loss()" if isinstance(path, Artifact) else "give that of its folder"
        raise ArtifactError(f"a loss is loaded from an artifact folder or a run directory, got {named(path)}; {remedy}")
    folder = _artifact_folder(Path(path))
    content = _read_json(folder / "loss.json")
    parameterization = _parameterization(folder / "loss.json", content["parameterization"], Path(path))
    solution_D = _read_solution(folder / "loss.safetensors", parameterization)
    evidence = {key: value for key, value in content.items() if key not in _NOT_EVIDENCE}
    try:
        return Artifact(content["name"], parameterization, solution_D, content["scale"], evidence)
    except ArtifactError as cause:
        raise ArtifactError(f"{folder / 'loss.json'}: {cause}") from cause


def _parameterization(path: Path, options: Any, given: Path) -> LossParameterization:
    try:
        json.dumps(options, ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:
        raise ArtifactError(f"{path}: parameterization: half of a surrogate pair is not a character") from cause
    place = Source(str(path), has_lines=False).at(0, 0)
    family, problems = checked(_Family, Document({"parameterization": options}, {(): Spot(place, place)}))
    if family is None:
        lines = [shorten(str(problem), _LONGEST_ERROR) for problem in problems[:_MOST_ERRORS]]
        if len(problems) > _MOST_ERRORS:
            lines.append(f"{path}: parameterization: {len(problems) - _MOST_ERRORS} more mistakes")
        is_run = path.parent != given and (given / "spec.yaml").is_file()
        reasons = lost(given / "manifest.json", json.dumps(options)) if is_run else []
        if reasons:
            reasons.append(f"{path.parent / 'loss.py'} has the same loss, and needs torch alone")
        raise ArtifactError("\n".join([*lines, *reasons]))
    found = family.parameterization
    if found.num_parameters > _LARGEST_COUNT:
        raise ArtifactError(f"{path}: parameterization: more than {_LARGEST_COUNT:,} parameters; export it anew")
    return found


def _read_solution(path: Path, parameterization: LossParameterization) -> Tensor:
    count = parameterization.num_parameters
    content = _read(path, 8 * count + _LARGEST_HEADER)
    try:
        solution_D = load(content)["solution"]
    # The last two for shapes that no tensor can have.
    except (SafetensorError, KeyError, TypeError, RuntimeError) as cause:
        raise ArtifactError(f"{path}: cannot be read: {shorten(str(cause), 200)}; export it anew") from cause
    if solution_D.shape != (count,):
        raise ArtifactError(
            f"{path}: {shorten(str(tuple(solution_D.shape)))} parameters, but loss.json describes a "
            f"{parameterization.type!r} of {count}; the two files do not belong together"
        )
    if not (solution_D.dtype in (torch.float32, torch.float64) and solution_D.float().isfinite().all()):
        raise ArtifactError(f"{path}: the parameters are not all finite numbers of float32; export it anew")
    return solution_D


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
        if os.path.isfile(folder / "loss.json"):
            return folder
    raise ArtifactError(
        f"{path}: no loss.json here or in {path / 'artifact'}; give an artifact folder or a run directory"
    )


def _read(path: Path, limit: int) -> bytes:
    """Return what a file of the artifact holds, of at most ``limit`` bytes."""
    try:
        if path.resolve().parent != path.parent.resolve():
            raise ArtifactError(f"{path}: a link to a file outside of the artifact; put the file itself there")
        if path.exists() and not path.is_file():
            raise ArtifactError(f"{path}: cannot be read: not a regular file; export it anew")
        if path.exists() and path.stat().st_size > limit:
            raise ArtifactError(f"{path}: larger than {limit:,} bytes, which this artifact cannot be; export it anew")
        return path.read_bytes()
    except (OSError, RuntimeError) as cause:  # the latter for links in a circle
        raise ArtifactError(f"{path}: cannot be read: {cause}; export it anew") from cause


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(path, _LARGEST_JSON))
    except (ValueError, RecursionError) as cause:
        raise ArtifactError(f"{path}: cannot be read: {cause}") from cause
    missing = [key for key in _REQUIRED if key not in content] if isinstance(content, dict) else list(_REQUIRED)
    if missing:
        raise ArtifactError(f"{path}: not a lossforge artifact: {', '.join(missing)} missing")
    check_version(path, content["format_version"], content.get("lossforge_version"))
    checked: dict[str, Any] = content
    return checked
