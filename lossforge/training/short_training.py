"""How well does a network learn real images with the loss, in a few epochs?

Judging a loss by a short training on real data: Gonzalez and Miikkulainen, "Improved Training Speed, Accuracy, and Data
Utilization Through Loss Function Optimization", CEC 2020, arXiv:1905.11528. No longer free of the user's data, and
dear: made for the last rung of ``halving``.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from lossforge.component import Count
from lossforge.devices import is_queued
from lossforge.errors import DataError, SpecError
from lossforge.fields import AnyDataset, AnyModel
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Dataset, Objective, Population
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator, split_generator
from lossforge.training.data import PreparedData, prepare
from lossforge.training.loop import train_classifier
from lossforge.training.metrics import ClassificationMetrics
from lossforge.training.stratify import stratified_subset
from lossforge.types import Evaluation, ImageData, ImageSet, PredictionBatch


class ShortTraining(Objective):
    """Validation error, NLL or calibration of a network trained with the loss on real images for a few epochs.

    Training and validation images are drawn from the dataset's training part, each class in its share, afresh in every
    evaluation; its test part is never looked at. So are initial weights, order and augmentation, which are the same for
    all candidates; these are trained one after the other. Losses are first scaled to the gradient norm of
    cross-entropy on the search's synthetic batch, so that the learning rate means the same for all. Fitness, on the
    validation images after the last epoch:

    * ``error``: the share whose most likely class is wrong;
    * ``nll``: the mean of -log p_y, in nats;
    * ``ece``: the expected calibration error, 15 bins of equal width.

    A training that diverges has infinite fitness. Selection and held-out figures of a search come from the same
    training part by other draws: only the test part is new to the loss that is found. The dataset must have as many
    classes as the search.

    Metrics: ``error``, ``nll`` and ``ece``, not a number where the training diverged.
    """

    type: Literal["short_training"] = "short_training"
    dataset: AnyDataset
    model: AnyModel
    fitness: Literal["error", "nll", "ece"] = Field(default="error", description="what is minimised")
    num_train: Count | None = Field(default=None, ge=2, description="training images; null: all that are not held out")
    num_validation: Count = Field(default=1000, ge=2, description="images held out of the dataset's training part")
    epochs: Count = Field(default=2, ge=1)
    batch_size: Count = Field(default=128, ge=2, description="images of a step")
    learning_rate: float = Field(default=0.1, gt=0, description="peak of the schedule")
    weight_decay: float = Field(default=5e-4, ge=0, description="L2 penalty, on every parameter")
    flip: bool = Field(default=True, description="mirror training images left to right at random")
    crop_padding: Count = Field(default=4, ge=0, description="reflected border, in pixels, of random crops; 0: none")

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Train a network with every candidate; of ``batch`` only the scale of the losses is taken.

        Raises:
            SpecError: the dataset has another number of classes than the batch.
            DataError: it is not where it should be, or has too few images.
        """
        seed = split_generator(generator, 1)[0].initial_seed()
        spec = self._training_spec(seed, batch.log_probs_BC.device)
        data = self._prepared(spec, seed, batch)
        figures = [
            self._trained(population, index, scale, spec, data, seed)
            for index, scale in enumerate(gradient_scale(population, batch).tolist())
        ]
        figures_P3 = torch.tensor(figures, dtype=torch.float64, device=data.device).reshape(-1, 3)
        metrics = dict(zip(("error", "nll", "ece"), figures_P3.T, strict=True))
        fitness_P = metrics[self.fitness]
        return Evaluation(torch.where(fitness_P.isfinite(), fitness_P, torch.inf), metrics)

    def _training_spec(self, seed: int, device: torch.device) -> TrainingSpec:
        return TrainingSpec(
            dataset=_HeldOut(dataset=self.dataset, num_validation=self.num_validation, seed=seed),
            model=self.model,
            num_train=self.num_train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            flip=self.flip,
            crop_padding=self.crop_padding,
            precision="bfloat16" if is_queued(device) else "float32",  # by rule: a search does not hang on timings
        )

    def _prepared(self, spec: TrainingSpec, seed: int, batch: PredictionBatch) -> PreparedData:
        place = "search.objective: short_training: "
        try:
            data = prepare(spec, seed, batch.log_probs_BC.device, recorded=False)
        except SpecError as cause:
            raise SpecError([place + problem.removeprefix("training.") for problem in cause.problems]) from cause
        num_classes = batch.log_probs_BC.shape[1]
        if data.num_classes != num_classes:
            raise SpecError(
                [
                    f"{place}the dataset {self.dataset.type!r} has {data.num_classes} classes, the search has "
                    f"{num_classes}; set search.num_classes to {data.num_classes}"
                ]
            )
        return data

    def _trained(
        self, population: Population, index: int, scale: float, spec: TrainingSpec, data: PreparedData, seed: int
    ) -> tuple[float, float, float]:
        """Return error, NLL and ECE of a network trained with one candidate; NaN where that diverges."""
        if not 0 < scale < math.inf:
            return math.nan, math.nan, math.nan
        candidate = population.take(torch.tensor([index], device=data.device))
        metrics = train_classifier(spec, data, _CandidateLoss(candidate, scale), seed).metrics
        return _figures(metrics) if metrics is not None else (math.nan, math.nan, math.nan)


