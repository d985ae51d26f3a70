"""The extension points of lossforge: one abstract base class a kind of component.

A method is abstract or final; a concrete method is never overridden. Shape suffixes are explained in
:mod:`lossforge.types`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol, Self, final

import torch
from torch import Tensor, nn

from lossforge.comparisons import Comparisons, Concordance
from lossforge.component import Component
from lossforge.forms import PerceptronForm
from lossforge.regimes import RegimeBounds
from lossforge.types import Evaluation, ImageData, PredictionBatch, State, TrackedRun


class LossParameterization(Component, ABC):
    """A family of losses with a vector of parameters: what a search moves in.

    A loss depends on log-probabilities alone and is finite, with its derivatives, for any of them, as far as numbers
    reach; under autocast it is computed in float32.
    """

    kind: ClassVar[str] = "parameterizations"

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """D, the length of a solution."""

    @property
    @abstractmethod
    def class_count(self) -> int | None:
        """None: the family works for any number of classes and treats them alike (permutation-equivariant).

        A number: for that one alone, and it may treat classes differently. Gates that take equivariance for granted
        are then skipped: ``weight_band``, ``signs`` and ``same_prediction``.
        """

    @abstractmethod
    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw ``num`` solutions from the family's prior, as a float32 (num, D) tensor on the generator's device."""

    @abstractmethod
    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB of every candidate on every pair, differentiable in ``log_probs_PBC``.

        Args:
            solutions_PD: the candidates.
            log_probs_PBC: log-probabilities; a leading size of 1 is shared by all candidates.
            labels_B: class indices, shared by all candidates.
        """

    @abstractmethod
    def source(self, solution_D: Tensor) -> str:
        """Return Python code, in need of torch alone, of ``class Network(nn.Module)``.

        Its ``forward(log_probs, target)`` takes (N, C) log-probabilities and (N,) class indices and returns the (N,)
        values of :meth:`loss` for this solution. ``torch``, ``Tensor``, ``nn`` and ``F`` are imported around it.
        """


class PerceptronParameterization(LossParameterization, ABC):
    """A family whose losses have a form that fused kernels evaluate; :meth:`loss` remains the definition."""

    @property
    @abstractmethod
    def form(self) -> PerceptronForm:
        """What a kernel has to know: it computes what :meth:`loss` does, to rounding."""


def stated_form(parameterization: LossParameterization) -> PerceptronForm | None:
    """Return the form that a family's own class states; None where it has none, or inherits it.

    A subclass may have changed the loss, and its form would still be that of the class above.
    """
    if not isinstance(parameterization, PerceptronParameterization) or "form" not in vars(type(parameterization)):
        return None
    return parameterization.form


class SyntheticSampler(Component, ABC):
    """A distribution of synthetic prediction-label pairs."""

    kind: ClassVar[str] = "samplers"

    @abstractmethod
    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` float32 pairs on the generator's device.

        Args:
            num: how many.
            num_classes: C, at least 2.
            generator: source of all randomness.
            progress: how far the search is, from 0 in its first generation to 1 in its last. Gates, selection and
                held-out figures are at 1. A sampler that contains another hands it on.
        """


class MixedSampler(SyntheticSampler, ABC):
    """A sampler of several regimes, whose shares can be chosen."""

    @property
    @abstractmethod
    def shares(self) -> Mapping[str, float]:
        """Share of each regime by its name; they sum to 1. Where they change over a search: those of its end."""

    @abstractmethod
    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """Return the same sampler with other shares; regimes that are not named have none."""

    @property
    @abstractmethod
    def bounds(self) -> RegimeBounds:
        """Where its regimes end, for predictions that others made."""


