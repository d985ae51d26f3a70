"""A found loss as a module: the parameterization's own formula, at one solution."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.interfaces import LossParameterization
from lossforge.losses import LossModule
from lossforge.losses.module import per_class_by_rows


class LearnedLoss(LossModule):
    """Drop-in for ``nn.CrossEntropyLoss`` that evaluates scale * parameterization.loss(solution).

    It calls the very code that the search evaluated, so that what was selected is what trains. Solution and scale are
    buffers: they move with ``.to(device)`` and are part of ``state_dict``.
    """

    solution: Tensor
    scale: Tensor

    def __init__(
        self,
        parameterization: LossParameterization,
        solution_D: Tensor,
        scale: float,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
        self.parameterization = parameterization
        self.register_buffer("solution", solution_D.detach().clone())
        self.register_buffer("scale", torch.tensor(scale, dtype=solution_D.dtype, device=solution_D.device))

    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        """Return loss_N; ValueError where the family is made for another number of classes."""
        required = self.parameterization.class_count
        if required not in (None, logits_NC.shape[1]):
            raise ValueError(
                f"this loss is for {required} classes, the logits have {logits_NC.shape[1]}; search anew with "
                "search.num_classes set to theirs"
            )
        log_probs = torch.log_softmax(logits_NC, dim=-1)
        value = self.parameterization.loss(self.solution[None], log_probs[None], target_N)[0]
        return value * self.scale.to(value.dtype)

    def per_class(self, logits_NC: Tensor) -> Tensor:
        """Return loss_NC, the value for every class as the target."""
        return per_class_by_rows(self.per_sample, logits_NC)

    def extra_repr(self) -> str:
        """Show the family, its number of parameters and the scale."""
        own = f"{self.parameterization.type}, num_parameters={len(self.solution)}, scale={self.scale.item():.4g}"
        return f"{own}, {super().extra_repr()}"
