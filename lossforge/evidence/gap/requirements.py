"""What a gap needs, looked at before anything is trained."""

from __future__ import annotations

from lossforge.errors import DataError, SpecError
from lossforge.evidence.gap.mixtures import mixture_in
from lossforge.interfaces import SyntheticSampler
from lossforge.spec.gap import GapSpec
from lossforge.spec.model import SearchSpec
from lossforge.spec.training import TrainingSpec
from lossforge.training import PreparedData

LOSSES = 2
"""A found loss, and the reference."""


def check_gap(search: SearchSpec, training: TrainingSpec, options: GapSpec, data: PreparedData | None) -> None:
    """Refuse a gap between a search's predictions and trainings on some images that cannot be measured.

    Args:
        search: its sampler and number of classes are looked at.
        training: how each training is done.
        options: what is recorded, and how it is compared.
        data: the images; None: they are not looked at.

    Raises:
        SpecError: an epoch to record is beyond the training, no images are held out whose outputs are wanted, or
            weights are asked for, and the sampler has none, or too many for the floor.
        DataError: the images have another number of classes, or recordings would have too few outputs.
    """
    if options.fit:
        check_mixture(search.sampler, options.floor)
    epochs = recorded_epochs(training, options)
    if data is None:
        return
    check_classes(data, training, search.num_classes)
    of_epoch = _num_outputs(training, options, data)
    # Outputs of a recording, and of an epoch of all recordings, are halved; see compare_recordings.
    smallest = of_epoch * min(len(epochs), LOSSES * options.seeds)
    least = 2 * options.least_samples
    if smallest < least:
        remedy = "training.num_validation" if options.part == "held_out" else "batches"
        raise DataError(f"gap: {smallest} outputs would be compared, and at least {least} are needed; raise {remedy}")


def recorded_epochs(training: TrainingSpec, options: GapSpec) -> tuple[int, ...]:
    """Return the epochs whose outputs are recorded.

    Raises:
        SpecError: one is beyond the training, or no images are held out whose outputs are wanted.
    """
    try:
        epochs = options.epochs_of(training.epochs)
    except ValueError as cause:
        raise SpecError([f"epochs_at: {cause}; raise training.epochs, or ask for earlier ones"]) from cause
    if options.part == "held_out" and not training.num_validation:
        raise SpecError(["part: held_out needs images that are held out; set training.num_validation"])
    return epochs


def check_classes(data: PreparedData, training: TrainingSpec, num_classes: int) -> None:
    """Raise DataError where images have another number of classes than a sampler is asked for."""
    if data.num_classes != num_classes:
        raise DataError(
            f"the dataset {training.dataset.type!r} has {data.num_classes} classes, and the sampler is asked for "
            f"{num_classes}; set search.num_classes to {data.num_classes}, or leave the gap out"
        )


def check_mixture(sampler: SyntheticSampler, floor: float) -> None:
    """Raise SpecError where a sampler has no weights to fit, or too many for the floor."""
    mixture = mixture_in(sampler)
    if mixture is None:
        raise SpecError(
            [f"search.sampler: {sampler.type!r} has no weights to fit; use a mixture, or leave the fit out"]
        )
    if len(mixture.shares) * floor > 1:
        raise SpecError(
            [
                f"floor: {len(mixture.shares)} regimes cannot each have {floor:g}; use "
                f"{1 / len(mixture.shares):.3g} at most"
            ]
        )


def _num_outputs(training: TrainingSpec, options: GapSpec, data: PreparedData) -> int:
    """Return how many outputs are recorded in an epoch."""
    if options.part == "held_out":
        return 0 if data.validation is None else len(data.validation.labels_N)
    num = len(data.train.labels_N)
    batch_size = min(training.batch_size, num)
    calls = 2 if training.mixup or training.cutmix else 1  # of the loss in a step
    return calls * batch_size * min(options.batches, num // batch_size)
