"""Random classification tasks, drawn in batches: what proxy training trains on.

Two families. Gaussian mixtures: each class is a mixture of unit normals around centres of its own. Random teachers:
normal inputs, labelled by the largest output of a random tanh network, which need neither be balanced nor well apart.
No user's data is looked at. Long-tailed class frequencies after Cui, Jia, Lin, Song and Belongie, "Class-Balanced Loss
Based on Effective Number of Samples", CVPR 2019, arXiv:1901.05555.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from lossforge.component import Count, Options

POOL_FACTOR = 8
"""For a class prior, teachers label so many times the samples wanted, of which each class gets its share."""

REFERENCE_SAMPLES = 1024
"""Inputs over which the mean of a teacher's outputs is taken."""


@dataclass(frozen=True)
class Tasks:
    """T tasks of N training samples and M held-out samples with F features.

    Attributes:
        inputs_TNF: training inputs, mean 0 and variance 1 over a task's samples and features, about.
        labels_TN: class indices, with label noise.
        held_out_inputs_TMF: likewise.
        held_out_labels_TM: without noise, all classes as frequent as the family makes them.
    """

    inputs_TNF: Tensor
    labels_TN: Tensor
    held_out_inputs_TMF: Tensor
    held_out_labels_TM: Tensor


class TaskOptions(Options):
    """What the tasks are like."""

    families: tuple[Literal["gaussian_mixture", "random_teacher"], ...] = Field(
        default=("gaussian_mixture", "random_teacher"), min_length=1, description="kinds of tasks, in turn"
    )
    num_tasks: Count = Field(default=16, ge=1, description="tasks drawn afresh in every evaluation")
    num_samples: Count = Field(default=500, ge=2, description="training samples of a task")
    num_held_out: Count = Field(default=1000, ge=2, description="held-out samples of a task")
    num_features: Count = Field(default=24, ge=1, description="features of a sample")
    separation: float = Field(
        default=0.6,
        gt=0,
        le=1e9,
        description="standard deviation of the centres of gaussian_mixture, in units of the noise",
    )
    centres_per_class: Count = Field(default=1, ge=1, description="centres of each class of gaussian_mixture")
    teacher_width: Count = Field(default=48, ge=1, description="hidden units of random_teacher")
    teacher_gain: float = Field(default=2.0, gt=0, description="sd of the teacher's pre-activations; larger is harder")
    label_noise: float = Field(
        default=0.0, ge=0, lt=1, description="share of training labels that are replaced by another class"
    )
    imbalance: float = Field(
        default=1.0, ge=1, le=1e6, description="how many times rarer the last class is in training than the first"
    )

    @model_validator(mode="after")
    def _families_differ(self) -> Self:
        if len(set(self.families)) < len(self.families):
            raise ValueError("the same family stands here twice")
        return self


