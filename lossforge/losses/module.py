"""The loss module: what every loss of lossforge is to its user, a drop-in for ``nn.CrossEntropyLoss``.

Exported losses carry the source of :class:`LossModule` and :func:`per_class_by_rows`, so each of the two needs nothing
but ``torch``, ``Tensor`` and ``nn``; an annotation that needs more is a string.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class LossModule(nn.Module):
    """Base of losses that stand in for ``nn.CrossEntropyLoss``.

    A subclass defines l(z, k), the loss of logits z for class k, by :meth:`per_sample` and :meth:`per_class`; every
    option follows from one rule, with q the one-hot, smoothed or given class probabilities:

        l(z, q) = sum_k weight_k q_k l(z, k)

    ``mean`` divides the sum over samples by the sum of weight_y over samples that are not ignored, for class indices,
    and by the number of samples N, for class probabilities. Smoothing turns q into (1 - s) q + s / C.

    Half-precision logits are computed in float32, inside autocast too; float64 stays float64. Whatever the logits of an
    ignored sample are, its loss and its gradient are 0. The mean over no samples is NaN, as in torch. Logits of
    one class, whose cross-entropy is 0, are refused; a class index out of range is torch's own error.

    Args:
        weight: (C,) factor of each class, or None for 1.
        ignore_index: class index whose samples do not count; has no effect on class probabilities.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: s in [0, 1].

    Raises:
        ValueError: an argument is not as described.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if weight is not None and not (isinstance(weight, Tensor) and weight.dim() == 1 and weight.is_floating_point()):
            raise ValueError("weight must be None or a floating point tensor of shape (C,)")
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
            raise ValueError(f"ignore_index must be an integer, got {ignore_index!r}")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing!r}")
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        """Return loss_N = l(z, target), for class indices (int64) in [0, C); abstract."""
        raise NotImplementedError

    def per_class(self, logits_NC: Tensor) -> Tensor:
        """Return loss_NC = l(z, k) for every class k; abstract."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: (C,), (N, C) or (N, C, d1, ...).
            target: class indices, of the shape of the logits without C, or class probabilities, of their whole shape.

        Returns:
            A scalar, or with ``reduction="none"`` a tensor of the shape of the logits without C.

        Raises:
            ValueError: the shapes or types do not fit.
        """
        index_shape = self._checked_shape(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            logits_NC = self._as_rows(logits if logits.dtype == torch.float64 else logits.float())
            if target.is_floating_point():
                loss_N, share_N = self._of_probabilities(logits_NC, self._as_rows(target))
            else:
                loss_N, share_N = self._of_indices(logits_NC, target.reshape(-1).long())
            if self.reduction == "none":
                return loss_N.reshape(index_shape)
            return loss_N.sum() if self.reduction == "sum" else loss_N.sum() / share_N.sum()

    def extra_repr(self) -> str:
        """Return the options, for ``repr``."""
        weight = "" if self.weight is None else f"weight={tuple(self.weight.shape)}, "
        return (
            f"{weight}ignore_index={self.ignore_index}, reduction={self.reduction!r}, "
            f"label_smoothing={self.label_smoothing}"
        )

    def _of_indices(self, logits_NC: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss_N, and the share_N of each sample in what ``mean`` divides by."""
        ignored_N = target_N == self.ignore_index
        target_N = target_N.masked_fill(ignored_N, 0)
        # Masking the losses alone would leave 0 * NaN in the gradient where ignored logits are not finite.
        logits_NC = logits_NC.masked_fill(ignored_N[:, None], 0.0)
        weight_C = None if self.weight is None else self.weight.to(logits_NC.dtype)
        weight_N = logits_NC.new_ones(target_N.shape) if weight_C is None else weight_C[target_N]
        if self.label_smoothing:
            loss_NC = self.per_class(logits_NC)
            loss_N = weight_N * loss_NC.gather(1, target_N[:, None]).squeeze(1)
            spread_N = (loss_NC if weight_C is None else loss_NC * weight_C).mean(1)
            loss_N = (1.0 - self.label_smoothing) * loss_N + self.label_smoothing * spread_N
        else:
            loss_N = self.per_sample(logits_NC, target_N)
            loss_N = loss_N if weight_C is None else weight_N * loss_N
        return loss_N.masked_fill(ignored_N, 0.0), weight_N.masked_fill(ignored_N, 0.0)

    def _of_probabilities(self, logits_NC: Tensor, q_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss_N and share_N, which is 1 whatever the weights."""
        q_NC = q_NC.to(logits_NC.dtype)
        if self.label_smoothing:
            q_NC = (1.0 - self.label_smoothing) * q_NC + self.label_smoothing / q_NC.shape[1]
        if self.weight is not None:
            q_NC = q_NC * self.weight.to(q_NC.dtype)
        loss_N = (q_NC * self.per_class(logits_NC)).sum(1)
        return loss_N, torch.ones_like(loss_N)

    def _as_rows(self, values: Tensor) -> Tensor:
        """Return (C,), (N, C) or (N, C, d1, ...) as (rows, C)."""
        if values.dim() <= 2:
            return values.reshape(-1, values.shape[-1])
        return values.movedim(1, -1).flatten(0, -2)

    def _checked_shape(self, logits: Tensor, target: Tensor) -> tuple[int, ...]:
        """Return the shape of the logits without C; looks at shapes and types only, never at values."""
        shape = tuple(logits.shape)
        if not shape or not logits.is_floating_point():
            raise ValueError(
                f"logits must be floating point of shape (C,), (N, C) or (N, C, d1, ...), got {logits.dtype} {shape}"
            )
        num_classes = shape[0] if len(shape) == 1 else shape[1]
        if num_classes < 2:
            raise ValueError(
                f"logits {shape} have {num_classes} class(es), a loss compares at least 2; for two classes with one "
                f"logit z a sample, give torch.cat((torch.zeros_like(z), z), dim={min(len(shape), 2) - 1})"
            )
        if self.weight is not None and self.weight.shape[0] != num_classes:
            raise ValueError(f"weight has {self.weight.shape[0]} classes, logits {shape} have {num_classes}")
        if target.dtype == torch.bool or target.is_complex():
            raise ValueError(f"target must hold integers or floating point probabilities, got {target.dtype}")
        index_shape = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])
        if target.is_floating_point():
            if tuple(target.shape) != shape:
                raise ValueError(
                    f"class probabilities must have the shape {shape} of the logits, got {tuple(target.shape)}; "
                    "class indices must be integers"
                )
        elif tuple(target.shape) != index_shape:
            raise ValueError(
                f"class indices for logits {shape} must have shape {index_shape}, got {tuple(target.shape)}; "
                "class probabilities must be floating point"
            )
        return index_shape


