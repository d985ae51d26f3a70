"""What a result may depend on besides its spec: the ``manifest.json`` of a run."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

from lossforge.provenance import providers
from lossforge.spec import RunSpec
from lossforge.version import __version__

PACKAGES = ("torch", "torchvision", "pydantic", "stevedore", "safetensors", "numpy", "scipy", "scikit-learn")


def environment(device: str) -> dict[str, Any]:
    """Return what a result may depend on besides its spec: the command, versions, plugins, and the device."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "lossforge": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": device,
        "device_model": _device_model(device),
        "plugins": [provider.model_dump(mode="json") for provider in providers()],
    }


def manifest(spec: RunSpec) -> dict[str, Any]:
    """Return the environment of a run, and what compiles its losses."""
    return {**environment(spec.device), **_compiler(spec)}


def _device_model(device: str) -> str:
    import torch

    from lossforge.native import compiler

    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{compiler.cpu_name()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _compiler(spec: RunSpec) -> dict[str, str]:
    """Return what bits follow from where a compiled back end evaluates: it serves nowhere without a compiler."""
    from lossforge.native import compiler

    return {"compiler": compiler.compiler_version()} if spec.search.backend == "compiled" else {}
