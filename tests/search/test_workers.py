"""Worker processes: the bits of one process whatever becomes of them, and none that outlives its search."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lossforge.errors import PluginError, SearchError, SpecError
from lossforge.interfaces import LossParameterization
from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.registry import PLUGINS_VARIABLE
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, Search, loop, workers
from lossforge.search.workers import WorkerPool, block_evaluator, check_workers
from lossforge.spec import GateSpec, SamePredictionGate, SearchSpec
from lossforge.strategies import MuCommaLambda, MuPlusLambda

pytestmark = pytest.mark.usefixtures("in_time")

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)
GATES = GateSpec(weight_band=None, signs=None, same_prediction=SamePredictionGate(tolerance=0.9))
FAMILIES = {"pairwise": PairwiseMLP(hidden=(13, 9), activation="silu"), "classwise": ClasswiseMLP(hidden=(3, 2))}


def make_spec(**options: Any) -> SearchSpec:
    defaults = {
        "parameterization": FAMILIES["pairwise"],
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuPlusLambda(population_size=21, num_parents=3),
        "mutation": GaussianMutation(),
        "generations": 4,
        "num_classes": 4,
        "batch_size": 27,
        "selection_batch_size": 50,
        "gates": NO_GATES,
        "backend": "eager",
    }
    return SearchSpec(**{**defaults, **options})


def draw_batch(leading: int = 1, num_pairs: int = 24, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.log_softmax(torch.randn(leading, num_pairs, num_classes, generator=generator), dim=2)
    return log_probs, torch.randint(num_classes, (num_pairs,), generator=generator)


def children() -> set[int]:
    return {process.pid for process in multiprocessing.active_children() if process.pid is not None}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def until(condition: Callable[[], Any], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that has ended may wait for its parent to take notice."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Neither processes, not even ended ones that nobody has waited for, nor open files."""
    resource_tracker.ensure_running()
    gc.collect()  # errors that were caught hold on to the frames they went through, and these to workers
    before, offspring, running = descriptors(), _offspring(), children()
    yield
    assert children() == running
    assert _offspring() == offspring
    gc.collect()
    assert descriptors() == before


def _offspring() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


class TestBits:
    """Two and four workers against this process."""

    @pytest.fixture(scope="class", params=[("pairwise", 4), ("classwise", 2)], ids=lambda p: f"{p[0]}-{p[1]}")
    @classmethod
    def crew(cls, request) -> Iterator[tuple[LossParameterization, int, WorkerPool]]:
        name, num = request.param
        with nothing_left_behind():
            pool = WorkerPool(num)
            yield FAMILIES[name], num, pool
            pool.close()

    @pytest.mark.parametrize("num_solutions", [1, 5, 16, 33, 70])
    @pytest.mark.parametrize("num_pairs", [16, 23, 100])
    def test_populations(self, crew, num_solutions, num_pairs):
        """Fewer and more than a block or two; shared predictions and predictions of their own."""
        family, num, pool = crew
        solutions_PD = family.init(num_solutions, torch.Generator().manual_seed(0))
        here = ParameterPopulation(family, solutions_PD, 5)
        there = ParameterPopulation(family, solutions_PD, 5, pool)
        for leading in {1, num_solutions}:
            log_probs, labels_B = draw_batch(leading, num_pairs)
            assert torch.equal(there.losses(log_probs, labels_B), here.losses(log_probs, labels_B))
            assert torch.equal(there.gradients(log_probs, labels_B), here.gradients(log_probs, labels_B))
        assert torch.equal(
            there.weight_profile(log_probs[0, :9, 0].exp()), here.weight_profile(log_probs[0, :9, 0].exp())
        )
        assert not there.exhausted_P.any()
        assert num_solutions < 70 or len(children()) == num

    def test_double_precision(self, crew):
        family, _, pool = crew
        solutions_PD = family.init(20, torch.Generator().manual_seed(0))
        log_probs, labels_B = draw_batch()
        found = ParameterPopulation(family, solutions_PD, 5, pool).losses(log_probs.double(), labels_B)
        assert found.dtype == torch.float64
        assert torch.equal(found, ParameterPopulation(family, solutions_PD, 5).losses(log_probs.double(), labels_B))

    def test_inputs_in_any_layout(self, crew):
        """Views into larger tensors, at odd offsets and transposed."""
        family, _, pool = crew
        solutions_PD = family.init(7, torch.Generator().manual_seed(0))
        log_probs, labels_B = draw_batch(1, 33)
        for inputs in (log_probs[:, 1:], log_probs.transpose(1, 2).contiguous().transpose(1, 2)[:, 1:]):
            for quantity in ("losses", "gradients"):
                here, there = (
                    getattr(ParameterPopulation(family, solutions_PD, 5, *blocks), quantity)(inputs, labels_B[1:])
                    for blocks in ((), (pool,))
                )
                assert torch.equal(here, there)

    @pytest.mark.parametrize("mutation", [GaussianMutation(), ChaoticMutation()], ids=lambda m: m.type)
    @pytest.mark.parametrize("gates", [NO_GATES, GATES], ids=["no gates", "gates"])
    def test_searches(self, crew, mutation, gates, tmp_path, monkeypatch):
        """The history, the winner and every file of it."""
        family, num, pool = crew
        comma = MuCommaLambda(population_size=37, num_parents=4)
        for index, strategy in enumerate((MuPlusLambda(population_size=18, num_parents=3), comma)):
            spec = make_spec(parameterization=family, mutation=mutation, gates=gates, strategy=strategy)
            expected = self.files(Search(spec, seed=1), tmp_path / f"{index}-1")
            with monkeypatch.context() as patch:
                patch.setattr(loop, "block_evaluator", lambda spec, device: pool)
                search = Search(spec.model_copy(update={"workers": num}), seed=1)
            assert self.files(search, tmp_path / f"{index}-{num}") == expected

    def files(self, search: Search, folder: Path) -> dict[str, bytes]:
        records: list[Any] = []
        search.run(records.append).save(folder)
        assert len(records) == 4
        assert sum(record["num_feasible"] for record in records) > 0
        return {"history": json.dumps(records).encode(), **{path.name: path.read_bytes() for path in folder.iterdir()}}


