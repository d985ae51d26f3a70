"""A published loss as a loss module."""

from __future__ import annotations

from torch import Tensor

from lossforge.interfaces import ClasswiseLoss, Loss
from lossforge.losses.module import LossModule, per_class_by_rows


def every_class(loss: Loss, logits_NC: Tensor) -> Tensor:
    """Return loss_NC = l(z, k) for every class k, in the cheapest way the loss offers."""
    if isinstance(loss, ClasswiseLoss):
        return loss.per_class(logits_NC)
    return per_class_by_rows(loss.per_sample, logits_NC)


class FixedLoss(LossModule):
    """A :class:`~lossforge.interfaces.Loss` component as a drop-in for ``nn.CrossEntropyLoss``.

    A :class:`~lossforge.interfaces.ClasswiseLoss`, as all of lossforge are, knows its values for all classes at once;
    any other loss costs C times a plain evaluation where the target is not a plain class index.

    Args:
        component: the loss and its options.
        weight: see :class:`LossModule`, as the other arguments.
    """

    def __init__(
        self,
        component: Loss,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
        self.component = component

    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        """Return loss_N = l(z, target)."""
        return self.component.per_sample(logits_NC, target_N)

    def per_class(self, logits_NC: Tensor) -> Tensor:
        """Return loss_NC = l(z, k) for every class k."""
        return every_class(self.component, logits_NC)

    def extra_repr(self) -> str:
        """Return the component and the options, for ``repr``."""
        return f"{self.component!r}, {super().extra_repr()}"