class Population(Protocol):
    """Candidates under evaluation; blocks, back ends and workers live behind it."""

    @property
    def num_solutions(self) -> int:
        """P, the number of candidates."""

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""

    def gradients(self, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivative of each candidate's per-sample losses in its own copy of the logits."""

    def concordance(self, comparisons: Comparisons) -> Concordance:
        """Return in how many comparisons each candidate's losses are in the right order.

        The (P, R) losses need not be in memory at once.
        """

    def weight_profile(self, p_G: Tensor) -> Tensor:
        """Return w_P2G = -(dloss/dz_y) / (1 - p_y), rivals uniform [:, 0] and with one dominant rival [:, 1]."""

    def take(self, index: Tensor) -> Self:
        """Return the population of the candidates at ``index``."""


class Objective(Component, ABC):
    """What makes a loss fit, judged on synthetic pairs; fitness is minimised.

    Draws are common to all candidates and do not depend on P; permuting the population permutes the fitness.
    """

    kind: ClassVar[str] = "objectives"
    fitness_is_relative: ClassVar[bool] = False
    """Whether a fitness means something only beside those of the same population, as a rank does. Such an objective
    cannot be part of another, and a search by it cannot stop at a fitness."""
    is_contest: ClassVar[bool] = False
    """Whether it depends on the other candidates how far one is evaluated; one that is alone comes to the end."""
    is_dear: ClassVar[bool] = False
    """Whether to evaluate a candidate costs so much more than to ask a GPU whether it passes the gates."""

    @abstractmethod
    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate the whole population; called once a generation."""

    @final
    @property
    def has_contest(self) -> bool:
        """Whether it is a contest, or one of the objectives within it is."""
        return any(isinstance(each, Objective) and each.is_contest for each in self.within())

    @final
    @property
    def may_see_all(self) -> bool:
        """Whether candidates that fail gates can be evaluated with the others, and then be left out of account."""
        parts = [each for each in self.within() if isinstance(each, Objective)]
        return not any(each.fitness_is_relative or each.is_contest or each.is_dear for each in parts)


class MutationOperator(Component, ABC):
    """A source of steps in parameter space."""

    kind: ClassVar[str] = "mutations"

    @abstractmethod
    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return the operator's state for ``num`` children of ``dim`` coordinates; keys start with ``mutation.``."""

    @abstractmethod
    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return a child of each parent, moved by steps of standard deviation ``sigma``, and the whole next state.

        ``sigma`` is one number, or a (P, 1) tensor with one for each parent. ``state`` may hold keys of others, which
        are passed on as they are. How many numbers are drawn may depend on the state: strategies draw theirs before.
        """


class SelectiveMutation(MutationOperator, ABC):
    """An operator that cannot move in every family; a spec asks it before anything is run."""

    @abstractmethod
    def misfit(self, parameterization: LossParameterization) -> str | None:
        """Return what is wrong with the two together and what mends it, for a spec's reader; None: nothing."""


Prior = Callable[[int, torch.Generator], Tensor]
"""Draws fresh solutions of the parameterization searched: ``prior(num, generator) -> solutions_PD``."""


class Strategy(Component, ABC):
    """A search algorithm in ask / tell form; only the order of fitness counts, and NaN or infinite ranks last."""

    kind: ClassVar[str] = "strategies"
    uses_mutation: ClassVar[bool]

    @property
    @abstractmethod
    def num_solutions(self) -> int:
        """P, how many solutions an ask returns: the evaluations of a generation."""

    @property
    @abstractmethod
    def num_children(self) -> int:
        """How many of them the mutation operator makes; 0 where none is used."""

    @abstractmethod
    def grown(self, factor: float) -> Strategy:
        """Return the same strategy with its population ``factor`` times as large, rounded; for restarts."""

    @abstractmethod
    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before the first ask, given ``num_solutions`` draws from the prior."""

    @abstractmethod
    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return solutions_PD to evaluate, and the whole next state."""

    @abstractmethod
    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Return the whole next state, given the fitness (minimised) of the solutions.

        They need not be those of the last ask, nor as many: whoever drives a search may add candidates of their own.
        """


class Loss(Component, ABC):
    """A fixed, published loss: a pure function with options."""

    kind: ClassVar[str] = "losses"

    @abstractmethod
    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B, before any reduction; differentiable in the logits. There are at least two classes."""


class ClasswiseLoss(Loss, ABC):
    """A loss that is known for all classes at once at less than C times the cost of one.

    Smoothed labels and class probabilities ask for that; of any other loss they take C evaluations.
    """

    @abstractmethod
    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label: what :meth:`per_sample` returns for it."""


class LocalLoss(ClasswiseLoss, ABC):
    """A loss that sees a prediction only through log p_y: l(z, y) = g(log_softmax(z)_y)."""

    @abstractmethod
    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return g elementwise, for a log-probability tensor of any shape."""

    @final
    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B = g(log p_y)."""
        log_probs_BC = torch.log_softmax(logits_BC, dim=-1)
        return self.of_log_prob(log_probs_BC.gather(-1, labels_B[:, None]).squeeze(-1))

    @final
    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC = g(log p_k)."""
        return self.of_log_prob(torch.log_softmax(logits_BC, dim=-1))


class Dataset(Component, ABC):
    """Real labelled images."""

    kind: ClassVar[str] = "datasets"

    @abstractmethod
    def load(self) -> ImageData:
        """Read the images into memory.

        Raises:
            DataError: they are not where the options say; the message names the remedy in one line.
        """


class Model(Component, ABC):
    """A network architecture."""

    kind: ClassVar[str] = "models"

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator) -> nn.Module:
        """Return a freshly initialised network from (N, C, H, W) images of ``image_shape`` (C, H, W) to logits.

        Every parameter is drawn from ``generator`` (a CPU generator); the global random state is left alone. A network
        whose attribute ``takes_labels`` is true is called as ``network(images, labels)`` in training mode, with class
        indices, and as ``network(images)`` in evaluation mode: some heads put a margin on the label's own logit.
        """


class TrackerSession(ABC):
    """What one process tells a tracker of a run.

    Whatever a method raises ends the session and not the run. By its end a session has been told all of the run, so
    that what was lost, or comes from before the tracker was named, is made up for: what an earlier session was told
    comes again, with the same values, and not always in order. A reader is to see each step of a name once.
    """

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Take what is known at a step, by names of three series, which any character may stand in.

        ``search/...`` by generation, from 0 (with several searches ``search/restart-0/...``);
        ``train/<loss>/seed-0/...`` by epoch, from 1; ``result/<loss>/...`` by the number of trainings it is drawn from,
        and ``result/held_out/...`` at 0. A value may be NaN or infinite.
        """

    @abstractmethod
    def file(self, path: Path) -> None:
        """Take a file of the run directory, which is whole; it may have been another one in an earlier session."""

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End the session; the run is finished, or interrupted or failed."""


class Tracker(Component, ABC):
    """A place that keeps account of runs, and shows it; what it does cannot change a run."""

    kind: ClassVar[str] = "trackers"

    @abstractmethod
    def open(self, run: TrackedRun) -> TrackerSession:
        """Begin to take what is told of a run, or go on with it where there is something of an earlier session.

        The library is imported here, so that the spec can be read where it is not installed. Whatever this raises is
        told, and the run goes on without the tracker.
        """