class Crew:
    """Two workers on the family that goes wrong on demand, and this process for comparison."""

    def __init__(self, family: LossParameterization, solutions: Callable[..., Tensor], folder: Path) -> None:
        self.family, self.solutions, self.folder = family, solutions, folder
        self.pool = WorkerPool(2)

    def population(self, num: int, wrong: dict[int, str] | None = None) -> ParameterPopulation:
        return ParameterPopulation(self.family, self.solutions(num, wrong), 5, self.pool)

    def expected(self, num: int, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What ``num`` sound candidates evaluate to in this process."""
        return ParameterPopulation(self.family, self.solutions(num), 5).losses(*(batch or draw_batch()))

    def works(self) -> bool:
        """Whether two workers are there, and evaluate as this process does."""
        is_equal = torch.equal(self.population(40).losses(*draw_batch()), self.expected(40))
        return is_equal and len(children()) == 2


@pytest.fixture(scope="module")
def the_crew(fragile, fragile_solutions, tmp_path_factory) -> Iterator[Crew]:
    folder = tmp_path_factory.mktemp("marks")
    with nothing_left_behind():
        crew = Crew(fragile(folder=str(folder)), fragile_solutions, folder)
        yield crew
        crew.pool.close()


@pytest.fixture
def crew(the_crew) -> Crew:
    for mark in the_crew.folder.iterdir():
        mark.unlink()
    return the_crew


class TestCandidatesThatGoWrong:
    def test_what_is_not_a_number(self, crew):
        population = crew.population(20, {2: "nan", 17: "nan"})
        found, expected = population.losses(*draw_batch()), crew.expected(20)
        expected[[2, 17]] = torch.nan
        assert torch.equal(found.isnan(), expected.isnan())
        assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))
        assert not population.exhausted_P.any()

    @pytest.mark.parametrize("wrong", ["memory_error", "torch_memory", "allocator"])
    def test_out_of_memory(self, crew, wrong):
        population = crew.population(20, {2: wrong, 16: wrong})
        found, expected = population.losses(*draw_batch()), crew.expected(20)
        rest = [row for row in range(20) if row not in (2, 16)]
        assert torch.equal(found[rest], expected[rest])
        assert found[[2, 16]].isnan().all()
        assert population.exhausted_P.nonzero().flatten().tolist() == [2, 16]
        assert crew.works()

    def test_a_mistake(self, crew):
        """It arrives with the worker's traceback, and leaves no answers behind that the next call would take."""
        with pytest.raises(RuntimeError, match="evaluating a block failed in a worker process") as caught:
            crew.population(60, {20: "mistake"}).losses(*draw_batch())
        assert "ValueError: this candidate is a mistake" in str(caught.value)
        assert "lossforge_fragile.py" in str(caught.value)
        assert crew.works()

    def test_an_error_of_a_plugin_s_own(self, crew):
        with pytest.raises(RuntimeError, match=r"(?s)in a worker process:.*_OwnError: a plugin's own"):
            crew.population(60, {20: "own_error"}).losses(*draw_batch())
        assert crew.works()

    def test_a_loss_of_another_shape(self, crew):
        """It is told as it would be without workers."""
        with pytest.raises(PluginError, match=r"'fragile' \(class Fragile\): loss\(\) must return loss_PB as a tensor"):
            crew.population(60, {20: "flat"}).losses(*draw_batch())
        assert crew.works()

    def test_one_that_kills_its_worker(self, crew, caplog):
        """It costs four: two for its block, and two more by itself."""
        caplog.set_level(logging.WARNING)
        population = crew.population(20, {5: "killed"})
        found, expected = population.losses(*draw_batch()), crew.expected(20)
        rest = [row for row in range(20) if row != 5]
        assert torch.equal(found[rest], expected[rest])
        assert found[5].isnan().all()
        assert population.exhausted_P.nonzero().flatten().tolist() == [5]
        deaths = "a worker process was ended by SIGKILL while it evaluated a block; another takes its place"
        assert caplog.messages == [
            deaths,
            deaths,
            "this block has cost 2 workers: its candidates are evaluated one by one",
            deaths,
            deaths,
            "a candidate has cost 2 workers: it counts as out of memory",
        ]
        assert crew.works()

    def test_one_that_kills_its_worker_in_a_padded_block(self, crew, caplog, monkeypatch):
        """At one worker an attempt: one for the block, and one for the candidate that all 16 of it are."""
        monkeypatch.setattr(workers, "ATTEMPTS", 1)
        population = crew.population(1, {0: "killed"})
        assert population.losses(*draw_batch()).isnan().all()
        assert population.gradients(*draw_batch()).isnan().all()
        assert len([message for message in caplog.messages if "SIGKILL" in message]) == 2


class TestWorkersThatEnd:
    def test_killed_between_calls(self, crew, caplog, monkeypatch):
        """It is no fault of the next block, which could not afford to lose one."""
        monkeypatch.setattr(workers, "ATTEMPTS", 1)
        caplog.set_level(logging.WARNING)
        assert crew.works()
        before = children()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: not any(map(is_running, before)))
        assert crew.works()
        assert not before & children()
        ending = "a worker process was ended by SIGKILL while it had nothing to do; another takes its place"
        assert caplog.messages == [ending, ending]

    def test_killed_in_the_middle_of_a_block(self, crew, caplog):
        caplog.set_level(logging.WARNING)
        assert crew.works()

        def kill() -> None:
            until(lambda: any(crew.folder.iterdir()))
            for mark in crew.folder.iterdir():
                os.kill(int(mark.name), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        population = crew.population(70, {20: "stalls_once"})
        assert torch.equal(population.losses(*draw_batch()), crew.expected(70))
        killer.join()
        assert len(list(crew.folder.iterdir())) == 1
        assert not population.exhausted_P.any()
        assert len(caplog.messages) == 1
        assert crew.works()

    def test_another_that_cannot_start(self, crew, fragile_site):
        """In the middle of a call, with one at work and one to be replaced: an error, and no loop."""
        assert crew.works()
        spoiled = fragile_site / "spoiled"
        spoiled.touch()
        began = time.monotonic()
        try:
            with pytest.raises(SearchError, match=r"a worker process ended with 1 before it was ready"):
                crew.population(40, {0: "killed", 20: "slow"}).losses(*draw_batch())
        finally:
            spoiled.unlink()
        assert time.monotonic() - began < 30
        assert children() == set()
        assert crew.works()

    def test_none_that_can_start(self, crew, monkeypatch, capfd):
        """The family is not to be found where the workers are."""
        monkeypatch.setenv(PLUGINS_VARIABLE, "")
        pool = WorkerPool(2)
        with pytest.raises(SearchError, match=r"before it was ready, .* if __name__ == '__main__':"):
            ParameterPopulation(crew.family, crew.solutions(3), 5, pool).losses(*draw_batch())
        assert "'fragile'" in capfd.readouterr().err
        monkeypatch.undo()
        assert crew.works()  # which also finds no process of the other pool


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[float], None]:
    """``interrupted(seconds)`` has Ctrl-C come after so long."""

    def after(seconds: float) -> None:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return after


