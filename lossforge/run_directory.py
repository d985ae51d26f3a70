"""The directory of a run: who lies where, how it is begun, and how it is opened again.

=====================  =========================================================================
``spec.yaml``          the resolved spec, every default and automatic choice written out
``manifest.json``      versions, plugins, device, the command
``history.jsonl``      a line a generation, no times; its SHA-256 is the *history hash*
``timing.jsonl``       seconds of each generation and of each training
``checkpoint/``        the resumable state of the search
``artifact/``          ``loss.safetensors``, ``loss.json``, ``loss.py``
``training/``          a file for each loss and seed, and ``comparison.json``
``report.html``        everything of the above, to look at
=====================  =========================================================================
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossforge import registry
from lossforge.errors import RunDirectoryError
from lossforge.files import to_json, write_atomically
from lossforge.spec import RunSpec
from lossforge.version import __version__

PACKAGES = ("torch", "torchvision", "pydantic", "stevedore", "safetensors", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run directory."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.path / "spec.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, plugins, device, command."""
        return self.path / "manifest.json"

    @property
    def history(self) -> Path:
        """One line a generation, no times."""
        return self.path / "history.jsonl"

    @property
    def timing(self) -> Path:
        """What took how long."""
        return self.path / "timing.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Folder of the search's checkpoints."""
        return self.path / "checkpoint"

    @property
    def artifact(self) -> Path:
        """Folder of the found loss."""
        return self.path / "artifact"

    @property
    def training(self) -> Path:
        """Folder of trainings and their comparison."""
        return self.path / "training"

    @property
    def comparison(self) -> Path:
        """The comparison of the trained losses."""
        return self.training / "comparison.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def record_time(self, **entry: str | float) -> None:
        """Append a line to ``timing.jsonl``."""
        with self.timing.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def begin(path: Path, spec: RunSpec) -> RunDirectory:
    """Create the directory of a new run and write its spec and manifest.

    Raises:
        RunDirectoryError: something is there already, or it cannot be written.
    """
    refuse_occupied(path)
    directory = RunDirectory(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(directory.manifest, to_json(_manifest(spec)))
        write_atomically(directory.spec, spec.to_yaml())
    except OSError as cause:
        raise _unusable(path, cause) from cause
    return directory


def refuse_occupied(path: Path) -> None:
    """Raise RunDirectoryError where a new run cannot begin because something is there."""
    try:
        occupied = _is_occupied(path)
    except OSError as cause:
        raise _unusable(path, cause) from cause
    if occupied:
        raise RunDirectoryError(_occupied_message(RunDirectory(path)))


def reopen(path: Path) -> RunDirectory:
    """Open the directory of an earlier run; its spec is left unread.

    Raises:
        RunDirectoryError: it is not a run directory.
    """
    directory = RunDirectory(path)
    if not directory.spec.is_file():
        raise RunDirectoryError(f"{path}: not a run directory: no spec.yaml in it; start one with 'lossforge run'")
    return directory


def unused(folder: Path, name: str) -> Path:
    """Return ``folder/name``, or with the first suffix -2, -3, ... that is free."""
    path, number = folder / name, 1
    while _is_occupied(path):
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _is_occupied(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _unusable(path: Path, cause: OSError) -> RunDirectoryError:
    return RunDirectoryError(f"{path}: cannot be written: {cause.strerror}; choose another with --out")


def _occupied_message(directory: RunDirectory) -> str:
    if directory.spec.is_file():
        return (
            f"{directory.path}: holds a run already; choose another directory with --out, or go on with that run: "
            f"{shlex.join(['lossforge', 'resume', str(directory.path)])}"
        )
    return f"{directory.path}: is not empty; choose another directory with --out"


def _manifest(spec: RunSpec) -> dict[str, Any]:
    plugins = {
        (offer.distribution, offer.version)
        for kind in registry.KINDS
        for offer in registry.offers(kind)
        if offer.distribution != "lossforge"
    }
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "lossforge": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": spec.device,
        "device_model": _device_model(spec.device),
        "plugins": [{"distribution": name, "version": version} for name, version in sorted(plugins)],
    }


def _device_model(device: str) -> str:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
