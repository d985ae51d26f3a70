"""The one loop of every search: ask, evaluate, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from lossforge import answers
from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError, SearchError
from lossforge.interfaces import Strategy
from lossforge.run_content import ENDS_THE_RUN, StopReason
from lossforge.search import archive, progress
from lossforge.search.archive import Archive
from lossforge.search.backends import resolved_backend
from lossforge.search.checks import checked, refuse_foreign
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.generation import (
    Generation,
    accounts_of,
    asked,
    assessed,
    generations_after,
    launch_size,
    told,
)
from lossforge.search.history import Record, num_passing, record_of
from lossforge.search.progress import SearchEnd
from lossforge.search.resolution import existing_device
from lossforge.search.stopping import Progress, affordable_generations, reason_to_stop
from lossforge.search.winner import Pool, choose_winner
from lossforge.search.workers import WorkerPool, block_evaluator
from lossforge.sizes import refuse_beyond_memory, told_by_size
from lossforge.spec import SearchSpec, refuse_other
from lossforge.streams import derive_generator
from lossforge.types import State


class Search:
    """A search for a loss, in one call or step by step::

        search = Search(spec, seed=0)
        artifact = search.run()

        while not search.finished:
            solutions_PD = search.ask()
            search.tell(solutions_PD, search.evaluate(solutions_PD))
        artifact = search.winner()

    With ``spec.restarts`` above 1 it is that many independent searches, one after the other. The first is the search
    there would be without the others; each of them has a seed of its own, derived from ``seed``.

    Every random number comes from a stream of (seed, name, generation), and ``state_dict()`` holds all that changes, so
    a search that loads it goes on exactly as the other would have. Leaving it as a context manager, or ``close()``,
    ends its worker processes.

    Args:
        spec: what is searched, and how.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        name: of the loss that is found.

    Raises:
        SpecError: ``spec`` is no SearchSpec, or the device or what serves it is not there.
    """

    def __init__(
        self, spec: SearchSpec, *, seed: int = 0, device: str | torch.device = "cpu", name: str = "search"
    ) -> None:
        refuse_other(spec, SearchSpec, "lossforge.Search")
        refuse_beyond_memory(spec)
        self.seed, self.name, self.device = seed, name, existing_device(device)
        spec = spec.model_copy(update={"backend": resolved_backend(spec, self.device)})
        self.spec = spec.model_copy(update={"generations_per_launch": launch_size(spec, self.device)})
        self._blocks = block_evaluator(self.spec, self.device)
        self._evaluators: dict[int, Evaluator] = {}
        with self._told_by_size():
            self.state: State = self._first_state(0, {})
        self._start_clock()

    @property
    def restart(self) -> int:
        """Which of the searches this is, from 0."""
        return progress.integer(self.state, progress.RESTART)

    @property
    def generation(self) -> int:
        """Generations told so far in this search."""
        return progress.integer(self.state, progress.GENERATION)

    @property
    def num_records(self) -> int:
        """Generations told so far in all searches: the lines of the history."""
        return progress.integer(self.state, progress.NUM_RECORDS)

    @property
    def evaluations(self) -> int:
        """Solutions told so far, in all searches."""
        return progress.integer(self.state, progress.EVALUATIONS)

    @property
    def strategy(self) -> Strategy:
        """The strategy of this search, with its population grown."""
        return self.spec.strategy_of(self.restart)

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of this search."""
        return self.evaluator_of(self.restart)

    @property
    def finished(self) -> bool:
        """Whether the last search has ended."""
        return bool(self.state[progress.FINISHED])

    @property
    def ended(self) -> tuple[SearchEnd, ...]:
        """How the searches so far have ended."""
        return progress.searches_ended(self.state)

    def evaluator_of(self, restart: int) -> Evaluator:
        """Return the evaluator of one of the searches, counted from 0; each keeps its gates' batch."""
        if restart not in self._evaluators:
            seed = self.seed if restart == 0 else derive_generator(self.seed, "restart", restart).initial_seed()
            self._evaluators[restart] = Evaluator(self.spec, seed, self.device, self._blocks)
        return self._evaluators[restart]

    def ask(self) -> Tensor:
        """Return solutions_PD to evaluate in this generation; call it once a generation.

        Raises:
            SearchError: the search has ended.
            NotEnoughMemoryError: memory is not enough; likewise in all that is done later.
        """
        self._refuse_if_finished()
        with self._told_by_size():
            solutions_PD, self.state = asked(self.state, self.evaluator)
        return solutions_PD.clone()  # theirs to change

    def evaluate(self, solutions_PD: Tensor) -> Assessment:
        """Evaluate any solutions on this generation's batch, which all of them share."""
        with self._told_by_size():
            return assessed(self.state, self.evaluator, solutions_PD)

    def tell(self, solutions_PD: Tensor, result: Assessment | Tensor | Sequence[float]) -> Record:
        """Take in what a generation came to, and return its line of the history.

        Args:
            solutions_PD: those asked for, or any others, and any number of them.
            result: an assessment, by :meth:`evaluate` or by an :class:`Evaluator` anywhere; or their fitness, to be
                minimised, however it was found: then no gate is applied.

        Raises:
            ValueError: the shapes do not fit, or a solution that comes with a fitness is not finite.
            SearchError: the search has ended.
        """
        self._refuse_if_finished()
        solutions_PD, assessment = checked(self.state, solutions_PD, result)
        with self._told_by_size():
            generation = told(self.state, self.evaluator, solutions_PD, assessment, self._seconds)
            (account,) = accounts_of([generation])
            return self._taken_in(generation, account)

    def step(self) -> Record:
        """Run one generation."""
        (record,) = self.launch(1)
        return record

    def launch(self, num: int) -> list[Record]:
        """Run ``num`` generations, or fewer where the search ends, and only then read what they came to.

        Numbers are those of as many steps; but a GPU is waited for once and not in every generation. What was run after
        the generation in which the search turns out to end is thrown away. Where one raises an error, those before it
        are taken in, and it is raised when that generation is run as the first of a launch.

        Raises:
            ValueError: ``num`` is not positive.
            SearchError: the search has ended.
        """
        if num < 1:
            raise ValueError(f"a launch has at least one generation, not {num}")
        self._refuse_if_finished()
        affordable = affordable_generations(self.spec, self._progress(self.state))
        records: list[Record] = []
        with self._told_by_size():
            generations = generations_after(
                self.state, self.evaluator, max(1, min(num, affordable)), self._seconds, self.spec.stop.wall_time
            )
            for generation, account in zip(generations, accounts_of(generations), strict=True):
                records.append(self._taken_in(generation, account))
                if records[-1]["stopped"] is not None:
                    break
        return records

    def run(self, on_generation: Callable[[Record], None] | None = None) -> Artifact:
        """Run what is left, and return the winner."""
        while not self.finished:
            for record in self.launch(launch_size(self.spec, self.device)):
                if on_generation is not None:
                    on_generation(record)
        return self.winner()

    def winner(self) -> Artifact:
        """Choose the best of each search on its selection stream, the best of these on another, report on a third.

        Raises:
            NoFeasibleSolutionError: none of these passes the gates.
        """
        pools = [
            Pool(restart, self.evaluator_of(restart), progress.pool_of(self.state, restart))
            for restart in range(self.restart + 1)
            if restart == 0 or restart < self.restart or self.generation  # one that has only begun has found nothing
        ]
        effort = {
            "generations": self.num_records,
            "evaluations": self.evaluations,
            "rejected": progress.rejections(self.state),
            "searches": [{**vars(end), "seed": self.evaluator_of(end.restart).seed} for end in self.ended],
        }
        try:
            with self._told_by_size():
                return choose_winner(pools, self.evaluator_of(0), self.name, effort)
        except NoFeasibleSolutionError as cause:
            if self.finished and all(end.stopped == "no_feasible" for end in self.ended):
                raise NoFeasibleSolutionError(_no_feasible_message(self.spec.gates.patience, self.state)) from cause
            raise

    def archive(self) -> Archive | None:
        """Return the trade-offs found in all searches, judged afresh on one batch; None where nothing told of any."""
        with self._told_by_size():
            return archive.judged(self.state, self.evaluator_of(0), self.name)

    def state_dict(self) -> dict[str, Tensor | float | int]:
        """Return a copy, on the CPU, of all that changes: tensors, and numbers that JSON can hold."""
        return {
            key: value.detach().cpu().clone() if isinstance(value, Tensor) else value
            for key, value in self.state.items()
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from the state of a search with the same spec and seed.

        Raises:
            ValueError: keys are missing, or it has another seed or solutions of another length.
        """
        refuse_foreign(self.state, state)
        self.state = {
            key: value.to("cpu" if key in progress.ON_THE_CPU else self.device, copy=True)
            if isinstance(value, Tensor)
            else value
            for key, value in state.items()
        }
        self._start_clock()

    def close(self) -> None:
        """End the worker processes, if there are any; they start again when they are needed."""
        if isinstance(self._blocks, WorkerPool):
            self._blocks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _told_by_size(self) -> AbstractContextManager[None]:
        return told_by_size(self.spec, "search")

    def _first_state(self, restart: int, earlier: State) -> State:
        """Return the state before the first generation of a search, after ``earlier`` ones."""
        mutation, parameterization = self.spec.mutation, self.spec.parameterization
        strategy, evaluator = self.spec.strategy_of(restart), self.evaluator_of(restart)
        solutions_PD = answers.draw(parameterization, strategy.num_solutions, evaluator.generator("prior"))
        memory: State = {}
        if mutation is not None:
            generator = evaluator.generator("mutation")
            memory = answers.first_steps(mutation, strategy.num_children, parameterization.num_parameters, generator)
        return {
            **answers.first_state(strategy, solutions_PD, evaluator.generator("strategy.init")),
            **memory,
            **(progress.handed_on(earlier) if earlier else progress.of_a_new_run(self.seed, solutions_PD)),
            **progress.of_a_new_search(restart, solutions_PD),
        }

    def _start_clock(self) -> None:
        self._began = time.monotonic() - float(self.state.get(progress.SECONDS, 0.0))

    def _seconds(self) -> State:
        """Return the seconds of searching so far, where a spec limits them: other states hold no time."""
        # A clock of the machine that is set forwards or back does not move this one.
        return {} if self.spec.stop.wall_time is None else {progress.SECONDS: time.monotonic() - self._began}

    def _after_end(self, state: State, reason: StopReason) -> State:
        """Return the state after the end of a search: the next one's first, if it can afford a generation."""
        state = {**state, **progress.after_search(state, reason)}
        following, budget = progress.integer(state, progress.RESTART) + 1, self.spec.stop.evaluations
        if reason in ENDS_THE_RUN or following >= self.spec.restarts:
            return {**state, progress.FINISHED: 1}
        cost = progress.integer(state, progress.EVALUATIONS) + self.spec.strategy_of(following).num_solutions
        if budget is not None and cost > budget:
            return {**state, progress.FINISHED: 1}
        return self._first_state(following, state)

    def _progress(self, state: State) -> Progress:
        return Progress(
            best_fitness_T=progress.tensor(state, progress.BEST_FITNESS),
            num_fruitless=progress.integer(state, progress.FRUITLESS),
            evaluations=progress.integer(state, progress.EVALUATIONS),
            num_solutions=self.strategy.num_solutions,
            seconds=float(state.get(progress.SECONDS, 0.0)),
        )

    def _refuse_if_finished(self) -> None:
        if self.finished:
            raise SearchError(f"the search has ended ({self.ended[-1].stopped}); winner() tells what it has found")

    def _taken_in(self, generation: Generation, account: Tensor) -> Record:
        """Return the line of the history of a generation, and go on to the state after it."""
        record = {
            "restart": self.restart,
            "generation": self.generation,
            "evaluations": self.evaluations + len(generation.solutions_PD),
            **record_of(generation.assessment, account),
        }
        num_new_keys = 0 if generation.assessment.gates.keys_PG is None else num_passing(account)
        read = progress.after_reading(self.state, generation.state, record, num_new_keys)
        state = {**generation.state, **read}
        reason = reason_to_stop(self.spec, self._progress(state))
        # In one step: an interrupted tell has not happened.
        self.state = state if reason is None else self._after_end(state, reason)
        return {**record, "stopped": reason}


def _no_feasible_message(patience: int, state: State) -> str:
    counts = ", ".join(f"{reason} {count}" for reason, count in progress.rejections(state).items() if count)
    evaluations = progress.integer(state, progress.EVALUATIONS)
    return (
        f"no candidate passed all gates for {patience} generations (of {evaluations} candidates, rejected by: "
        f"{counts}); loosen search.gates, raise search.gates.patience, enlarge the population or sigma, or use "
        "features: log_prob"
    )
