"""What the adapters of other libraries' networks share."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from lossforge.errors import SpecError


def built_elsewhere(
    construct: Callable[[], nn.Module],
    called: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    generator: torch.Generator,
) -> nn.Module:
    """Return what ``construct`` makes, drawn from ``generator`` and tried on an image; ``called`` is for messages.

    Raises:
        SpecError: the network cannot be made for images of this shape, or does not take them, or returns something
            else than logits.
    """
    channels, height, width = image_shape
    with _drawing_from(generator):
        try:
            network = construct()
            logits = _tried(network, image_shape)
        except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as cause:
            reason = " ".join(str(cause).split()).rstrip(".") or "their sides do not fit its layers"
            images = f"images of {channels}x{height}x{width} (channels, height, width)"
            remedy = "choose another network, or images of another size"
            raise SpecError([f"model.name: {called} cannot take {images}: {reason}; {remedy}"]) from cause
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        what = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        wrong = f"returns {what} for one image, not {num_classes} logits"
        raise SpecError([f"model.name: {called} {wrong}; choose another network"])
    return network


def known_name(name: str, names: Sequence[str], library: str, how_to_list: str) -> str:
    """Return ``name``.

    Raises:
        SpecError: it is none of ``names``; the message has the nearest one and how to list all.
    """
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise SpecError([f"model.name: {library} has no classifier {name!r}{hint}; list them with {how_to_list}"])


@contextlib.contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Have torch's global CPU generator begin at a seed drawn from ``generator``, and be as before afterwards."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield


def _tried(network: nn.Module, image_shape: tuple[int, int, int]) -> object:
    """Return the output for one image in evaluation mode; the network is in training mode afterwards."""
    network.eval()
    with torch.no_grad():
        output: object = network(torch.zeros(1, *image_shape))
    network.train()
    return output