def per_class_by_rows(
    per_sample: "Callable[[Tensor, Tensor], Tensor]", logits_NC: Tensor, max_rows: int = 65536
) -> Tensor:
    """Return loss_NC = l(z, k) for every class k by evaluating ``per_sample`` on C copies of each row.

    For losses with no cheaper way: costs C times a plain evaluation. Classes are taken in blocks of at most
    ``max_rows`` rows (one class, if N alone is more). Where there are several blocks, the backward pass evaluates each
    again instead of keeping it, so that memory is that of one block.

    Args:
        per_sample: maps (rows, C) logits and (rows,) class indices to (rows,) losses; draws no random numbers.
        logits_NC: logits.
        max_rows: rows evaluated at once.

    Raises:
        ValueError: ``max_rows`` is not positive.
    """
    from torch.utils.checkpoint import checkpoint  # here, so that the function's source stands alone

    if max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, got {max_rows}")

    def block(logits_NC: Tensor, first: int, num: int) -> Tensor:
        num_rows, num_classes = logits_NC.shape
        rows = logits_NC.expand(num, num_rows, num_classes).reshape(num * num_rows, num_classes)
        labels = torch.arange(first, first + num, device=logits_NC.device).repeat_interleave(num_rows)
        return per_sample(rows, labels).reshape(num, num_rows)

    num_rows, num_classes = logits_NC.shape
    step = max(1, max_rows // max(1, num_rows))
    if step >= num_classes:
        return block(logits_NC, 0, num_classes).T
    blocks = [
        checkpoint(
            block,
            logits_NC,
            first,
            min(step, num_classes - first),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for first in range(0, num_classes, step)
    ]
    return torch.cat(blocks).T
