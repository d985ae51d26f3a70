"""The gap between a sampler and recordings, and the weights that lower it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lossforge import answers
from lossforge.errors import DataError
from lossforge.evidence.gap.comparison import GapFigures, compare_outputs
from lossforge.evidence.gap.distances import energy_distance
from lossforge.evidence.gap.features import Outputs, features, joined
from lossforge.evidence.gap.fit import fitted_shares
from lossforge.evidence.gap.mixtures import bounds_of, mixture_in, with_shares
from lossforge.evidence.gap.recording import Recording
from lossforge.evidence.gap.requirements import check_mixture
from lossforge.evidence.gap.result import ALL, Gap, Judge, WeightFit
from lossforge.interfaces import SyntheticSampler
from lossforge.spec.gap import GapSpec
from lossforge.streams import derive_generator

DECIMALS = 4
"""Of proposed weights: those that are judged are those that are written."""


def compare_recordings(
    sampler: SyntheticSampler, num_classes: int, recordings: Sequence[Recording], options: GapSpec, seed: int
) -> Gap:
    """Compare a sampler, at the end of its search, with recordings.

    Args:
        sampler: draws synthetic predictions.
        num_classes: of these.
        recordings: of one part, at least one.
        options: how.
        seed: of all that is drawn.

    Raises:
        DataError: recordings have another number of classes, or too few outputs.
        SpecError: weights are asked for, and the sampler has no regimes, or too many for the floor.
        SearchError: no weights were found.
    """
    _check(num_classes, recordings, options)
    if options.fit:
        check_mixture(sampler, options.floor)
    comparing = _Comparing(sampler, num_classes, options, seed)
    outputs = joined([each.outputs for each in recordings])
    groups = {
        name: comparing.figures(sampler, comparing.drawn_rows(group, index), index)
        for index, (name, group) in enumerate(_groups(recordings, outputs).items())
    }
    num = groups[ALL].num
    itself = comparing.figures(sampler, comparing.predictions(sampler, num, "gap.itself", 0), 0)
    sizes = {each.name: len(each.outputs) for each in recordings}
    return Gap(sampler, options, sizes, groups, itself, comparing.fit(recordings) if options.fit else None)


@dataclass(frozen=True)
class _Comparing:
    """What all comparisons of a gap share."""

    sampler: SyntheticSampler
    num_classes: int
    options: GapSpec
    seed: int

    def figures(self, sampler: SyntheticSampler, real: Outputs, index: int) -> GapFigures:
        """Return the gap between a sampler and real outputs."""
        synthetic = self.predictions(sampler, len(real), "gap.sampler", index)
        seed = derive_generator(self.seed, "gap.resamples", index).initial_seed()
        return compare_outputs(real, synthetic, bounds_of(self.sampler), self.options, seed)

    def predictions(self, sampler: SyntheticSampler, num: int, stream: str, index: int) -> Outputs:
        """Return what a sampler draws."""
        batch = answers.sample(sampler, num, self.num_classes, derive_generator(self.seed, stream, index), 1.0)
        return Outputs(batch.log_probs_BC, batch.labels_B, torch.zeros_like(batch.labels_B))

    def drawn_rows(self, outputs: Outputs, index: int) -> Outputs:
        """Return as many outputs as are compared at most, drawn at random; all where there are no more."""
        order_N = torch.randperm(len(outputs), generator=derive_generator(self.seed, "gap.outputs", index))
        return outputs.take(order_N[: self.options.samples].sort().values)

    def fit(self, recordings: Sequence[Recording]) -> WeightFit:
        """Return the weights found on one half of the recordings, judged on the other."""
        mixture = mixture_in(self.sampler)
        assert mixture is not None
        half, other, judged_on = self._halves(recordings)
        real = self.drawn_rows(half, 1)
        real_NF = features(real)
        alone = [with_shares(self.sampler, {name: 1.0}) for name in mixture.shares]
        drawn = [self.predictions(each, len(real), "gap.regimes", index) for index, each in enumerate(alone)]
        shares_K = fitted_shares(real_NF, [features(each) for each in drawn], self.options.floor)
        proposed = dict(zip(mixture.shares, shares_K.round(DECIMALS).tolist(), strict=True))
        sampler = with_shares(self.sampler, proposed)
        fitted = [
            energy_distance(real_NF, features(self.predictions(each, len(real), "gap.fitted", 0)))
            for each in (self.sampler, sampler)
        ]
        judge = self.drawn_rows(other, 2)
        return WeightFit(
            weights=dict(mixture.shares),
            proposed=proposed,
            judged_on=judged_on,
            num_fitted=len(real),
            energy=(fitted[0], fitted[1]),
            before=self.figures(self.sampler, judge, -1),
            after=self.figures(sampler, judge, -1),
            sampler=sampler,
        )

    def _halves(self, recordings: Sequence[Recording]) -> tuple[Outputs, Outputs, Judge]:
        """Return two halves: of the trainings of each loss, or where a loss has only one, of the outputs."""
        halves: tuple[list[Outputs], list[Outputs]] = ([], [])
        for loss in dict.fromkeys(each.loss for each in recordings):
            own = [each.outputs for each in recordings if each.loss == loss]
            halves[0].extend(own[: (len(own) + 1) // 2])
            halves[1].extend(own[(len(own) + 1) // 2 :])
        if len(halves[0]) <= 2 * len(halves[1]):
            return joined(halves[0]), joined(halves[1]), "other trainings"
        outputs = joined([each.outputs for each in recordings])
        order_N = torch.randperm(len(outputs), generator=derive_generator(self.seed, "gap.halves"))
        first, second = order_N.tensor_split(2)
        return outputs.take(first), outputs.take(second), "other outputs of the same trainings"


def _groups(recordings: Sequence[Recording], outputs: Outputs) -> dict[str, Outputs]:
    groups = {ALL: outputs}
    epochs = sorted(set(outputs.epoch_N.tolist()) - {0})
    if len(epochs) > 1:
        for epoch in epochs:
            groups[f"epoch {epoch}"] = outputs.take((outputs.epoch_N == epoch).nonzero().squeeze(1))
    losses = list(dict.fromkeys(each.loss for each in recordings))
    if len(losses) > 1:
        for loss in losses:
            groups[loss] = joined([each.outputs for each in recordings if each.loss == loss])
    return groups


def _check(num_classes: int, recordings: Sequence[Recording], options: GapSpec) -> None:
    if not recordings:
        raise DataError("there is no recording to compare with; name a loss to train with, or a file")
    for each in recordings:
        if each.outputs.num_classes != num_classes:
            found = each.outputs.num_classes
            raise DataError(
                f"{each.name}: outputs of {found} classes, and the sampler is asked for {num_classes}; set "
                f"search.num_classes to {found}, or record others"
            )
    least = 2 * options.least_samples  # so that halves have enough, too
    parts = {each.name: each.outputs for each in recordings}
    for name, part in {**parts, **_groups(recordings, joined(list(parts.values())))}.items():
        if len(part) < least:
            more = "hold out more images" if options.part == "held_out" else "record more batches"
            raise DataError(f"{name}: {len(part)} outputs, and at least {least} are needed; {more}")