def _figures(metrics: ClassificationMetrics) -> tuple[float, float, float]:
    return 1 - metrics.accuracy, metrics.nll, metrics.ece


class _HeldOut(Dataset):
    """The training part of a dataset, some of it held out in place of the test part."""

    type: Literal["held_out"] = "held_out"
    dataset: AnyDataset
    num_validation: int
    seed: int

    def load(self) -> ImageData:
        whole = _loaded(type(self.dataset), self.dataset.model_dump_json())
        images, labels_N = whole.train.images_NCHW, whole.train.labels_N
        if self.num_validation > len(labels_N) - 2:
            raise DataError(
                f"num_validation asks for {self.num_validation} of {len(labels_N)} training images, and at least 2 are "
                "needed to train on; lower num_validation"
            )
        generator = derive_generator(self.seed, "short_training.validation")
        held_out_N = torch.zeros(len(labels_N), dtype=torch.bool)
        held_out_N[stratified_subset(labels_N, self.num_validation, generator)] = True
        return ImageData(
            train=ImageSet(images[~held_out_N], labels_N[~held_out_N]),
            test=ImageSet(images[held_out_N], labels_N[held_out_N]),
            class_names=whole.class_names,
        )


@functools.lru_cache(maxsize=2)
def _loaded(kind: type[Dataset], options: str) -> ImageData:
    """Return a dataset's images; kept, since every generation asks for them."""
    return kind.model_validate_json(options).load()


class _CandidateLoss(nn.Module):
    """Mean over the samples of the scaled loss of a population's one candidate."""

    def __init__(self, population: Population, scale: float) -> None:
        super().__init__()
        self._population, self._scale = population, scale

    def forward(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return the mean, differentiable in the logits."""
        value: Tensor = _MeanLoss.apply(logits_NC, labels_N, self._population, self._scale)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it holds nothing that a training changes, but workers that cannot be copied


class _MeanLoss(torch.autograd.Function):
    """What a population says of its losses and their gradients, as one differentiable function."""

    @staticmethod
    def forward(ctx: Any, logits_NC: Tensor, labels_N: Tensor, population: Population, scale: float) -> Tensor:
        ctx.save_for_backward(population.gradients(logits_NC[None], labels_N)[0] * (scale / len(labels_N)))
        return population.losses(torch.log_softmax(logits_NC, dim=1)[None], labels_N).mean() * scale

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_NC,) = ctx.saved_tensors
        return grad_output * gradient_NC, None, None, None
