"""Networks that are trained together: one, or several of one architecture as a grouped computation."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

COMPILE_MODES = {False: None, True: "reduce-overhead"}
"""Mode of torch.compile without and with CUDA graphs."""


class Replicas(nn.Module, ABC):
    """R networks of one architecture; the first dimension of what goes in and comes out counts them."""

    num_replicas: int

    @abstractmethod
    def forward(self, images_RBCHW: Tensor, labels_RB: Tensor) -> Tensor:
        """Return logits_RBC; the labels are for heads that put a margin on them."""

    @abstractmethod
    def network(self, index: int) -> nn.Module:
        """Return one of the networks, with its present weights, to predict with."""

    @torch.no_grad()
    def copy_replica(self, into: Mapping[str, Tensor], index: int) -> None:
        """Copy the present state of one of the networks to where it belongs in a ``state_dict`` of them all."""
        part: Any = ... if self.num_replicas == 1 else index
        for name, value in self.state_dict().items():
            into[name][part].copy_(value[part])


class SingleReplica(Replicas):
    """One network, R = 1."""

    num_replicas = 1

    def __init__(self, network: nn.Module, *, compiled: bool, cuda_graphs: bool) -> None:
        super().__init__()
        self.only = network
        self._takes_labels = takes_labels(network)
        call = torch.compile(network, mode=COMPILE_MODES[cuda_graphs], dynamic=False) if compiled else network
        self._call = (call,)  # a module would be registered a second time

    def forward(self, images_RBCHW: Tensor, labels_RB: Tensor) -> Tensor:
        """Return logits_RBC, R = 1."""
        (call,) = self._call
        logits_BC: Tensor = call(images_RBCHW[0], labels_RB[0]) if self._takes_labels else call(images_RBCHW[0])
        return logits_BC[None]

    def network(self, index: int) -> nn.Module:
        """Return the network."""
        return self.only


class _LowerPrecision(TorchFunctionMode):
    """Does to layers what autocast does, where that is on: below vmap it does not see all of them."""

    CASTED = (torch.conv1d, torch.conv2d, torch.conv3d, F.linear)

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self._device_type = device_type

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled(self._device_type):
            return function(*args, **kwargs)
        lower = torch.get_autocast_dtype(self._device_type)
        if function in self.CASTED:
            args = [_cast(each, torch.float32, lower) for each in args]
            return function(*args, **{name: _cast(each, torch.float32, lower) for name, each in kwargs.items()})
        if function is F.batch_norm and args[0].dtype == lower:  # vmap wants statistics of the same type
            return function(args[0].float(), *args[1:], **kwargs).to(lower)
        return function(*args, **kwargs)


def _cast(value: Any, given: torch.dtype, wanted: torch.dtype) -> Any:
    return value.to(wanted) if isinstance(value, Tensor) and value.dtype == given else value


class GroupedReplicas(Replicas):
    """Several networks whose weights lie behind one another in one tensor each.

    ``torch.func.vmap`` makes a grouped convolution of the R convolutions of a layer, a batched product of R products,
    and one batch norm over R times as many channels.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.num_replicas = len(networks)
        self._takes_labels = takes_labels(networks[0])
        parameters, buffers = torch.func.stack_module_state(list(networks))
        self._names = {name: name.replace(".", "/") for name in (*parameters, *buffers)}
        for name, value in parameters.items():
            self.register_parameter(self._names[name], nn.Parameter(value.detach(), value.requires_grad))
        for name, value in buffers.items():
            self.register_buffer(self._names[name], value)
        self._template = (copy.deepcopy(networks[0]),)  # a module would be registered, and trained

    def forward(self, images_RBCHW: Tensor, labels_RB: Tensor) -> Tensor:
        """Return logits_RBC."""
        state = {name: getattr(self, own) for name, own in self._names.items()}
        self._template[0].train(self.training)
        with _LowerPrecision(images_RBCHW.device.type):
            logits_RBC: Tensor = torch.func.vmap(self._of_one, randomness="error")(state, images_RBCHW, labels_RB)
        return logits_RBC

    def _of_one(self, state: dict[str, Tensor], images_BCHW: Tensor, labels_B: Tensor) -> Any:
        arguments = (images_BCHW, labels_B) if self._takes_labels else (images_BCHW,)
        return torch.func.functional_call(self._template[0], state, arguments)

    def network(self, index: int) -> nn.Module:
        """Return a network with the weights of one replica; it is the same module for all."""
        network = self._template[0].to(next(self.parameters()).device)
        with torch.no_grad():
            for name, value in itertools.chain(network.named_parameters(), network.named_buffers()):
                value.copy_(getattr(self, self._names[name])[index])
        return network


def grouping_refusal(network: nn.Module, image_shape: tuple[int, int, int]) -> str | None:
    """Return why networks such as this one cannot be grouped, as torch says, or None if they can; two are, for a try.

    Those that draw random numbers in training, as dropout does, cannot: the numbers would not be those of each alone.
    """
    pair = GroupedReplicas([network, network])
    try:
        pair(torch.zeros(2, 2, *image_shape), torch.zeros(2, 2, dtype=torch.int64))
    except RuntimeError as cause:  # what vmap cannot do is known by nothing else
        return str(cause).partition("\n")[0].partition(". ")[0]
    return None


def takes_labels(network: nn.Module) -> bool:
    """Return whether a network is given the labels in training."""
    return bool(getattr(network, "takes_labels", False))
