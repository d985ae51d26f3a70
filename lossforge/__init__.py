"""lossforge: search for loss functions.

The names below are resolved when they are first used, so that ``import lossforge`` is quick and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lossforge.version import __version__

if TYPE_CHECKING:
    from lossforge import interfaces as interfaces
    from lossforge import losses as losses
    from lossforge import presets as presets
    from lossforge.artifact import load_loss as load_loss
    from lossforge.compare_study import compare as compare
    from lossforge.correlate_study import correlate as correlate
    from lossforge.evidence import ablate as ablate
    from lossforge.evidence import explain as explain
    from lossforge.evidence.train import train as train
    from lossforge.gap_study import gap as gap
    from lossforge.pipeline import resume as resume
    from lossforge.pipeline import run as run
    from lossforge.search import Search as Search
    from lossforge.spec import AblationSpec as AblationSpec
    from lossforge.spec import RunSpec as RunSpec
    from lossforge.spec import SearchSpec as SearchSpec
    from lossforge.spec import TrainingSpec as TrainingSpec
    from lossforge.spec.gap import GapSpec as GapSpec

_HOMES = {
    "AblationSpec": "lossforge.spec",
    "GapSpec": "lossforge.spec.gap",
    "RunSpec": "lossforge.spec",
    "Search": "lossforge.search",
    "SearchSpec": "lossforge.spec",
    "TrainingSpec": "lossforge.spec",
    "ablate": "lossforge.evidence",
    "compare": "lossforge.compare_study",
    "correlate": "lossforge.correlate_study",
    "explain": "lossforge.evidence",
    "gap": "lossforge.gap_study",
    "load_loss": "lossforge.artifact",
    "resume": "lossforge.pipeline",
    "run": "lossforge.pipeline",
    "train": "lossforge.evidence",
}
_MODULES = ("interfaces", "losses", "presets")

__all__ = [
    "AblationSpec",
    "GapSpec",
    "RunSpec",
    "Search",
    "SearchSpec",
    "TrainingSpec",
    "__version__",
    "ablate",
    "compare",
    "correlate",
    "explain",
    "gap",
    "interfaces",
    "load_loss",
    "losses",
    "presets",
    "resume",
    "run",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"lossforge.{name}")
    raise AttributeError(f"module 'lossforge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
