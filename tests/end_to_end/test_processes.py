"""Whole runs in processes of their own: the same bytes every time, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SPEC = """\
name: tiny
device: cpu
search:
  parameterization: {type: pairwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_comma_lambda, population_size: 8, num_parents: 2}
  mutation: chaotic
  generations: 50
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 20
  gates: {weight_band: null, signs: null}
training:
  dataset: {type: fake, num_train: 64, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 4
  precision: float32
  batch_size: 16
  crop_padding: 1
evidence: {seeds: 2}
"""
NUM_GENERATIONS = 50
PATIENCE_SECONDS = 60.0

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def start(folder: Path, *args: str, hash_seed: int = 0) -> subprocess.Popen[str]:
    """Start ``lossforge ARGS`` in a fresh process."""
    # One thread: it is part of what determines a training's last bits.
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"}
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-c", "from lossforge.cli import main; main()", *args],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Send Ctrl-C as soon as ``ready()``."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def files(run: Path) -> dict[str, bytes]:
    """Return what spec and seed decide."""
    parts = ("spec.yaml", "history.jsonl", "artifact", "training")
    paths = [path for part in parts for path in [run / part, *(run / part).rglob("*")] if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def _ctrl_c_reaches_children() -> Iterator[None]:
    """Where this process was started with SIGINT ignored, its children would ignore it as well."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tiny.yaml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbed, after a second one came to the same."""
    processes = [
        start(folder, "run", "tiny.yaml", "--out", f"run-{hash_seed}", hash_seed=hash_seed) for hash_seed in (1, 2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
    first, second = (files(folder / f"run-{hash_seed}") for hash_seed in (1, 2))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    return first


def test_two_fresh_processes_leave_the_same_bytes(folder, uninterrupted):
    assert {name for name in uninterrupted if name.startswith("artifact/")} == {
        "artifact/loss.json",
        "artifact/loss.py",
        "artifact/loss.safetensors",
    }
    assert uninterrupted["history.jsonl"].count(b"\n") == NUM_GENERATIONS
    assert len([name for name in uninterrupted if name.startswith("training/") and name.endswith(".json")]) == 7
    assert (folder / "run-1" / "report.html").stat().st_size == (folder / "run-2" / "report.html").stat().st_size


def test_a_run_interrupted_in_search_and_in_training_leaves_the_same_bytes(folder, uninterrupted):
    run = folder / "interrupted run"
    searching = start(folder, "run", "tiny.yaml", "--out", run.name, hash_seed=3)
    interrupt_when(searching, lambda: num_lines(run / "history.jsonl") >= 5)
    out, err = searching.communicate(timeout=PATIENCE_SECONDS)
    assert (searching.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "interrupted; go on with: lossforge resume 'interrupted run'"
    done = num_lines(run / "history.jsonl")
    assert 5 <= done < NUM_GENERATIONS
    assert uninterrupted["history.jsonl"].startswith((run / "history.jsonl").read_bytes())

    training = start(folder, "resume", run.name, hash_seed=4)
    interrupt_when(training, (run / "training" / "tiny" / "seed-0.json").exists)
    out, err = training.communicate(timeout=PATIENCE_SECONDS)
    assert (training.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "interrupted; go on with: lossforge resume 'interrupted run'"
    assert not (run / "training" / "comparison.json").exists()
    trained = len(list((run / "training").rglob("seed-*.json")))

    finishing = start(folder, "resume", run.name, hash_seed=5)
    out, err = finishing.communicate(timeout=PATIENCE_SECONDS)
    assert finishing.returncode == 0, err
    assert "Losses compared" in out
    assert not any(line.startswith("search ") for line in err.splitlines()), "the search was done"
    read_back = [line for line in err.splitlines() if "(read back)" in line]
    assert len(read_back) == trained > 0
    assert files(run) == uninterrupted
