"""How well do small classifiers learn with the loss, on tasks made up at random?

The only kind of synthetic objective that sees optimisation, and free of any user's data. Judging a loss by training
with it: Gonzalez and Miikkulainen, "Improved Training Speed, Accuracy, and Data Utilization Through Loss Function
Optimization", CEC 2020, arXiv:1905.11528, there on real data; the synthetic tasks and the stacking are ours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from lossforge.chunks import chunk_of_one_size
from lossforge.component import Count
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Objective, Population
from lossforge.objectives.stacked_mlp import StackedMLP, initial_weights
from lossforge.objectives.synthetic_tasks import TaskOptions, Tasks, draw_tasks
from lossforge.threads import one_thread
from lossforge.types import Evaluation, PredictionBatch

CHUNK_ITEMS = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Activations of a layer, over all networks of a chunk: what fits the cache, or the memory of a GPU."""

LARGEST_CHUNK = 64
"""Most candidates of a chunk: a small population is padded to one."""

NUM_BINS = 15
"""Bins of the expected calibration error, of equal width."""


class ProxyTraining(Objective):
    """Held-out error, NLL or calibration of small classifiers trained with the loss on random synthetic tasks.

    Every evaluation draws fresh tasks, initial weights and batches, common to all candidates. For each candidate, task
    and setting, which is a learning rate and a weight decay, a perceptron is trained by gradient descent with Nesterov
    momentum and a rate that falls linearly to 0, all of them stacked in one computation. Losses are first scaled to the
    gradient norm of cross-entropy on the search's synthetic batch. Fitness is the mean over tasks of

    * ``error``: the share of held-out samples whose most likely class is wrong;
    * ``nll``: the mean of -log p_y over held-out samples, in nats;
    * ``brier``: the mean of sum_k (p_k - y_k)^2, in [0, 2]: error and calibration in one, and bounded;
    * ``ece``: the expected calibration error, 15 bins of equal width, in [0, 1],

    at the best of the settings, one for all tasks: the best on these same held-out samples, so that more settings make
    the figure more hopeful, for every loss alike. The best is that of the smallest fitness or, with ``rate_by:
    error``, of the smallest error, as of one who tunes for accuracy and takes the calibration that comes with it:
    otherwise a small rate, with which little is learned, calibrates any loss. A loss with which nothing is learned can
    have a small ``ece``, which is therefore meant to stand beside another goal, as in ``pareto`` or ``lexicographic``.
    A network that is no longer finite counts as wrong everywhere, and has no finite NLL, Brier score or calibration
    error; a candidate whose gradients cannot be scaled has infinite fitness. Held-out labels have no noise and no
    imbalance.

    Metrics: ``error``, ``nll``, ``brier``, ``ece``, ``learning_rate`` and ``weight_decay``, at the setting that counts.
    """

    is_dear: ClassVar[bool] = True

    type: Literal["proxy_training"] = "proxy_training"
    fitness: Literal["error", "nll", "brier", "ece"] = Field(default="error", description="what is minimised")
    tasks: TaskOptions = TaskOptions()
    steps: Count = Field(default=100, ge=1, description="gradient steps of a training")
    batch_size: Count | None = Field(default=128, ge=1, description="samples of a step; null: all of the task's")
    hidden: tuple[Annotated[Count, Field(gt=0)], ...] = Field(
        default=(64, 64), min_length=1, description="widths of the hidden layers"
    )
    learning_rates: tuple[PositiveFloat, ...] = Field(
        default=(0.03, 0.1, 0.3), min_length=1, description="rates tried, of which the best counts"
    )
    weight_decays: tuple[NonNegativeFloat, ...] = Field(
        default=(0.0,), min_length=1, description="tried with each rate, of all weights and biases"
    )
    rate_by: Literal["fitness", "error"] = Field(
        default="fitness", description="what is smallest at the setting that counts: the fitness, or the error"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Nesterov momentum")

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Train and test classifiers for every candidate; of ``batch`` only the scale of the losses is taken."""
        num_classes = batch.log_probs_BC.shape[1]
        with one_thread():
            trials = self._draw(num_classes, generator)
            scale_P = gradient_scale(population, batch)
            return self._evaluated(population, scale_P, trials)

    def _evaluated(self, population: Population, scale_P: Tensor, trials: _Trials) -> Evaluation:
        size = self.chunk_size(trials.batches.device)
        results = []
        for start in range(0, population.num_solutions, size):
            index = torch.arange(start, start + size, device=scale_P.device)
            # Chunks have one shape, so that rounding does not depend on the number of candidates.
            index = torch.where(index < population.num_solutions, index, start)
            results.append(self._trained(chunk_of_one_size(population, index), scale_P[index], trials))
        values = {
            name: torch.cat([each[name] for each in results])[: population.num_solutions].nan_to_num(
                torch.inf, torch.inf
            )
            for name in results[0]
        }
        best_P1 = values[self.fitness if self.rate_by == "fitness" else "error"].argmin(dim=1, keepdim=True)
        metrics = {name: value_PR.gather(1, best_P1).squeeze(1) for name, value_PR in values.items()}
        chosen_P = best_P1.squeeze(1)
        rate_R, decay_R = torch.tensor(self._settings, dtype=torch.float64, device=scale_P.device).unbind(1)
        fitness_P = metrics[self.fitness].masked_fill(~(scale_P.isfinite() & (scale_P > 0)), torch.inf)
        return Evaluation(fitness_P, {**metrics, "learning_rate": rate_R[chosen_P], "weight_decay": decay_R[chosen_P]})

    @property
    def _settings(self) -> list[tuple[float, float]]:
        """Learning rate and weight decay of each of R settings."""
        return list(itertools.product(self.learning_rates, self.weight_decays))

    def _draw(self, num_classes: int, generator: torch.Generator) -> _Trials:
        tasks = draw_tasks(self.tasks, num_classes, generator)
        sizes = (self.tasks.num_features, *self.hidden, num_classes)
        weights = initial_weights(self.tasks.num_tasks, sizes, generator)
        num = self.tasks.num_samples
        # A row is a random subset; batches of consecutive steps are drawn independently.
        order = torch.rand(self.steps, num, generator=generator, device=generator.device).argsort(dim=1)
        return _Trials(tasks, weights, order[:, : self._num_rows])

    def chunk_size(self, device: torch.device) -> int:
        """Return how many candidates' classifiers are one computation, which costs the same for fewer."""
        rows = max(self._num_rows, self.tasks.num_held_out // 2)
        items = self.tasks.num_tasks * len(self._settings) * rows * max(self.hidden)
        return min(LARGEST_CHUNK, max(1, CHUNK_ITEMS[device.type] // items))

    @property
    def _num_rows(self) -> int:
        """Samples of a step."""
        num = self.tasks.num_samples
        return num if self.batch_size is None else min(self.batch_size, num)

    def _trained(self, population: Population, scale_P: Tensor, trials: _Trials) -> dict[str, Tensor]:
        """Return the means over tasks, (P, R), of every candidate and setting."""
        P, R, T = population.num_solutions, len(self._settings), self.tasks.num_tasks
        rate_R, decay_R = torch.tensor(self._settings, device=scale_P.device).unbind(1)
        rate_S11 = (scale_P[:, None, None] * rate_R[:, None]).expand(P, R, T).reshape(-1, 1, 1)
        # The rate has the loss's scale, and decay is of weights, whatever that scale is.
        decay_S11 = (decay_R[:, None] / scale_P[:, None, None]).expand(P, R, T).reshape(-1, 1, 1)
        networks = StackedMLP(
            [weight.repeat(P * R, 1, 1) for weight in trials.weights],
            self.momentum,
            decay_S11 if any(self.weight_decays) else None,
        )
        for step, rows_N in enumerate(trials.batches):
            inputs_TNF, labels_TN = trials.tasks.inputs_TNF[:, rows_N], trials.tasks.labels_TN[:, rows_N]
            logits_SNC = networks.outputs(inputs_TNF.repeat(P * R, 1, 1))
            gradient_PBC = population.gradients(
                logits_SNC.reshape(P, -1, logits_SNC.shape[2]), labels_TN.flatten().repeat(R)
            )
            gradient_SNC = gradient_PBC.reshape(logits_SNC.shape) / len(rows_N)
            networks.step(gradient_SNC, rate_S11 * (1 - step / self.steps))
        logits_SMC = networks.outputs(trials.tasks.held_out_inputs_TMF.repeat(P * R, 1, 1))
        labels_SM = trials.tasks.held_out_labels_TM.repeat(P * R, 1)
        scores = _scores(logits_SMC, labels_SM)
        return {name: score_S.reshape(P, R, T).mean(dim=2) for name, score_S in scores.items()}


@dataclass(frozen=True)
class _Trials:
    """What all candidates share: tasks, initial weights a task, and the rows of each step's batch."""

    tasks: Tasks
    weights: list[Tensor]
    batches: Tensor


def _scores(logits_SMC: Tensor, labels_SM: Tensor) -> dict[str, Tensor]:
    """Return the mean over samples, (S,), of each score by its name."""
    log_probs_SMC = torch.log_softmax(logits_SMC, dim=2)
    probs_SMC = log_probs_SMC.exp()
    confidence_SM, predicted_SM = log_probs_SMC.max(dim=2)
    correct_SM = (predicted_SM == labels_SM) & logits_SMC.isfinite().all(dim=2)
    own_SM = probs_SMC.gather(2, labels_SM[..., None]).squeeze(2)
    return {
        "error": 1 - correct_SM.float().mean(dim=1),
        "nll": -log_probs_SMC.gather(2, labels_SM[..., None]).squeeze(2).mean(dim=1),
        # sum_k (p_k - y_k)^2 = 1 - 2 p_y + sum_k p_k^2
        "brier": (1 - 2 * own_SM + probs_SMC.square().sum(dim=2)).mean(dim=1),
        "ece": _calibration_error(confidence_SM.exp(), correct_SM),
    }


def _calibration_error(confidence_SM: Tensor, correct_SM: Tensor) -> Tensor:
    """Return ece_S = sum over bins of |sum of (correct - confidence)| / M.

    Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    gap_SM = correct_SM.to(confidence_SM.dtype) - confidence_SM
    # Bins are (k/n, (k+1)/n]; what is not a number goes to the first and spoils the sum, as it should.
    bin_SM = ((confidence_SM * NUM_BINS).ceil() - 1).nan_to_num(0.0).clamp(0, NUM_BINS - 1).long()
    sums = gap_SM.new_zeros(len(gap_SM), NUM_BINS).scatter_add(1, bin_SM, gap_SM)
    return sums.abs().sum(dim=1) / gap_SM.shape[1]
