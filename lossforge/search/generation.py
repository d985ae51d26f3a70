"""A generation as the device sees it: draw, ask, evaluate, tell, in which nothing is read from it.

Whatever is read makes the host wait until a GPU has done all that was queued, and the GPU then wait for the host. So
what a generation came to is put into one table, its account, which can be read when several generations are done.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge import answers, devices
from lossforge.search import archive, progress
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.history import account_of
from lossforge.spec import SearchSpec
from lossforge.threads import one_thread
from lossforge.types import State

_log = logging.getLogger(__name__)

Clock = Callable[[], State]
"""Says, as a part of the state, how many seconds the search has taken; nothing where nobody asks."""


@dataclass(frozen=True)
class Generation:
    """A generation that the strategy was told, and whose account may not have been read yet.

    Attributes:
        solutions_PD: its candidates.
        assessment: what is known of them.
        account: what the history will say, as a table.
        state: after it, but for the keys of :func:`lossforge.search.progress.after_reading`.
    """

    solutions_PD: Tensor
    assessment: Assessment
    account: Tensor
    state: State


LAUNCH_ON_A_GPU = 16
"""Generations of a launch where the spec says auto: the host's wait for one account is then a few percent at most."""


def launch_size(spec: SearchSpec, device: torch.device) -> int:
    """Return how many generations are run before any account is read: what the spec says, or the rule.

    Several are worth it on a GPU, where the back end is a kernel and the objective may be shown all candidates: others
    read something in every generation anyway.
    """
    if spec.generations_per_launch != "auto":
        return spec.generations_per_launch
    reads_nothing = spec.backend == "triton" and spec.objective.may_see_all
    return LAUNCH_ON_A_GPU if devices.is_queued(device) and reads_nothing else 1


def generations_after(
    state: State, evaluator: Evaluator, num: int, clock: Clock, wall_time: float | None
) -> list[Generation]:
    """Run ``num`` generations, the first of which follows ``state``; fewer where the time is over, or one fails.

    The error of the first is raised. That of another is logged, since the search may turn out to have ended before; if
    it has not, the generation is run again as the first of the next launch.
    """
    generations: list[Generation] = []
    while len(generations) < num:
        try:
            generations.append(generation_after(state, evaluator, clock))
        except Exception as error:  # whatever it is, it must not take finished generations with it
            if not generations:
                raise
            _log.info("generation %d failed and is run again: %r", progress.integer(state, progress.GENERATION), error)
            break
        state = generations[-1].state
        if wall_time is not None and float(state[progress.SECONDS]) >= wall_time:
            break
    return generations


def generation_after(state: State, evaluator: Evaluator, clock: Clock) -> Generation:
    """Run the generation that follows a state."""
    solutions_PD, state = asked(state, evaluator)
    return told(state, evaluator, solutions_PD, assessed(state, evaluator, solutions_PD), clock)


def accounts_of(generations: Sequence[Generation]) -> list[Tensor]:
    """Return the accounts on the CPU, brought over in one transfer."""
    together = torch.cat([each.account.flatten() for each in generations]).cpu()
    numbers = torch.split(together, [each.account.numel() for each in generations])
    return [each.view(generation.account.shape) for each, generation in zip(numbers, generations, strict=True)]


def asked(state: State, evaluator: Evaluator) -> tuple[Tensor, State]:
    """Return the solutions that the strategy wants to know about, and the state after it was asked."""
    spec, generation = evaluator.spec, progress.integer(state, progress.GENERATION)
    strategy = spec.strategy_of(progress.integer(state, progress.RESTART))
    generator = evaluator.generator("strategy", generation)
    with one_thread():
        prior = functools.partial(answers.draw, spec.parameterization)
        return answers.ask(
            strategy, state, spec.mutation, prior, generator, like_PD=progress.tensor(state, progress.LAST)
        )


def assessed(state: State, evaluator: Evaluator, solutions_PD: Tensor) -> Assessment:
    """Assess solutions on the batch of the generation that follows a state."""
    memory = progress.memory_of(state)
    return evaluator.in_generation(
        solutions_PD.to(memory.last_PD), progress.integer(state, progress.GENERATION), memory
    )


def told(state: State, evaluator: Evaluator, solutions_PD: Tensor, assessment: Assessment, clock: Clock) -> Generation:
    """Tell the strategy of solutions, and remember what has to be."""
    strategy = evaluator.spec.strategy_of(progress.integer(state, progress.RESTART))
    with one_thread():
        after = {
            **answers.tell(strategy, state, solutions_PD, assessment.rank_P),
            **progress.after_telling(state, solutions_PD, assessment),
            **archive.after_generation(state, solutions_PD, assessment, archive.size_for(evaluator.spec.objective)),
            **clock(),
        }
        return Generation(solutions_PD, assessment, account_of(assessment), after)
