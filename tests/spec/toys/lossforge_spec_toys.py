"""Components with options of every sort and no behaviour, which the tests of specs install for themselves."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lossforge.component import Component, Options
from lossforge.plugin_field import Plugin


class Family(Component):
    kind: ClassVar[str] = "parameterizations"
    type: Literal["toy_family"] = "toy_family"
    hidden: tuple[int, ...] = (8,)
    class_count: int | None = None


class Sampler(Component):
    kind: ClassVar[str] = "samplers"
    type: Literal["toy_sampler"] = "toy_sampler"
    inner: Annotated[Any, Plugin("samplers")] | None = None
    weights: dict[str, float] = Field(default_factory=dict)


class Goal(Component):
    kind: ClassVar[str] = "objectives"
    fitness_is_relative: ClassVar[bool] = False
    type: Literal["toy_goal"] = "toy_goal"
    title: str = "goal"
    enabled: bool = True
    span: tuple[float, float] = (0.0, 1.0)
    steps: int | Literal["auto"] = "auto"
    parts: tuple[Annotated[Any, Plugin("objectives")], ...] = ()


class Evolving(Component):
    kind: ClassVar[str] = "strategies"
    uses_mutation: ClassVar[bool] = True
    type: Literal["toy_evolving"] = "toy_evolving"
    num_children: int = Field(16, ge=1)


class Drawing(Component):
    kind: ClassVar[str] = "strategies"
    uses_mutation: ClassVar[bool] = False
    type: Literal["toy_drawing"] = "toy_drawing"


class Schedule(Options):
    start: float = 1.0
    end: float = Field(gt=0)


class Step(Component):
    kind: ClassVar[str] = "mutations"
    type: Literal["toy_step"] = "toy_step"
    sigma: float = Field(0.1, gt=0)
    map: Literal["logistic", "tent"] = "logistic"
    schedule: Schedule | None = None


class Entropy(Component):
    kind: ClassVar[str] = "losses"
    type: Literal["toy_entropy"] = "toy_entropy"


class Focal(Component):
    kind: ClassVar[str] = "losses"
    type: Literal["toy_focal"] = "toy_focal"
    gamma: float = 2.0


class Images(Component):
    kind: ClassVar[str] = "datasets"
    type: Literal["toy_images"] = "toy_images"
    folder: str


class Net(Component):
    kind: ClassVar[str] = "models"
    type: Literal["toy_net"] = "toy_net"