class TestInterrupts:
    def test_in_the_middle_of_a_call(self, crew, interrupted):
        assert crew.works()
        wrong = dict.fromkeys(range(0, 160, 16), "slow")  # ten blocks of .2 seconds
        began = time.monotonic()
        interrupted(0.3)
        with pytest.raises(KeyboardInterrupt):
            crew.population(160, wrong).losses(*draw_batch())
        assert time.monotonic() - began < 1
        assert crew.works()

    def test_while_another_worker_starts(self, crew, monkeypatch):
        assert crew.works()

        def interrupt(self: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(workers.WorkerProcess, "wait_until_ready", interrupt)
            with pytest.raises(KeyboardInterrupt):
                crew.population(40, {0: "killed", 20: "slow"}).losses(*draw_batch())
        assert crew.works()

    def test_twice(self, crew, monkeypatch):
        """The second one while the first is cleaned up after."""
        assert crew.works()

        def interrupt(*arguments: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(connection, "wait", interrupt)
            patch.setattr(WorkerPool, "bury", interrupt)
            with pytest.raises(KeyboardInterrupt):
                crew.population(40, dict.fromkeys(range(40), "threads")).losses(*draw_batch())
        assert crew.works()

    def test_twice_while_workers_start(self, crew, monkeypatch):
        """The second one while those that were started are ended again."""
        crew.pool.close()

        def interrupt(self: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            for step in ("wait_until_ready", "end"):
                patch.setattr(workers.WorkerProcess, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                crew.population(40).losses(*draw_batch())
        assert torch.equal(crew.population(40).losses(*draw_batch()), crew.expected(40))
        gc.collect()
        assert until(lambda: len(children()) == 2)  # one that nobody could end finds its channel closed
        assert crew.works()

    def test_workers_do_not_see_them(self, crew):
        """SIGINT is blocked or ignored in each, the first that this process ever started, too."""
        assert crew.works()
        for pid in children():
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            masks = int(status["SigBlk"], 16) | int(status["SigIgn"], 16)
            assert masks >> (signal.SIGINT - 1) & 1


class TestInputs:
    def test_blocks_larger_than_any_pipe(self, crew):
        """Megabytes to the workers and back, from both at once."""
        population = crew.population(6)
        log_probs, labels_B = draw_batch(6, 30_000)
        here = ParameterPopulation(crew.family, population.solutions_PD, 5)
        assert torch.equal(population.gradients(log_probs, labels_B), here.gradients(log_probs, labels_B))

    def test_other_inputs_in_the_next_call(self, crew):
        for num_pairs in (16, 32, 16):
            batch = draw_batch(1, num_pairs)
            assert torch.equal(crew.population(20).losses(*batch), crew.expected(20, batch))
            assert torch.equal(crew.population(20).losses(*batch), crew.expected(20, batch))

    def test_inputs_changed_in_place(self, crew):
        log_probs, labels_B = draw_batch(1, 32)
        assert torch.equal(crew.population(20).losses(log_probs, labels_B), crew.expected(20, (log_probs, labels_B)))
        log_probs.mul_(2)
        assert torch.equal(crew.population(20).losses(log_probs, labels_B), crew.expected(20, (log_probs, labels_B)))

    def test_inputs_changed_through_their_memory(self, crew):
        """As arrays of numpy that share memory with tensors change them."""
        log_probs, labels_B = draw_batch(1, 32)
        assert torch.equal(crew.population(20).losses(log_probs, labels_B), crew.expected(20, (log_probs, labels_B)))
        log_probs.numpy()[:] *= 2
        assert torch.equal(crew.population(20).losses(log_probs, labels_B), crew.expected(20, (log_probs, labels_B)))

    def test_tensors_of_inference_mode(self, crew):
        with torch.inference_mode():
            batch = draw_batch(1, 32)
            assert torch.equal(crew.population(20).losses(*batch), crew.expected(20, batch))

    def test_tensors_that_want_gradients(self, crew):
        log_probs, labels_B = draw_batch()
        solutions_PD = crew.solutions(3).requires_grad_()
        population = ParameterPopulation(crew.family, solutions_PD, 5, crew.pool)
        assert torch.equal(population.losses(log_probs.requires_grad_(), labels_B), crew.expected(3))

    def test_another_family(self, crew, tmp_path):
        other = PairwiseMLP(hidden=(4,))
        solutions_PD = other.init(3, torch.Generator().manual_seed(0))
        try:
            found = ParameterPopulation(other, solutions_PD, 5, crew.pool).losses(*draw_batch())
        finally:
            crew.pool.close()
        assert torch.equal(found, ParameterPopulation(other, solutions_PD, 5).losses(*draw_batch()))


def test_workers_use_one_thread_each(crew):
    """However many this process has: BLAS rounds by their number."""
    torch.set_num_threads(5)
    try:
        found = crew.population(2, {0: "threads", 1: "threads"}).losses(*draw_batch())
    finally:
        torch.set_num_threads(1)
    assert found.unique().tolist() == [1.0]


def test_no_more_workers_than_blocks(crew):
    """A block each, and others once there are more blocks."""
    others, pool = children(), WorkerPool(3)
    try:
        for num_solutions, expected in ((5, 1), (32, 2), (1, 2)):
            population = ParameterPopulation(crew.family, crew.solutions(num_solutions), 5, pool)
            population.losses(*draw_batch())
            assert len(children() - others) == expected
    finally:
        pool.close()


class TestRefusals:
    def test_a_class_that_is_not_installed(self, closed_form):
        spec = make_spec(parameterization=closed_form(), workers=2)
        with pytest.raises(SpecError, match=r"search\.workers: parameterization 'closed_form' is a class that no inst"):
            Search(spec)
        assert block_evaluator(spec.model_copy(update={"workers": 1}), torch.device("cpu")) is not None

    def test_a_subclass_with_an_installed_name(self):
        class Mine(PairwiseMLP):
            pass

        with pytest.raises(SpecError, match="use workers: 1, or package it"):
            check_workers(make_spec(parameterization=Mine(), workers=2), "cpu")

    @pytest.mark.parametrize("device", ["cuda", "mps"])
    def test_a_device_that_all_would_share(self, device):
        with pytest.raises(SpecError, match=rf"3 processes would share one {device} device; use workers: 1"):
            check_workers(make_spec(workers=3), device)
        check_workers(make_spec(), device)


class TestSearch:
    def test_its_processes_end_with_it(self):
        """They start when they are needed, end on leaving, start again, and end when it is forgotten."""
        others = children()
        with nothing_left_behind(), Search(make_spec(workers=2)) as search:
            assert children() == others
            search.step()
            first = children()
            assert len(first - others) == 2
            search.step()
            assert children() == first
        search.close()
        Search(make_spec()).close()
        search.step()
        again = children() - others
        assert len(again) == 2
        del search  # nobody has closed it
        assert until(lambda: not any(map(is_running, again)))


SCRIPT = """
import signal
import sys
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Search
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import MuCommaLambda

spec = SearchSpec(
    parameterization=PairwiseMLP(hidden=(4,)),
    sampler=MixtureSampler(),
    objective=RankingConsistency(),
    strategy=MuCommaLambda(population_size=40, num_parents=3),
    mutation=GaussianMutation(),
    generations=10**6,
    num_classes=4,
    batch_size=24,
    selection_batch_size=48,
    gates=GateSpec(weight_band=None, signs=None, same_prediction=None),
    backend="eager",
    workers=2,
)


def main():
    import multiprocessing

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts with & ignore it
    search = Search(spec)
    search.step()
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    while True:
        search.step()

"""
GUARD = "if __name__ == '__main__':\n    main()\n"


class TestScripts:
    @pytest.fixture
    def start(self, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        started: list[subprocess.Popen[str]] = []

        def start(ending: str, population_size: int = 40) -> subprocess.Popen[str]:
            script = tmp_path / "script.py"
            script.write_text(SCRIPT.replace("population_size=40", f"population_size={population_size}") + ending)
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, start_new_session=True
            )
            started.append(process)
            return process

        yield start
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdout, process.stderr):
                pipe.close()

    def test_workers_of_a_killed_search_end(self, start):
        process = start(GUARD)
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        process.kill()
        process.wait()
        assert until(lambda: not any(map(is_running, pids)), 5)
        _, errors = process.communicate()
        assert errors == ""

    def test_ctrl_c_from_a_terminal(self, start):
        """The whole process group gets it; only the search speaks of it."""
        process = start(GUARD)
        pids = [int(pid) for pid in process.stdout.readline().split()]
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT
        assert errors.count("Traceback") == 1
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "SpawnProcess" not in errors
        assert until(lambda: not any(map(is_running, pids)), 5)

    def test_without_a_main_guard(self, start):
        """The worker runs the script, too, and cannot start: said in the last line, with the remedy."""
        process = start("main()\n", population_size=16)  # a block, and thus a worker
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert output == ""
        assert errors.rstrip().splitlines()[-1] == (
            "lossforge.errors.SearchError: a worker process ended with 1 before it was ready, see above; a script "
            "that starts a search with workers does so under: if __name__ == '__main__':"
        )
