"""Fixed, published losses, and the loss module that every loss of lossforge is.

The losses themselves are looked up by name, or imported from the file of their name.

>>> import torch
>>> from lossforge import losses
>>> loss = losses.get("focal", gamma=2, label_smoothing=0.1)
>>> loss(torch.zeros(8, 10), torch.arange(8)).item()  # 0.9^2 log 10
1.865...
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lossforge import registry
from lossforge.errors import PluginLoadError
from lossforge.interfaces import Loss
from lossforge.losses.fixed import FixedLoss
from lossforge.losses.module import LossModule, per_class_by_rows

# Without "list": a star import must not hide the built-in one.
__all__ = ["FixedLoss", "LossModule", "get", "per_class_by_rows"]


def get(
    name: str,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    **options: Any,
) -> LossModule:
    """Return an installed loss as a module that takes the place of ``nn.CrossEntropyLoss``.

    Args:
        name: one of :func:`list`.
        weight: see :class:`LossModule`, as the next three.
        ignore_index: class index whose samples do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: share of the label that is spread over all classes.
        options: the fields of the loss component, such as ``gamma``.

    Raises:
        UnknownComponentError: nothing installed provides the loss; the message names the nearest and all installed.
        PluginError: the plugin that provides it is at fault.
        pydantic.ValidationError: an option is unknown or not valid.
        ValueError: another argument is not valid.
    """
    component = registry.get("losses", name).model_validate(options)
    if not isinstance(component, Loss):
        raise PluginLoadError(f"losses {name!r}: {type(component)!r} does not derive from lossforge.interfaces.Loss")
    return FixedLoss(
        component,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def list() -> tuple[str, ...]:
    """Return the sorted names of the installed losses; imports none of them."""
    return registry.types("losses")
