"""Networks of torchvision, untrained.

The TorchVision maintainers and contributors, "TorchVision: PyTorch's Computer Vision library", 2016; each network's
paper is named at https://pytorch.org/vision/stable/models.html.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import nn

from lossforge.interfaces import Model
from lossforge.training.models.adapters import built_elsewhere, known_name


class TorchvisionModel(Model):
    """Any classification network of torchvision by its name there, made for ImageNet.

    Weights have torchvision's own initial distributions. Most networks halve the image five times and need 32 pixels or
    more; ``inception_v3`` needs 75, ``maxvit_t`` multiples of 224. Vision transformers are built for the image's size,
    a square and a multiple of their patch. Auxiliary classifiers, of ``googlenet`` and ``inception_v3``, are left out.
    For images that do not have 3 channels the first convolution is replaced by one that takes them, drawn from torch's
    default distribution. Dropout and stochastic depth, where a network has them, draw from torch's global generator
    during training.
    """

    type: Literal["torchvision"] = "torchvision"
    name: str = Field(
        examples=["mobilenet_v3_small"], description="as in torchvision.models, such as mobilenet_v3_small"
    )

    @final
    def build(self, image_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator) -> nn.Module:
        """Return the network with weights from ``generator``.

        Raises:
            SpecError: torchvision has no such network, or it does not take images of this shape.
        """
        # Imported here: it takes seconds, and only building needs it.
        import torchvision.models

        names = torchvision.models.list_models(module=torchvision.models)
        how_to_list = "torchvision.models.list_models(module=torchvision.models)"
        name = known_name(self.name, names, "torchvision", how_to_list)
        return built_elsewhere(
            lambda: construct(name, image_shape, num_classes),
            f"torchvision's {name}",
            image_shape,
            num_classes,
            generator,
        )


def construct(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return the network of this name, drawn from torch's global generator."""
    import torchvision.models

    options = _options(name, image_shape)
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    return _for_channels(network, image_shape[0])


def _options(name: str, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the arguments that one network has and others do not."""
    _, height, width = image_shape
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name == "maxvit_t":
        return {"input_size": (height, width)}
    return {"image_size": height} if name.startswith("vit_") else {}


def _for_channels(network: nn.Module, channels: int) -> nn.Module:
    """Return the network with a first convolution that takes ``channels``."""
    path, first = next((path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels != channels:
        fitting = nn.Conv2d(
            channels,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=first.bias is not None,
        )
        network.set_submodule(path, fitting, strict=True)
    return network
