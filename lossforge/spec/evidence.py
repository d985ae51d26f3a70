"""How losses are compared: the frozen models that ``evidence:`` of a spec is read into."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema

from lossforge.component import Count, Options
from lossforge.fields import AnyLoss
from lossforge.spec.correlation import CorrelationSpec
from lossforge.spec.gap import GapSpec
from lossforge.spec.names import NAME_PATTERN
from lossforge.spec.training import LabelNoise, SymmetricNoise, TrainingSpec
from lossforge.spec.tuning import TuningSpec

_STANDARD: dict[str, Callable[[int], dict[str, Any]]] = {
    r"clean": lambda _: {},
    r"noise-(\d{1,2})": lambda percent: {"label_noise": {"type": "symmetric", "rate": percent / 100}},
    r"asymmetric-(\d{1,2})": lambda percent: {"label_noise": {"type": "asymmetric", "rate": percent / 100}},
    r"long-tail-(\d{1,6})": lambda ratio: {"long_tail": float(ratio)},
    r"few-(\d{1,9})": lambda num: {"num_train": num},
}
"""Names that say by themselves what they are."""

NAMES = "clean, noise-40, asymmetric-40 (percent), long-tail-100 (ratio), few-1000 (training images)"


class Condition(Options):
    """What a condition changes in the training; null: as the training says. Its name alone will do for the usual ones.

    These are ``clean``, ``noise-40`` (percent of wrong labels, symmetric), ``asymmetric-40``, ``long-tail-100`` (how
    much more images the first class has than the last) and ``few-1000`` (training images).
    """

    name: str = Field(min_length=1, max_length=60, pattern=NAME_PATTERN)
    label_noise: LabelNoise | None = Field(default=None, description="wrong labels in training and validation")
    long_tail: float | None = Field(default=None, ge=1, description="images of the first class over those of the last")
    num_train: Count | None = Field(default=None, ge=2, description="training images")

    def apply(self, training: TrainingSpec) -> TrainingSpec:
        """Return the training under this condition."""
        changes = {name: getattr(self, name) for name in ("label_noise", "long_tail", "num_train")}
        return training.model_copy(update={name: value for name, value in changes.items() if value is not None})


def _by_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for pattern, changes in _STANDARD.items():
        if match := re.fullmatch(pattern, value):
            number = int(match[1]) if match.groups() else 0
            return Condition.model_validate({"name": value, **changes(number)})
    raise ValueError(
        f"no condition is called {value!r}; there are {NAMES}, and others as {{name: ..., num_train: ...}}"
    )


class _Named(BeforeValidator):
    """Tells a JSON schema, too, that a name alone will do."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": f"^({'|'.join(_STANDARD)})$"}, handler(schema)]}


AnyCondition = Annotated[Condition, _Named(_by_name)]


class ControlsSpec(Options):
    """Arms that show what a difference is worth; each is tuned like any other."""

    null_arm: bool = Field(
        default=True, description="the reference once more, tuned and trained on seeds of its own: no difference at all"
    )
    rescaled: float | None = Field(
        default=2.0, gt=0, description="the reference times this factor: what a change of the learning rate buys"
    )
    random: bool = Field(
        default=True,
        description="for each found loss, random members of its family that pass the gates of its search, another one "
        "at each seed: what the search buys",
    )
    early_stopping: bool = Field(
        default=True,
        description="under label noise, the reference with the weights of its best epoch on validation labels as noisy",
    )


class EvidenceSpec(Options):
    """How the found loss is compared: against which losses, under which conditions, over how many seeds."""

    baselines: tuple[AnyLoss, ...] = Field(default=("cross_entropy",), min_length=1, validate_default=True)
    seeds: int = Field(default=3, ge=2, le=10**5, description="independent trainings of each loss")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="level of the intervals")
    margin: float = Field(
        default=0.5,
        gt=0,
        lt=100,
        description="points of accuracy: a deficit that is no matter, and a difference that is",
    )
    conditions: tuple[AnyCondition, ...] = Field(
        default=(), description=f"{NAMES}, or mappings with a name; none: the training as it is"
    )
    tuning: TuningSpec | None = Field(
        default=None, description="null: every loss is trained at the training's own values"
    )
    controls: ControlsSpec | None = Field(
        default_factory=lambda before: None if before.get("tuning") is None else ControlsSpec(),
        description="further arms; null: none. By default there are some where losses are tuned",
    )

    explain: bool = Field(default=False, description="say of each found loss what it is like")
    gap: GapSpec | None = Field(
        default=None, description="set predictions of the search beside those of trainings with each found loss"
    )
    correlate: CorrelationSpec | None = Field(
        default=None,
        description="hold synthetic objectives against the accuracy of a zoo of losses, under the first condition",
    )

    @field_validator("baselines")
    @classmethod
    def _types_differ(cls, baselines: tuple[AnyLoss, ...]) -> tuple[AnyLoss, ...]:
        if len(set(map(repr, baselines))) < len(baselines):
            raise ValueError("the same baseline stands here twice")
        return baselines

    @field_validator("conditions")
    @classmethod
    def _names_differ(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if len({condition.name for condition in conditions}) < len(conditions):
            raise ValueError("two conditions have one name")
        return conditions

    @property
    def reference(self) -> AnyLoss:
        """The baseline that differences are taken to: cross-entropy, or else the first."""
        usual = (baseline for baseline in self.baselines if baseline.label == "cross_entropy")
        return next(usual, self.baselines[0])

    @property
    def is_plain(self) -> bool:
        """Whether losses are only trained alike, as the training says."""
        further = (self.tuning, self.controls, self.gap, self.correlate)
        return not self.conditions and not self.explain and all(each is None for each in further)

    def under(self, training: TrainingSpec) -> dict[str, TrainingSpec]:
        """Return the training under each condition."""
        return {each.name: each.apply(training) for each in self.conditions} or {"as given": training}


def obstacle(evidence: EvidenceSpec, training: TrainingSpec) -> str | None:
    """Return why losses cannot be compared so on a training, or None if they can."""
    if evidence.correlate is not None and training.num_validation == 0:
        return "evidence.correlate takes accuracy on images held out: set training.num_validation"
    if evidence.tuning is not None and training.num_validation == 0:
        return "tuning chooses by images held out: set training.num_validation"
    under = evidence.under(training)
    if "clean" in under and is_noisy(under["clean"]):
        return "the condition 'clean' would have wrong labels: name those as a condition, and leave label_noise out"
    stops = evidence.controls is not None and evidence.controls.early_stopping
    noisy = any(each.label_noise is not None for each in under.values())
    if stops and noisy and training.num_validation == 0:
        return (
            "early stopping chooses by images held out: set training.num_validation, or controls.early_stopping: false"
        )
    if stops and noisy and training.ema_decay is not None:
        return "early stopping does not go with training.ema_decay; set controls.early_stopping: false"
    return None


def is_noisy(training: TrainingSpec) -> bool:
    """Return whether some labels of a training are wrong."""
    noise = training.label_noise
    return noise is not None and not (isinstance(noise, SymmetricNoise) and noise.rate == 0)
