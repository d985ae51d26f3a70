"""What the tests of evidence share."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lossforge.evidence import Arm, Choices, TrainingObserver
from lossforge.training import EpochRecord


class Notes(TrainingObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.choices: list[Choices] = []
        self.epochs: list[tuple[str, int, EpochRecord]] = []
        self.arms: list[Arm] = []

    def chosen(self, choices: Choices) -> None:
        self.choices.append(choices)

    def epoch(self, loss: str, records: Mapping[int, EpochRecord]) -> None:
        self.epochs += [(loss, seed, record) for seed, record in records.items()]

    def trained(self, arm: Arm) -> None:
        self.arms.append(arm)

    @property
    def restored(self) -> list[bool]:
        return [arm.restored for arm in self.arms]


@pytest.fixture
def notes() -> Notes:
    return Notes()
