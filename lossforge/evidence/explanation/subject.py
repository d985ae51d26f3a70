"""The loss that is explained, as a function of logits and labels: one value a row, in float64 where the loss allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossforge.artifact import Artifact, load_artifact
from lossforge.blame import blamed
from lossforge.component import Options
from lossforge.errors import PluginLoadError, SpecError, UnknownComponentError
from lossforge.evidence.train import is_path
from lossforge.fields import AnyLoss
from lossforge.interfaces import Loss
from lossforge.losses import FixedLoss, LossModule, per_class_by_rows
from lossforge.spec import load
from lossforge.spec.given import named

USUAL_CLASSES = 10
"""How many classes a loss is looked at with that says nothing else, beside the 3 of its field."""

MOST_CLASSES = 200
"""Hessians take C backward passes and C^2 numbers a prediction."""

_REFUSALS = (RuntimeError, TypeError, ValueError, IndexError)
"""What losses raise where they do not take a type or a number of classes."""


@dataclass(frozen=True)
class Subject:
    """A loss under study.

    Attributes:
        name: what it is called.
        description: the loss with its options.
        module: a copy in evaluation mode, with no reduction.
        dtype: float64, or float32 where the loss computes no better.
        num_classes: C, which it is looked at with.
        class_count: the only number of classes that it takes; None: any.
        component: the published loss, if it is one.
    """

    name: str
    description: str
    module: nn.Module
    dtype: torch.dtype
    num_classes: int
    class_count: int | None
    component: Loss | None

    def losses(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return loss_N."""
        return _rows(self.module, logits_NC, labels_N)

    def every_class(self, logits_NC: Tensor) -> Tensor:
        """Return loss_NC, each class in turn being the label."""
        module = self.module
        if isinstance(module, LossModule) and module.weight is None and not module.label_smoothing:
            return module.per_class(logits_NC)
        return per_class_by_rows(self.losses, logits_NC)

    def gradients(self, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Return dloss/dz (N, C)."""
        logits_NC = logits_NC.detach().requires_grad_()
        (gradient_NC,) = torch.autograd.grad(self.losses(logits_NC, labels_N).sum(), logits_NC)
        return gradient_NC


def subject(
    loss: str | Path | Loss | Mapping[str, Any] | nn.Module | Artifact, num_classes: int | None = None
) -> Subject:
    """Find a loss, and how it is to be called.

    Args:
        loss: name of an installed loss, one with options (a mapping, or text such as ``{type: gce, q: 0.5}``), the path
            of an artifact folder or a run directory, or a module ``loss(logits, labels)`` whose ``reduction`` can be
            set to ``"none"``, or that returns a value a row, or that can be called on single rows by
            ``torch.func.vmap``.
        num_classes: C; None: the number that the loss is made for, that its search had, or 10.

    Raises:
        UnknownComponentError, ArtifactError: there is no such loss.
        SpecError: it is no loss, has options that are not valid, or is made for another number of classes.
        PluginLoadError: the module fails, draws random numbers, cannot be differentiated, or is not finite.
    """
    name, described, module, component, usual = _found(loss)
    required = _required_classes(module)
    if required is not None and num_classes not in (None, required):
        raise SpecError([f"classes: {name} is made for {required} classes, not for {num_classes}"])
    num_classes = num_classes or required or usual
    if not 2 <= num_classes <= MOST_CLASSES:
        raise SpecError([f"classes: {num_classes}: must be from 2 to {MOST_CLASSES}"])
    module = copy.deepcopy(module).eval().cpu()
    if getattr(module, "reduction", None) in ("mean", "sum"):
        setattr(module, "reduction", "none")  # noqa: B010  a type checker takes it for a parameter
    what = f"loss {name} fails on (16, {num_classes}) float logits and int64 labels"
    with blamed(what, "it is called as loss(logits, labels)", but=(PluginLoadError,)):
        module, dtype = _in_best_precision(name, module, num_classes)
    if required is None and not _takes(module, dtype, 3):
        required = num_classes
    return Subject(name, described, module, dtype, num_classes, required, component)


def _found(loss: object) -> tuple[str, str, nn.Module, Loss | None, int]:
    """Return name, description, module, component if it is a published one, and how many classes to look at it with."""
    if isinstance(loss, str | Path) and is_path(loss):
        loss = load_artifact(Path(loss).expanduser())
    if isinstance(loss, Artifact):
        search = loss.evidence.get("search")
        usual = search.get("num_classes") if isinstance(search, Mapping) else None
        return loss.name, repr(loss)[1:-1], loss.loss(), None, usual if isinstance(usual, int) else USUAL_CLASSES
    if isinstance(loss, str):
        loss = _read(loss)
    elif isinstance(loss, Mapping):
        loss = _Given.model_validate({"loss": loss}).loss
    if isinstance(loss, FixedLoss):
        return loss.component.label, " ".join(repr(loss).split()), loss, loss.component, USUAL_CLASSES
    if isinstance(loss, Loss):
        return loss.label, repr(loss), FixedLoss(loss), loss, USUAL_CLASSES
    if isinstance(loss, nn.Module):
        return type(loss).__name__, " ".join(repr(loss).split()), loss, None, USUAL_CLASSES
    raise SpecError([f"a loss is a name, a path, a mapping with type, a component or a module, got {named(loss)}"])


class _Given(Options):
    """What names a published loss."""

    loss: AnyLoss


def _read(text: str) -> Loss:
    if "/" in text and not text.lstrip().startswith("{"):
        raise UnknownComponentError(f"{text}: no such path, and no loss is called so ('lossforge plugins list')")
    return load.from_text(_Given, "{}", "loss", [f"loss={text}"]).loss


def _required_classes(module: nn.Module) -> int | None:
    family = getattr(module, "parameterization", None)
    if (required := getattr(family, "class_count", None)) is not None:
        return int(required)
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, Tensor) and weight.dim() == 1 else None


def _rows(module: nn.Module, logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Return loss_N; a module that reduces, and cannot be told not to, is called on single rows."""
    value: Tensor = module(logits_NC, labels_N)
    if value.shape == labels_N.shape:
        return value

    def single(logits_C: Tensor, label: Tensor) -> Tensor:
        loss: Tensor = module(logits_C[None], label[None])
        return loss.reshape(())

    vectorised: Callable[..., Tensor] = torch.func.vmap(single)
    return vectorised(logits_NC, labels_N)


def _trial(module: nn.Module, dtype: torch.dtype, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the losses on a few predictions, and their derivatives."""
    entries = torch.arange(16 * num_classes, dtype=torch.float64).reshape(16, num_classes)
    logits = torch.sin(entries).to(dtype).requires_grad_()
    labels = torch.arange(16) % num_classes
    loss = _rows(module, logits, labels)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, allow_unused=True) if loss.requires_grad else (None,)
    if gradient is None:
        raise ValueError("it has no gradient in its logits")
    return loss.detach(), gradient


def _takes(module: nn.Module, dtype: torch.dtype, num_classes: int) -> bool:
    try:
        _trial(module, dtype, num_classes)
    except _REFUSALS:
        return False
    return True


def _in_best_precision(name: str, module: nn.Module, num_classes: int) -> tuple[nn.Module, torch.dtype]:
    double = copy.deepcopy(module).double()
    if _takes(double, torch.float64, num_classes):
        loss, gradient = _trial(double, torch.float64, num_classes)
        if loss.dtype == gradient.dtype == torch.float64:
            _refuse_odd(name, double, loss, torch.float64, num_classes)
            return double, torch.float64
    single = module.float()
    loss, _ = _trial(single, torch.float32, num_classes)
    _refuse_odd(name, single, loss, torch.float32, num_classes)
    return single, torch.float32


def _refuse_odd(name: str, module: nn.Module, loss: Tensor, dtype: torch.dtype, num_classes: int) -> None:
    if not loss.isfinite().all():
        raise PluginLoadError(f"loss {name}: is not finite for logits between -1 and 1")
    again, _ = _trial(module, dtype, num_classes)
    if not torch.equal(loss, again):
        raise PluginLoadError(
            f"loss {name}: twice the same predictions have two values; a loss that draws cannot be told of"
        )
