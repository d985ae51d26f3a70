"""A search with a memory on disk: whatever stops it, it goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lossforge.errors import NoFeasibleSolutionError, SearchError
from lossforge.mutations import ChaoticMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.run_directory import RunDirectory
from lossforge.samplers import MixtureSampler
from lossforge.search import Evaluator, Search, checkpoint, run_search, runner
from lossforge.search.checkpoint import load_checkpoint
from lossforge.search.history import Record
from lossforge.spec import GateSpec, RunSpec, SearchSpec, StopSpec, WeightBandGate
from lossforge.strategies import MuPlusLambda
from lossforge.types import State

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)


def make_spec(gates: GateSpec = NO_GATES, **options: Any) -> RunSpec:
    """Seven generations, a checkpoint every third."""
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuPlusLambda(population_size=8, num_parents=2),
        "mutation": ChaoticMutation(),
        "generations": 7,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": gates,
        "checkpoint_every": 3,
    }
    return RunSpec(name="toy", seed=5, device="cpu", search=SearchSpec(**{**defaults, **options}))


def several() -> RunSpec:
    """Three searches of 3 generations, each larger than the one before."""
    return make_spec(generations=3, restarts=3, population_growth=1.5, checkpoint_every=4)


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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, bytes]:
    return Run(tmp_path_factory.mktemp("uninterrupted") / "run").go()


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


@pytest.mark.parametrize("size", [2, 5, 100])
@pytest.mark.parametrize("spec", [make_spec, several])
def test_launches_of_several_generations_come_to_the_same_bytes(new_run, spec, size):
    run, expected = new_run("run"), new_run("expected").go(spec())
    search = spec().search.model_copy(update={"generations_per_launch": size})
    assert run.go(spec().model_copy(update={"search": search})) == expected
    assert len(run.directory.timing.read_text().splitlines()) == len(run.generations)


@pytest.mark.parametrize("stop_after", [0, 3, 5])
def test_an_interrupt_among_the_generations_of_a_launch(new_run, uninterrupted, stop_after):
    """All of them are taken in, with their times, whichever is being shown."""
    run = new_run("run")
    spec = make_spec(generations_per_launch=5)
    with pytest.raises(KeyboardInterrupt):
        run.go(spec, stop_after=stop_after)
    done = 5 if stop_after < 5 else 7
    assert run.checkpoints()[-1] == f"{done:08d}"
    assert len(run.directory.timing.read_text().splitlines()) == done
    assert run.go(make_spec(generations_per_launch=2)) == uninterrupted


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
    run, evaluate = new_run("run"), Evaluator.in_generation

    def interrupt(self, solutions_PD, generation, memory):
        if generation == 4:
            raise KeyboardInterrupt
        return evaluate(self, solutions_PD, generation, memory)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "in_generation", interrupt)
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


def test_a_search_without_a_feasible_candidate_stops_and_says_so_again(new_run):
    """Its history is complete, and its directory can be opened again, to the same end."""
    run = new_run("run")
    impossible = make_spec(GateSpec(weight_band=WeightBandGate(minimum=2.9), patience=2))
    messages, histories = [], []
    for _ in range(3):
        with pytest.raises(NoFeasibleSolutionError) as caught:
            run.go(impossible)
        messages.append(str(caught.value))
        histories.append(run.directory.history.read_bytes())
    assert run.generations == [0, 1]
    assert messages[0].startswith("no candidate passed all gates for 2 generations (of 16 candidates, rejected by: ")
    assert len(set(messages)) == len(set(histories)) == 1
    assert [record["stopped"] for record in map(json.loads, histories[0].splitlines())] == [None, "no_feasible"]
    assert run.checkpoints() == ["00000002"]


class TestWhenCheckpointsAreSaved:
    @pytest.fixture
    def saves(self, monkeypatch) -> list[int]:
        """Numbers of the checkpoints as they are saved."""
        numbers: list[int] = []

        def spy(folder: Path, number: int, state: State) -> None:
            numbers.append(number)
            checkpoint.save_checkpoint(folder, number, state)

        monkeypatch.setattr(runner, "save_checkpoint", spy)
        return numbers

    @pytest.fixture
    def clock(self, monkeypatch) -> list[float]:
        """The monotonic clock, which tests set."""
        now = [1e6]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    @pytest.mark.parametrize(
        ("every", "expected"),
        [(1, [1, 2, 3, 4, 5, 6, 7]), (2, [2, 4, 6, 7]), (3, [3, 6, 7]), (7, [7]), (100, [7])],
    )
    def test_every_so_many_generations_and_at_the_end(self, new_run, uninterrupted, saves, clock, every, expected):
        assert new_run("run").go(make_spec(checkpoint_every=every)) == uninterrupted
        assert saves == expected

    @pytest.mark.parametrize(
        ("seconds", "expected"), [(1.0, [1, 2, 3, 4, 5, 6, 7]), (2.5, [3, 6, 7]), (4.0, [4, 7]), (100.0, [7])]
    )
    def test_every_so_many_seconds(self, new_run, uninterrupted, saves, clock, monkeypatch, seconds, expected):
        """A generation takes a second."""
        launch = Search.launch

        def slow(search: Search, num: int) -> list[Record]:
            clock[0] += 1.0
            return launch(search, num)

        monkeypatch.setattr(Search, "launch", slow)
        spec = make_spec(checkpoint_every=100, checkpoint_seconds=seconds)
        assert new_run("run").go(spec) == uninterrupted
        assert saves == expected

    def test_seconds_are_counted_from_the_last_one_whatever_it_was_saved_for(self, new_run, saves, clock, monkeypatch):
        """Every third generation, or 2.5 s after that: the third comes first."""
        launch = Search.launch

        def slow(search: Search, num: int) -> list[Record]:
            clock[0] += 0.9
            return launch(search, num)

        monkeypatch.setattr(Search, "launch", slow)
        new_run("run").go(make_spec(checkpoint_every=3, checkpoint_seconds=2.5))
        assert saves == [3, 6, 7]

    @pytest.mark.parametrize(("generation", "expected"), [(0, [1]), (2, [3]), (4, [3, 5]), (6, [3, 6, 7])])
    def test_none_is_saved_twice(self, new_run, saves, generation, expected):
        """Not on an interrupt right after it was due, and not by a resumed run at its start or end."""
        run = new_run("run")
        with pytest.raises(KeyboardInterrupt):
            run.go(stop_after=generation)
        assert saves == expected
        run.go()
        run.go()
        assert saves == expected + [number for number in (3, 6, 7) if number > generation + 1]

    def test_before_the_first_generation_there_is_none(self, new_run, uninterrupted, saves, monkeypatch):
        def interrupt(search: Search, num: int) -> list[Record]:
            raise KeyboardInterrupt

        run = new_run("run")
        with monkeypatch.context() as patch:
            patch.setattr(Search, "launch", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run.go()
        assert saves == []
        assert run.go() == uninterrupted

    def test_they_hold_how_long_the_history_was(self, new_run, saves, clock):
        run = new_run("run")
        lines = run.go()["history.jsonl"].splitlines(keepends=True)
        for number in (6, 7):
            content = json.loads((run.directory.checkpoint / f"{number:08d}" / "state.json").read_bytes())
            assert content["scalars"]["history.bytes"] == len(b"".join(lines[:number]))


class TestDamagedCheckpoints:
    """A search that was interrupted in its fifth generation, with checkpoints 3 and 5."""

    @pytest.fixture
    def run(self, new_run) -> Run:
        run = new_run("run")
        with pytest.raises(KeyboardInterrupt):
            run.go(stop_after=4)
        assert run.checkpoints() == ["00000003", "00000005"]
        return run

    def damage(self, run: Run, number: int, name: str) -> None:
        path = run.directory.checkpoint / f"{number:08d}" / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])

    @pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
    def test_with_one_it_goes_on_from_the_one_before(self, run, uninterrupted, caplog, name):
        self.damage(run, 5, name)
        run.generations.clear()
        assert run.go() == uninterrupted
        assert run.generations == [3, 4, 5, 6]
        (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "00000005: the checkpoint is damaged" in warning.getMessage()
        assert "going on from 00000003" in warning.getMessage()
        assert run.checkpoints() == ["00000006", "00000007", "damaged-00000005"]

    def test_with_both_it_begins_anew(self, run, uninterrupted, caplog):
        self.damage(run, 3, "state.safetensors")
        self.damage(run, 5, "state.json")
        run.generations.clear()
        assert run.go() == uninterrupted
        assert run.generations == list(range(7))
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 3
        assert warnings[-1] == "no checkpoint can be read: the search begins anew, and comes to the same"
        assert run.checkpoints() == ["00000006", "00000007", "damaged-00000003", "damaged-00000005"]

    def test_what_was_set_aside_once_is_not_told_again(self, run, uninterrupted, caplog):
        self.damage(run, 5, "state.json")
        run.go()
        caplog.clear()
        assert run.go() == uninterrupted
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    def test_one_of_another_version_is_refused_and_nothing_is_touched(self, run, monkeypatch):
        before = run.checkpoints(), run.directory.history.read_bytes()
        monkeypatch.setattr(checkpoint, "FORMAT_VERSION", checkpoint.FORMAT_VERSION + 1)
        with pytest.raises(SearchError, match=r"00000005: format_version 1, this lossforge reads 2"):
            run.go()
        assert (run.checkpoints(), run.directory.history.read_bytes()) == before

    def test_one_of_another_seed_is_refused(self, run):
        spec = make_spec().model_copy(update={"seed": 6})
        with pytest.raises(ValueError, match="the state of a search with seed 5; this one has 6"):
            run.go(spec)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    return Run(tmp_path_factory.mktemp("several") / "run").go(several())


class TestSeveralSearches:
    @pytest.mark.parametrize("stop_after", range(8))
    def test_it_is_the_same_interrupted_anywhere(self, new_run, whole, stop_after, monkeypatch):
        """After any line, also the last of a search."""
        run = new_run("run")
        told = run.on_generation

        def stop(record, seconds: float) -> None:
            told(record, seconds)
            if len(run.generations) == stop_after + 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(run, "on_generation", stop)
        with pytest.raises(KeyboardInterrupt):
            run.go(several())
        assert run.checkpoints()[-1] == f"{stop_after + 1:08d}"
        assert run.go(several()) == whole
        assert run.generations == [0, 1, 2] * 3

    @pytest.mark.parametrize("lost", [1, 2, 3, 4])
    def test_it_is_the_same_with_the_last_generations_lost(self, new_run, whole, lost):
        """As by a kill: the newest checkpoint is of the generation before the last ones."""
        run = new_run("run")
        run.go(several())
        shutil.rmtree(run.directory.checkpoint / "00000009")
        with run.directory.history.open("ab") as file:
            file.truncate(file.tell() - lost)
        assert run.go(several()) == whole

    def test_every_end_is_in_the_log(self, new_run, caplog):
        caplog.set_level(logging.INFO, "lossforge")
        new_run("run").go(several())
        assert [record.getMessage() for record in caplog.records] == [
            f"search {number} ended after 3 generations" for number in (1, 2, 3)
        ]

    def test_the_reason_of_an_early_end_is_in_the_log(self, new_run, caplog):
        caplog.set_level(logging.INFO, "lossforge")
        new_run("run").go(make_spec(stop=StopSpec(evaluations=30)))
        assert caplog.messages == ["search 1 ended after 3 generations: evaluations"]

    def test_times_name_the_search_and_the_generation(self, new_run):
        run = new_run("run")
        run.go(several())
        times = [json.loads(line) for line in run.directory.timing.read_text().splitlines()]
        assert [(entry["restart"], entry["generation"]) for entry in times] == [
            (restart, generation) for restart in range(3) for generation in range(3)
        ]
        assert all(entry["seconds"] > 0 for entry in times)


class TestWhatDoesNotCount:
    def test_how_often_it_is_saved(self, new_run, uninterrupted):
        files = new_run("run").go(make_spec(checkpoint_every=1, checkpoint_seconds=0.001))
        assert files == uninterrupted
        search = json.loads(files["loss.json"])["search"]
        without_effect = {"workers", "generations_per_launch", "checkpoint_every", "checkpoint_seconds"}
        assert SearchSpec.model_fields.keys() - search.keys() == without_effect

    def test_a_wall_clock_that_jumps(self, new_run, uninterrupted, monkeypatch):
        """By years, back and forth, at every look at it."""
        jumps = itertools.cycle((0.0, 3e8, -3e8, 1e9))
        wall_clock = time.time
        monkeypatch.setattr(time, "time", lambda: wall_clock() + next(jumps))
        run = new_run("run")
        with pytest.raises(KeyboardInterrupt):
            run.go(stop_after=3)
        assert run.go() == uninterrupted

    def test_a_monotonic_clock_that_begins_anew(self, new_run, uninterrupted, monkeypatch):
        """As after a restart of the machine."""
        run = new_run("run")
        with pytest.raises(KeyboardInterrupt):
            run.go(stop_after=3)
        monkeypatch.setattr(time, "monotonic", lambda: 0.5)
        assert run.go() == uninterrupted

    def test_seconds_of_a_wall_time_are_those_of_all_resumptions(self, new_run, monkeypatch):
        """A generation takes a second, five are allowed, and the machine is off in between."""
        now, launch = [1e6], Search.launch

        def slow(search: Search, num: int) -> list[Record]:
            now[0] += 1.0
            return launch(search, num)

        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        monkeypatch.setattr(Search, "launch", slow)
        spec = make_spec(generations=100, stop=StopSpec(wall_time=5.0))
        run = new_run("run")
        with pytest.raises(KeyboardInterrupt):
            run.go(spec, stop_after=2)
        now[0] = 7.0
        files = run.go(spec)
        assert run.generations == [0, 1, 2, 3, 4]
        assert json.loads(files["history.jsonl"].splitlines()[-1])["stopped"] == "wall_time"
