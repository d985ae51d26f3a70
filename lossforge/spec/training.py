"""How a classifier is trained on real images: the frozen models that ``training:`` of a spec is read into."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, PydanticCustomError

from lossforge.component import Count, Options
from lossforge.fields import AnyDataset, AnyModel
from lossforge.plugin_field import refuse_class
from lossforge.spec.problems import shorten

Precision = Literal["float32", "bfloat16"]
"""In which arithmetic a network is trained: in bfloat16, weights, optimiser state, logits and the loss stay float32."""

Replication = Literal["grouped", "processes", "in_turn"]
"""How several seeds are trained: as one grouped computation, in a process each, or one after the other."""


def _typed(*choices: type[Options]) -> BeforeValidator:
    """Let a group of options be given by its type alone, such as ``adamw``, or without its type: the first is meant.

    As a component it is read as JSON, so that a list can stand for a tuple.
    """
    classes = {str(each.model_fields["type"].default): each for each in choices}
    default = next(iter(classes))

    def chosen(value: Any) -> Any:
        refuse_class(value)
        options = {"type": value} if isinstance(value, str) else value
        if not isinstance(options, dict):
            return value
        name = options.get("type", default)
        if not isinstance(name, str) or name not in classes:
            wrong = _unknown(name, classes) if isinstance(name, str) else "'type' must be a string"
            message = f"{wrong}; there are {', '.join(classes)}"
            raise PydanticCustomError("component", "{message}", {"message": message})
        try:
            text = json.dumps({"type": name, **options})
        except TypeError as cause:
            raise PydanticCustomError("component", "{message}", {"message": f"not a plain value: {cause}"}) from cause
        return classes[name].model_validate_json(text)

    return _Choice(chosen)


class _Choice(BeforeValidator):
    """Tells a JSON schema, too, that a type alone will do, where all its options have defaults."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        choices = handler(schema)["oneOf"]
        definitions = [handler.resolve_ref_schema(choice) for choice in choices]
        alone = [each["properties"]["type"]["const"] for each in definitions if not each.get("required")]
        return {"anyOf": [*([{"enum": alone}] if alone else []), *choices]}


