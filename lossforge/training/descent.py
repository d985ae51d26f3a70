"""A step of gradient descent: fused kernels of torch, with the options that its optimisers lack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lossforge.spec.training import AdamW, TrainingSpec


class Descent:
    """The optimiser of a training, told the learning rate of each step; nothing is read back from the device.

    Args:
        spec: optimiser, weight decay, and the largest norm of the gradient.
        parameters: what is trained; those that require no gradient stay as they are.
        num_replicas: R; where it is more than 1, the first dimension of each parameter counts replicas, which have a
            norm of the gradient each.
    """

    def __init__(self, spec: TrainingSpec, parameters: Sequence[nn.Parameter], num_replicas: int = 1) -> None:
        self._clip_norm, self._num_replicas = spec.clip_norm, num_replicas
        self._parameters = [each for each in parameters if each.requires_grad]
        grouped_dims = 0 if num_replicas == 1 else 1
        decaying = [each for each in self._parameters if spec.decay_norms or each.dim() - grouped_dims > 1]
        others = [each for each in self._parameters if not (spec.decay_norms or each.dim() - grouped_dims > 1)]
        groups = [{"params": decaying, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._decoupled_decay = 0.0
        self._decaying: list[Tensor] = [*decaying]
        if not isinstance(spec.optimizer, AdamW) and spec.optimizer.decoupled_weight_decay:
            self._decoupled_decay, groups[0]["weight_decay"] = spec.weight_decay, 0.0
        self.optimizer = _optimizer(spec, [group for group in groups if group["params"]])

    def step(self, learning_rate: float) -> None:
        """Move the parameters by their gradients, and forget these."""
        if self._clip_norm is not None:
            self._clip(self._clip_norm)
        if self._decoupled_decay:
            with torch.no_grad():
                torch._foreach_mul_(self._decaying, 1.0 - learning_rate * self._decoupled_decay)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _clip(self, largest: float) -> None:
        """Scale each replica's gradient to a norm of at most ``largest``."""
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        if self._num_replicas == 1:
            torch.nn.utils.clip_grads_with_norm_(
                self._parameters, largest, torch.nn.utils.get_total_norm(gradients, foreach=True), foreach=True
            )
            return
        squares_R = torch.stack([each.flatten(1).square().sum(1) for each in gradients]).sum(0)
        factor_R = (largest / (squares_R.sqrt() + 1e-6)).clamp(max=1.0)  # 1e-6 as in torch
        for gradient in gradients:
            gradient.mul_(factor_R.view(-1, *[1] * (gradient.dim() - 1)))


def _optimizer(spec: TrainingSpec, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    options = spec.optimizer
    if isinstance(options, AdamW):
        betas = options.beta1, options.beta2
        return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=betas, eps=options.epsilon, fused=True)
    return torch.optim.SGD(
        groups, lr=spec.learning_rate, momentum=options.momentum, nesterov=options.nesterov, fused=True
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, of_one in state.items() for name, value in of_one.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser of the same parameters the state that :func:`optimizer_tensors` returned.

    A moment comes to lie in memory as its parameter does: fused kernels go through both from end to end.
    """
    content = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**content, "state": state})
    for parameter, of_one in optimizer.state.items():
        for name, value in of_one.items():
            if value.shape == parameter.shape:
                of_one[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
