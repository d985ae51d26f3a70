"""The trainings of contenders under one condition: tuning first, then those that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossforge.evidence.arms import Arms, Wanted, training_seed
from lossforge.evidence.contenders import FINAL, TUNING, Contender
from lossforge.evidence.store import identity_hash
from lossforge.evidence.tuning import Point, Tuned, points_wanted, score, tuned
from lossforge.spec.training import TrainingSpec
from lossforge.spec.tuning import TuningSpec
from lossforge.training import PreparedData, TrainingResult

HASH_LENGTH = 12
"""Hexadecimal digits of a hash in the name of a folder."""


@dataclass(frozen=True)
class Trainer:
    """Trains contenders alike under one condition; everything is stored by its content.

    Attributes:
        condition: its name.
        training: under this condition, with nothing left ``auto``.
        seed: of the comparison; images and training seeds derive from it.
        device: type of the device.
        data: gives the images.
        blind: gives them without those to test on.
        arms: where trainings come from.
        expect: told how many trainings are wanted next.
    """

    condition: str
    training: TrainingSpec
    seed: int
    device: str
    data: Callable[[], PreparedData]
    blind: Callable[[], PreparedData]
    arms: Arms
    expect: Callable[[int], None]

    def tune(self, spec: TuningSpec, contenders: Sequence[Contender]) -> dict[str, Tuned]:
        """Return what tuning comes to for each contender, by name.

        All that are not done are tried at their next points together. The trainings see no test images.
        """
        scores: dict[str, dict[Point, float | None]] = {each.name: {} for each in contenders}
        while tries := self._next_tries(spec, contenders, scores):
            wanted = [self._wanted(*each, TUNING, index) for each in tries for index in range(spec.seeds)]
            results = self._results(wanted)
            for number, (contender, point) in enumerate(tries):
                of_point = results[number * spec.seeds : (number + 1) * spec.seeds]
                scores[contender.name][point] = score(spec.metric, of_point)
        return {each.name: tuned(spec, self._of(each), scores[each.name]) for each in contenders}

    def train(
        self, contenders: Sequence[Contender], points: Mapping[str, Point], num_seeds: int
    ) -> dict[str, list[TrainingResult]]:
        """Return the final trainings of each contender, by name, in the order of seeds; the test set is read once."""
        planned = [
            (contender, index)
            for first in range(0, num_seeds, self.training.stacked)
            for contender in contenders
            for index in range(first, min(first + self.training.stacked, num_seeds))
        ]
        wanted = [self._wanted(contender, points[contender.name], FINAL, index) for contender, index in planned]
        results: dict[str, list[TrainingResult]] = {each.name: [] for each in contenders}
        for (contender, _), result in zip(planned, self._results(wanted), strict=True):
            results[contender.name].append(result)
        return results

    def _next_tries(
        self,
        spec: TuningSpec,
        contenders: Sequence[Contender],
        scores: Mapping[str, Mapping[Point, float | None]],
    ) -> list[tuple[Contender, Point]]:
        return [
            (contender, point)
            for contender in contenders
            for point in points_wanted(spec, self._of(contender), scores[contender.name])
        ]

    def _results(self, wanted: Sequence[Wanted]) -> list[TrainingResult]:
        self.expect(len(wanted))
        return [arm.result for arm in self.arms.arms(wanted)]

    def _of(self, contender: Contender) -> TrainingSpec:
        return self.training.model_copy(update=contender.changes)

    def _wanted(self, contender: Contender, point: Point, stream: str, index: int) -> Wanted:
        training = point.apply(self._of(contender))
        stream += contender.suffix
        is_tuning = stream.startswith(TUNING)
        loss = contender.loss(stream, index)
        follows_from = {
            "training": training.model_dump(mode="json"),
            "device": self.device,
            "run_seed": self.seed,
            "stream": stream,
            "loss": loss.identity,
        }
        of_folder = identity_hash({**follows_from, "loss": contender.identity})
        name = f"lr {point.learning_rate:.3g} wd {point.weight_decay:.3g}"
        return Wanted(
            loss=f"{contender.name} {name}" if is_tuning else contender.name,
            seed_index=index,
            training_seed=training_seed(self.seed, index, stream),
            training=training,
            data=self.blind if is_tuning else self.data,
            module=loss.module,
            follows_from=follows_from,
            place=f"{self.condition}/{contender.name}/{'tuning ' if is_tuning else ''}{name} {of_folder[:HASH_LENGTH]}",
            data_place=place_of_images(self.condition, self.seed, self.training.model_dump(mode="json")),
        )


def place_of_images(condition: str, seed: int, training: Mapping[str, Any]) -> str:
    """Return the folder, within that of all trainings, of the record of the images; by a hash of what they follow from.

    Args:
        condition: its name.
        seed: of the comparison.
        training: under the condition, as plain values.
    """
    names = ("dataset", "num_train", "num_validation", "num_test", "label_noise", "long_tail")
    follows_from = {"seed": seed, **{name: training[name] for name in names}}
    return f"{condition}/images {identity_hash(follows_from)[:HASH_LENGTH]}"
