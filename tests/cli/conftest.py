"""The command line called in this process, a small spec, and a finished run that tests may look at."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from lossforge.cli import main

SEARCH = """\
name: tiny
search:
  parameterization: {type: classwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_size: 8, num_parents: 2}
  mutation: gaussian
  generations: 4
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 2
  gates: {weight_band: null, signs: null}
"""

TRAINING = """\
training:
  dataset: {type: fake, num_train: 32, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 1
  precision: float32
  batch_size: 16
  crop_padding: 1
evidence:
  baselines: [cross_entropy, gce]
  seeds: 2
"""

FORCES_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


@dataclass(frozen=True)
class Outcome:
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


def call(*args: str | Path) -> Outcome:
    """Call ``lossforge ARGS`` with neither stream a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100"):
        for name in FORCES_A_TERMINAL:
            os.environ.pop(name, None)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as left,
        ):
            main.main([str(arg) for arg in args], prog_name="lossforge")
    return Outcome(left.value.code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def lossforge() -> Call:
    """``lossforge("run", spec, "--out", folder)`` gives exit code, stdout and stderr."""
    return call


@pytest.fixture
def search_spec(folder: Path) -> Path:
    """A spec that searches and trains nothing: well under a second."""
    path = folder / "search.yaml"
    path.write_text(SEARCH)
    return path


@pytest.fixture
def training_spec(folder: Path) -> Path:
    """A spec that also trains."""
    path = folder / "training.yaml"
    path.write_text(SEARCH + TRAINING)
    return path


@dataclass(frozen=True)
class FinishedRun:
    """A run done once for all tests of this folder; not to be changed."""

    path: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run with training."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "training.yaml").write_text(SEARCH + TRAINING)
    with contextlib.chdir(folder):
        outcome = call("run", "training.yaml", "--out", "tiny run", "--set", "description=a run for tests")
    return FinishedRun(folder / "tiny run", outcome)
