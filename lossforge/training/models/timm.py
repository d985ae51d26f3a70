"""Networks of timm, untrained.

R. Wightman, "PyTorch Image Models", 2019, https://github.com/huggingface/pytorch-image-models; each network's paper is
named in its module there.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import nn

from lossforge.errors import SpecError
from lossforge.interfaces import Model
from lossforge.training.models.adapters import built_elsewhere, known_name


class TimmModel(Model):
    """Any network of timm by its name there; timm is installed apart, with ``pip install timm``.

    Weights have timm's own initial distributions, and the first layer takes the image's channels. Networks that are
    made for one size of images are built for that of the data; some have sides that must be multiples of a patch or a
    window. Pretrained weights are never fetched, so a name has no tag behind a dot.
    """

    type: Literal["timm"] = "timm"
    name: str = Field(examples=["convnext_atto"], description="as timm.list_models() gives it, such as convnext_atto")

    @final
    def build(self, image_shape: tuple[int, int, int], num_classes: int, generator: torch.Generator) -> nn.Module:
        """Return the network with weights from ``generator``.

        Raises:
            SpecError: timm is not installed or has no such network, or it does not take images of this shape.
        """
        timm = _timm()
        name = known_name(self.name, timm.list_models(), "timm", "timm.list_models()")
        channels, height, width = image_shape
        fixed_size = timm.get_pretrained_cfg(name).fixed_input_size

        def construct() -> nn.Module:
            network: nn.Module = timm.create_model(
                name,
                pretrained=False,
                num_classes=num_classes,
                in_chans=channels,
                img_size=(height, width) if fixed_size else None,
            )
            return network

        return built_elsewhere(construct, f"timm's {name}", image_shape, num_classes, generator)


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as cause:
        if cause.name != "timm":
            raise
        raise SpecError(["model.type: timm is not installed; install it with: pip install timm"]) from cause
    return timm