def _unknown(name: str, known: Iterable[str]) -> str:
    name = shorten(name)
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown type {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


class SGD(Options):
    """Stochastic gradient descent with momentum, by fused kernels.

    v <- m v + g, w <- w - r (g + m v) by Nesterov's rule, w <- w - r v without it, for the learning rate r. Weight
    decay d is an L2 penalty, g <- g + d w, or decoupled from the gradient, w <- (1 - r d) w (Loshchilov and Hutter,
    ICLR 2019, arXiv 1711.05101).
    """

    type: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    decoupled_weight_decay: bool = Field(default=False, description="shrink weights by r d apart from the gradient")

    @field_validator("nesterov")
    @classmethod
    def _nesterov_has_momentum(cls, nesterov: bool, info: ValidationInfo) -> bool:
        if nesterov and info.data.get("momentum") == 0:
            raise ValueError("Nesterov's rule needs momentum; set nesterov: false, or momentum above 0")
        return nesterov


class AdamW(Options):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101), by fused kernels."""

    type: Literal["adamw"] = "adamw"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)


def _by_optimizer(**usual: float) -> Callable[[dict[str, Any]], float]:
    """Return what makes a default of the fields before it: the usual value for the optimiser."""
    # Some versions of pydantic ask even where the optimiser is invalid, which they tell on its own.
    return lambda before: usual[getattr(before.get("optimizer"), "type", "sgd")]


class Triangular(Options):
    """Linear from 0 to the learning rate, then linear to 0."""

    type: Literal["triangular"] = "triangular"
    warmup_fraction: float = Field(default=0.3, ge=0, lt=1, description="share of the steps before the peak")


class Cosine(Options):
    """Linear from 0 to the learning rate, then half a cosine (Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983)."""

    type: Literal["cosine"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1, description="share of the steps before the peak")
    final_factor: float = Field(default=0.0, ge=0, le=1, description="share of the learning rate left at the end")


class Step(Options):
    """Constant, times ``factor`` from each milestone on (He et al., CVPR 2016: a tenth at 1/2 and 3/4 of the steps)."""

    type: Literal["step"] = "step"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5, 0.75), description="shares of the steps, rising"
    )
    factor: float = Field(default=0.1, gt=0, lt=1)
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1, description="share of the steps of a linear rise before")

    @field_validator("milestones")
    @classmethod
    def _rise(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones must rise")
        return milestones


class SymmetricNoise(Options):
    """With probability ``rate`` a label becomes one of the other classes, each alike."""

    type: Literal["symmetric"] = "symmetric"
    rate: float = Field(ge=0, le=1, description="share of wrong labels")


class AsymmetricNoise(Options):
    """With probability ``rate`` a label of certain classes becomes that of a class it is easily taken for.

    For the ten classes of CIFAR-10 ``pairs`` are, where none are given, those of Patrini et al. (CVPR 2017, arXiv
    1609.03683): truck to automobile, bird to airplane, deer to horse, cat and dog to each other.
    """

    type: Literal["asymmetric"] = "asymmetric"
    rate: float = Field(ge=0, le=1, description="share of wrong labels in each class that has them")
    pairs: Literal["usual", "next"] | tuple[tuple[str, str], ...] = Field(
        default="usual",
        description="names of classes, [from, to] each; usual: those of CIFAR-10; next: each class to the one after "
        "it, the last to the first",
    )


class FileNoise(Options):
    """Labels from a file, in place of the dataset's: a label for each training image, in the dataset's order."""

    type: Literal["file"] = "file"
    path: str = Field(min_length=1, description="an .npy of integers, or text with an integer a line; ~ is expanded")


Optimizer = Annotated[SGD | AdamW, Field(discriminator="type"), _typed(SGD, AdamW)]
Schedule = Annotated[Triangular | Cosine | Step, Field(discriminator="type"), _typed(Triangular, Cosine, Step)]
LabelNoise = Annotated[
    SymmetricNoise | AsymmetricNoise | FileNoise,
    Field(discriminator="type"),
    _typed(SymmetricNoise, AsymmetricNoise, FileNoise),
]


class TrainingSpec(Options):
    """Training of a classifier on real images, on one device, augmented in batches."""

    type: Literal["classifier"] = "classifier"
    dataset: AnyDataset
    model: AnyModel
    num_train: Count | None = Field(default=None, ge=2, description="training images, drawn at random; None: all left")
    num_validation: Count = Field(
        default=0,
        ge=0,
        description="images held out of the dataset's training part, drawn at random, for choices and the temperature",
    )
    num_test: Count | None = Field(default=None, ge=2, description="test images, drawn at random; None: all")
    label_noise: LabelNoise | None = Field(
        default=None, description="wrong labels in training and validation; the test stays clean"
    )
    long_tail: float | None = Field(
        default=None,
        ge=1,
        description="how much more training images the first class has than the last, falling exponentially between",
    )
    epochs: Count = Field(default=8, ge=1)
    batch_size: Count = Field(default=128, ge=2)
    optimizer: Optimizer = SGD()
    learning_rate: float = Field(
        default_factory=_by_optimizer(sgd=0.1, adamw=1e-3),
        gt=0,
        description="peak of the schedule; by default 0.1, and 0.001 for adamw",
    )
    schedule: Schedule = Triangular()
    weight_decay: float = Field(
        default_factory=_by_optimizer(sgd=5e-4, adamw=0.01), ge=0, description="by default 0.0005, and 0.01 for adamw"
    )
    decay_norms: bool = Field(default=True, description="whether biases and batch norms decay, too")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of the gradient; None: any")
    ema_decay: float | None = Field(
        default=None, gt=0, lt=1, description="test the running mean of weights, which keeps this share each step"
    )
    select_epoch: Literal["last", "best_validation"] = Field(
        default="last",
        description="whose weights are tested; best_validation: those of the epoch that is most accurate on the images "
        "held out, the first of several (early stopping)",
    )
    flip: bool = Field(default=True, description="mirror training images left to right at random")
    crop_padding: Count = Field(default=4, ge=0, description="reflected border, in pixels, of random crops; 0: none")
    cutout: Count = Field(default=0, ge=0, description="side, in pixels, of a square of zeros at random; 0: none")
    mixup: float = Field(default=0.0, ge=0, description="alpha of mixup's Beta distribution; 0: none")
    cutmix: float = Field(default=0.0, ge=0, description="alpha of CutMix's; with mixup, each batch has one of the two")
    precision: Literal["auto"] | Precision = Field(
        default="auto", description="auto: the faster one here, timed once before the first training"
    )
    compile: bool = Field(default=False, description="torch.compile the network: a minute at first, then faster steps")
    cuda_graphs: bool = Field(default=False, description="with compile, replay the network's kernels as CUDA graphs")
    stacked: int = Field(default=1, ge=1, le=1024, description="how many seeds of a loss are trained at once")
    replication: Literal["auto"] | Replication = Field(
        default="auto", description="how they are; auto: the fastest here, timed once before the first training"
    )

    @field_validator("select_epoch")
    @classmethod
    def _epochs_can_be_told_apart(cls, select_epoch: str, info: ValidationInfo) -> str:
        if select_epoch == "best_validation":
            if info.data.get("num_validation") == 0:
                raise ValueError("the best epoch is told by images held out; set num_validation")
            if info.data.get("ema_decay") is not None:
                raise ValueError("the mean of the weights is tested after the last epoch; leave ema_decay out")
        return select_epoch

    @field_validator("cuda_graphs")
    @classmethod
    def _graphs_are_compiled(cls, cuda_graphs: bool, info: ValidationInfo) -> bool:
        if cuda_graphs and not info.data.get("compile", True):
            raise ValueError("CUDA graphs are made by torch.compile; set compile: true, or leave this out")
        return cuda_graphs
