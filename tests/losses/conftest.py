"""What the tests of losses run on: every loss of lossforge, with several settings of its options, and learned losses.

They are taken from the registry. A test that takes ``installed`` runs for each setting of each loss, and one that takes
``local`` for those of local losses; one that takes ``make`` runs for the modules of all of them and of learned losses.
A loss that is added is in all of these without further ado.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lossforge import registry
from lossforge.artifact import Artifact
from lossforge.interfaces import LocalLoss, Loss
from lossforge.losses import FixedLoss
from lossforge.parameterizations.classwise_mlp import ClasswiseMLP
from lossforge.parameterizations.loss_mixture import LossMixture
from lossforge.parameterizations.pairwise_mlp import PairwiseMLP
from lossforge.parameterizations.power import Power

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "am_softmax": [{"scale": 1.0, "margin": 0.0}, {"scale": 3.0, "margin": 0.5}],
    "apl": [
        {"active": {"type": "nfl", "gamma": 2.0}, "passive": "mae", "alpha": 2.0, "beta": 0.5},
        {"active": "cross_entropy", "passive": "brier", "alpha": 0.0},
    ],
    "baikal": [{"epsilon": 0.1}, {"epsilon": 1e-6}],
    "barron": [
        {"alpha": 2.0, "c": 0.3},
        {"alpha": 1.9, "c": 0.1},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"alpha": -2.0, "c": 0.2},
        {"alpha": "-inf", "c": 0.2},
    ],
    "focal": [{"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 5.0}],
    "gce": [{"q": 1e-6}, {"q": 0.2}, {"q": 1.0}],
    "hinge": [
        {"margin": 0.0},
        {"margin": 2.5},
        {"form": "weston_watkins"},
        {"form": "weston_watkins", "margin": 3.0},
        {"form": "linear"},
        {"form": "linear", "margin": 0.25},
    ],
    "label_smoothing": [{"smoothing": 0.0}, {"smoothing": 0.3}, {"smoothing": 1.0}],
    "nfl": [{"gamma": 0.0}, {"gamma": 0.1}, {"gamma": 3.0}],
    "poly1": [{"epsilon": -1.0}, {"epsilon": 5.0}],
    "polyloss": [
        {"coefficients": [2.0, -0.5, 0.25]},
        {"coefficients": [-0.8]},
        {"coefficients": [0.0, 1.5], "cross_entropy": False},
    ],
    "rce": [{"log_zero": -4.0}],
    "sce": [{"alpha": 6.0, "beta": 0.1, "log_zero": -6.0}, {"beta": 0.0}],
    "smooth_zero_one": [{"sharpness": 0.3}, {"sharpness": 5.0}],
    "sparse_lsr": [{"smoothing": 0.0}, {"smoothing": 0.3}, {"smoothing": 1.0}],
    "taylor_ce": [{"order": 1}, {"order": 7}],
}
FAMILIES = (
    PairwiseMLP(hidden=(5,)),
    ClasswiseMLP(hidden=(4,), activation="silu"),
    Power(),
    LossMixture.model_validate_json('{"losses": ["cross_entropy", "brier", "nce", "squentropy", "sparse_lsr"]}'),
)


class Made:
    """A loss module to be: called with the options that all loss modules have."""

    def __init__(self, name: str, make: Any) -> None:
        self.name = name
        self.make = make

    def __call__(self, weight: torch.Tensor | None = None, **options: Any) -> torch.nn.Module:
        module: torch.nn.Module = self.make(weight, **options)
        return module


def installed_losses() -> Iterator[Loss]:
    for name in (offer.type for offer in registry.offers("losses") if offer.distribution == "lossforge"):
        component = registry.get("losses", name)
        for options in ({}, *OPTIONS.get(name, ())):
            yield component.model_validate_json(json.dumps(options))


def modules() -> Iterator[Made]:
    for loss in installed_losses():
        yield Made(loss.label, lambda weight, loss=loss, **options: FixedLoss(loss, weight, **options))
    for family in FAMILIES:
        artifact = Artifact("toy", family, family.init(1, torch.Generator().manual_seed(0))[0], 0.625)
        yield Made(f"learned {family.type}", artifact.loss)
        namespace: dict[str, Any] = {}
        exec(compile(artifact.source(), "loss.py", "exec"), namespace)
        yield Made(f"exported {family.type}", namespace["Loss"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "installed" in metafunc.fixturenames:
        metafunc.parametrize("installed", list(installed_losses()), ids=lambda loss: loss.label)
    if "local" in metafunc.fixturenames:
        local = [loss for loss in installed_losses() if isinstance(loss, LocalLoss)]
        metafunc.parametrize("local", local, ids=lambda loss: loss.label)
    if "make" in metafunc.fixturenames:
        metafunc.parametrize("make", list(modules()), ids=lambda made: made.name)
