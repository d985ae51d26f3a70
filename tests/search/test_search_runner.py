"""A search with a memory on disk: whatever stops it, it goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lossforge.errors import NoFeasibleSolutionError, SearchError
from lossforge.mutations import ChaoticMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.run_directory import RunDirectory
from lossforge.samplers import MixtureSampler
from lossforge.search import Search, checkpoint, run_search
from lossforge.search.checkpoint import load_checkpoint
from lossforge.spec import GateSpec, RunSpec, SearchSpec, WeightBandGate
from lossforge.strategies import MuPlusLambda

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)


def make_spec(gates: GateSpec = NO_GATES) -> RunSpec:
    search = SearchSpec(
        parameterization=PairwiseMLP(hidden=(4,)),
        sampler=MixtureSampler(),
        objective=RankingConsistency(),
        strategy=MuPlusLambda(population_size=8, num_parents=2),
        mutation=ChaoticMutation(),
        generations=7,
        num_classes=4,
        batch_size=24,
        selection_batch_size=48,
        gates=gates,
        checkpoint_every=3,
    )
    return RunSpec(name="toy", seed=5, device="cpu", search=search)


class Run:
    """A run directory, and what the search said while it ran there."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.directory = RunDirectory(path)
        self.generations: list[int] = []
        self.stop_after: int | None = None

    def on_generation(self, record, seconds: float) -> None:
        assert seconds >= 0
        self.generations.append(record["generation"])
        if record["generation"] == self.stop_after:
            raise KeyboardInterrupt

    def go(self, spec: RunSpec | None = None, stop_after: int | None = None) -> dict[str, bytes]:
        """Run and return the history and the files of the artifact."""
        self.stop_after = stop_after
        artifact = run_search(spec or make_spec(), self.directory, on_generation=self.on_generation)
        artifact.save(self.directory.artifact)
        files = {path.name: path.read_bytes() for path in self.directory.artifact.iterdir()}
        return {"history.jsonl": self.directory.history.read_bytes(), **files}

    def checkpoints(self) -> list[str]:
        folder = self.directory.checkpoint
        return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.fixture
def new_run(tmp_path):
    return lambda name: Run(tmp_path / name)


@pytest.fixture
def uninterrupted(new_run) -> dict[str, bytes]:
    return new_run("uninterrupted").go()


def test_history_and_checkpoints(new_run):
    run = new_run("run")
    files = run.go()
    records = [json.loads(line) for line in files["history.jsonl"].splitlines()]
    assert [record["generation"] for record in records] == run.generations == list(range(7))
    assert run.checkpoints() == ["00000006", "00000007"]  # every third, and the last
    state = load_checkpoint(run.directory.checkpoint)
    assert state is not None
    assert state["history.bytes"] == len(files["history.jsonl"])
    assert len(run.directory.timing.read_text().splitlines()) == 7


def test_it_is_the_search_itself(new_run, tmp_path):
    files = new_run("run").go()
    spec, records = make_spec(), []
    artifact = Search(spec.search, seed=spec.seed, name=spec.name).run(records.append)
    artifact.save(tmp_path / "artifact")
    assert [json.loads(line) for line in files["history.jsonl"].splitlines()] == records
    assert (tmp_path / "artifact" / "loss.safetensors").read_bytes() == files["loss.safetensors"]
    assert (tmp_path / "artifact" / "loss.json").read_bytes() == files["loss.json"]


@pytest.mark.parametrize("generation", [0, 2, 4, 6])
def test_an_interrupted_run_goes_on_to_the_same_bytes(new_run, uninterrupted, generation):
    run = new_run("run")
    with pytest.raises(KeyboardInterrupt):
        run.go(stop_after=generation)
    assert run.checkpoints()[-1] == f"{generation + 1:08d}"
    assert run.go() == uninterrupted
    assert run.generations == list(range(7))


def test_an_interrupt_in_the_middle_of_a_generation_runs_it_again(new_run, uninterrupted, monkeypatch):
    run, evaluate = new_run("run"), Search.evaluate

    def interrupt(self, solutions_PD):
        if self.generation == 4:
            raise KeyboardInterrupt
        return evaluate(self, solutions_PD)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.go()
    assert run.checkpoints() == ["00000003", "00000004"]
    assert run.go() == uninterrupted


@pytest.mark.parametrize("step", ["write_synced", "sync"])
def test_an_interrupt_while_a_checkpoint_is_written(new_run, uninterrupted, monkeypatch, step):
    """It is written again on the way out."""
    run, plain, interrupts = new_run("run"), getattr(checkpoint, step), [KeyboardInterrupt()]

    def interrupt_once(*arguments):
        if interrupts:
            raise interrupts.pop()
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, step, interrupt_once)
        with pytest.raises(KeyboardInterrupt):
            run.go()
    assert run.checkpoints() == ["00000003"]
    assert run.go() == uninterrupted


def test_a_killed_run_goes_on_from_its_last_checkpoint(new_run, uninterrupted):
    """Lines after the checkpoint, even half of one, are cut off and written again."""
    run = new_run("run")
    with pytest.raises(KeyboardInterrupt):
        run.go(stop_after=2)
    with run.directory.history.open("ab") as file:
        file.write(b'{"generation": 3, "evaluations": 32}\n{"genera')
    assert run.go() == uninterrupted


def test_a_run_killed_before_its_first_checkpoint_starts_anew(new_run, uninterrupted):
    run = new_run("run")
    run.directory.history.write_bytes(b'{"generation": 0}\n')
    assert run.go() == uninterrupted


def test_a_finished_run_only_names_its_winner(new_run, uninterrupted):
    run = new_run("run")
    run.go()
    assert run.go() == uninterrupted
    assert run.generations == list(range(7))


def test_a_history_that_was_shortened_is_refused(new_run):
    run = new_run("run")
    run.go()
    size = run.directory.history.stat().st_size
    run.directory.history.write_bytes(b"")
    with pytest.raises(SearchError, match=rf"history\.jsonl: 0 bytes, but the checkpoint was saved after {size}"):
        run.go()


def test_the_history_is_on_disk_before_a_checkpoint_that_counts_its_bytes(new_run, monkeypatch):
    run, synced, fsync = new_run("run"), [], os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    run.go()
    history = run.directory.history.stat().st_ino
    # Three checkpoints, each of two files and their folder, and each after the history.
    saves = [index for index, inode in enumerate(synced) if inode == history]
    folder = [index for index, inode in enumerate(synced) if inode == run.directory.checkpoint.stat().st_ino]
    assert len(saves) == len(folder) == 3
    assert all(save < done for save, done in zip(saves, folder, strict=True))
    assert saves[1] > folder[0]


def test_a_search_without_a_feasible_candidate_stops(new_run):
    run = new_run("run")
    impossible = make_spec(GateSpec(weight_band=WeightBandGate(minimum=2.9), patience=2))
    with pytest.raises(NoFeasibleSolutionError):
        run.go(impossible)
    assert len(run.generations) < 7