class Family(Protocol):
    """Tasks of one kind."""

    def draw(self, num: int, prior_C: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``num`` inputs and labels of each task; without a prior, classes are as frequent as they come."""


class GaussianMixtures:
    """T tasks: x = (centre + N(0, I)) / sqrt(1 + separation^2), the centre drawn of those of the class."""

    def __init__(self, options: TaskOptions, num_tasks: int, num_classes: int, generator: torch.Generator) -> None:
        shape = (num_tasks, num_classes, options.centres_per_class, options.num_features)
        self._centres_TCKF = options.separation * _normal(shape, generator)
        self._scale = (1 + options.separation**2) ** -0.5

    def draw(self, num: int, prior_C: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw labels from the prior, or uniformly, and inputs given labels."""
        num_tasks, num_classes, num_centres, num_features = self._centres_TCKF.shape
        device = generator.device
        if prior_C is None:
            prior_C = torch.ones(num_classes, device=device)
        labels_TN = torch.multinomial(prior_C.expand(num_tasks, -1), num, replacement=True, generator=generator)
        centre_TN = torch.randint(num_centres, (num_tasks, num), generator=generator, device=device)
        task_T1 = torch.arange(num_tasks, device=device)[:, None]
        noise_TNF = _normal((num_tasks, num, num_features), generator)
        return self._scale * (self._centres_TCKF[task_T1, labels_TN, centre_TN] + noise_TNF), labels_TN


class RandomTeachers:
    """T tasks: x ~ N(0, I), y = argmax of W2 tanh(gain W1 x) less its mean, the rows of W1 and W2 of unit variance."""

    def __init__(self, options: TaskOptions, num_tasks: int, num_classes: int, generator: torch.Generator) -> None:
        features, width = options.num_features, options.teacher_width
        self._first_TFH = _normal((num_tasks, features, width), generator) * options.teacher_gain / features**0.5
        self._second_THC = _normal((num_tasks, width, num_classes), generator) / width**0.5
        # Without its mean over inputs, no class of the teacher is the largest everywhere.
        reference_TNF = _normal((num_tasks, REFERENCE_SAMPLES, features), generator)
        self._mean_T1C = self._outputs(reference_TNF).mean(dim=1, keepdim=True)

    def draw(self, num: int, prior_C: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw inputs and label them; for a prior, more, of which each class gets its share with replacement."""
        num_tasks, features = self._first_TFH.shape[:2]
        pool = num if prior_C is None else num * POOL_FACTOR
        inputs_TNF = _normal((num_tasks, pool, features), generator)
        labels_TN = (self._outputs(inputs_TNF) - self._mean_T1C).argmax(dim=2)
        if prior_C is None:
            return inputs_TNF, labels_TN
        counts_TC = F.one_hot(labels_TN, len(prior_C)).sum(dim=1)
        weight_TN = (prior_C / counts_TC.clamp_min(1)).gather(1, labels_TN)
        chosen_TN = torch.multinomial(weight_TN, num, replacement=True, generator=generator)
        task_T1 = torch.arange(num_tasks, device=chosen_TN.device)[:, None]
        return inputs_TNF[task_T1, chosen_TN], labels_TN[task_T1, chosen_TN]

    def _outputs(self, inputs_TNF: Tensor) -> Tensor:
        outputs_TNC: Tensor = torch.tanh(inputs_TNF @ self._first_TFH) @ self._second_THC
        return outputs_TNC


FAMILIES: dict[str, Callable[[TaskOptions, int, int, torch.Generator], Family]] = {
    "gaussian_mixture": GaussianMixtures,
    "random_teacher": RandomTeachers,
}


def draw_tasks(options: TaskOptions, num_classes: int, generator: torch.Generator) -> Tasks:
    """Draw ``options.num_tasks`` tasks, as evenly of the families as can be, the first families first."""
    prior_C = None
    if options.imbalance > 1:
        prior_C = long_tailed_prior(options.imbalance, num_classes, generator.device)
    parts = []
    for index, name in enumerate(options.families):
        num_tasks = len(range(index, options.num_tasks, len(options.families)))
        family: Family = FAMILIES[name](options, num_tasks, num_classes, generator)
        train = family.draw(options.num_samples, prior_C, generator)
        parts.append((*train, *family.draw(options.num_held_out, None, generator)))
    inputs_TNF, labels_TN, held_out_inputs_TMF, held_out_labels_TM = map(torch.cat, zip(*parts, strict=True))
    noisy_TN = with_label_noise(labels_TN, options.label_noise, num_classes, generator)
    return Tasks(inputs_TNF, noisy_TN, held_out_inputs_TMF, held_out_labels_TM)


def long_tailed_prior(imbalance: float, num_classes: int, device: torch.device) -> Tensor:
    """Return prior_C, from the first class to the last in geometric progression down to 1 / imbalance of it."""
    weight_C = imbalance ** -torch.linspace(0.0, 1.0, num_classes, device=device)
    return weight_C / weight_C.sum()


def with_label_noise(labels_TN: Tensor, rate: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Return labels of which a share ``rate``, each by itself, is one of the other classes, all equally likely."""
    flipped = torch.rand(labels_TN.shape, generator=generator, device=labels_TN.device) < rate
    shift = torch.randint(1, num_classes, labels_TN.shape, generator=generator, device=labels_TN.device)
    return torch.where(flipped, (labels_TN + shift) % num_classes, labels_TN)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
