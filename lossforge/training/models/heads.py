"""Heads: the last layer of the built-in networks, from features x (N, D) and class weights w (C, D) to logits (N, C).

Angles between features and class weights are computed in float32, inside autocast too; float64 stays float64.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field, PlainSerializer
from torch import Tensor, nn

from lossforge.component import Options

ZERO_NORM = 1e-12
"""Vectors that are no longer, and products of two norms that are no larger, have no angle: their cosine counts as 0."""


class CosineLayer(nn.Module):
    """z_k = scale cos(theta_k), theta_k the angle between the features and the weights of class k.

    Features of norm 0 have logits of 0 and pass no gradient on.
    """

    def __init__(self, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        self.scale = scale

    def forward(self, features_ND: Tensor) -> Tensor:
        """Return logits_NC in [-scale, scale]."""
        with torch.autocast(features_ND.device.type, enabled=False):
            cosines_NC: Tensor = F.linear(_unit(_wide(features_ND)), _unit(_wide(self.weight)))
            return self.scale * cosines_NC


class LargeMarginLayer(nn.Module):
    """z_k = w_k . x; in training mode the label's own logit is lowered by a margin on its angle.

    With y the label, theta the angle between x and w_y and lambda the relaxation (Liu et al., ICML 2016)::

        z_y = (lambda |w_y| |x| cos(theta) + |w_y| |x| psi(theta)) / (1 + lambda)
        psi(theta) = (-1)^k cos(m theta) - 2k   for k pi / m <= theta <= (k + 1) pi / m, k = 0 ... m - 1
    """

    def __init__(self, num_features: int, num_classes: int, margin: int, relaxation: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        self.margin = margin
        self.relaxation = relaxation

    def forward(self, features_ND: Tensor, labels_N: Tensor | None = None) -> Tensor:
        """Return logits_NC; ``labels_N`` are class indices, which evaluation mode does not look at.

        Raises:
            ValueError: there are no labels, in training mode.
        """
        with torch.autocast(features_ND.device.type, enabled=False):
            features_ND, weight_CD = _wide(features_ND), _wide(self.weight)
            product_NC: Tensor = F.linear(features_ND, weight_CD)
            if not self.training:
                return product_NC
            if labels_N is None:
                raise ValueError("a large_margin head needs the labels in training mode; call network(images, labels)")
            norms_NC = torch.outer(_norm(features_ND).squeeze(1), _norm(weight_CD).squeeze(1))
            lowered_NC = margin_product(product_NC, norms_NC, self.margin)
            relaxed_NC = (self.relaxation * product_NC + lowered_NC) / (1.0 + self.relaxation)
            classes_C = torch.arange(len(weight_CD), device=labels_N.device)
            # Masked, not gathered: on a GPU the gradient of a gather is a sum in no particular order.
            return torch.where(labels_N[:, None] == classes_C, relaxed_NC, product_NC)


def margin_product(product: Tensor, norms: Tensor, margin: int) -> Tensor:
    """Return |w| |x| psi(theta) elementwise, given w . x = |w| |x| cos(theta) and |w| |x|.

    cos(m theta) comes from the recurrence of Chebyshev's polynomials, T_(j+1)(c) = 2 c T_j(c) - T_(j-1)(c), and k from
    comparisons, so that gradients are finite at every angle. For margin 1 it is ``product``.
    """
    cosine = product / norms.masked_fill(norms <= ZERO_NORM, math.inf)
    previous, current, k = norms, product, torch.zeros_like(product)  # |w| |x| T_0 and |w| |x| T_1
    for j in range(1, margin):
        previous, current = current, 2.0 * cosine * current - previous
        k = k + (cosine < math.cos(j * math.pi / margin))
    return (1.0 - 2.0 * (k % 2.0)) * current - 2.0 * k * norms


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _norm(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norms


def _unit(rows: Tensor) -> Tensor:
    norms = _norm(rows)
    return rows / norms.masked_fill(norms <= ZERO_NORM, math.inf)


class HeadOptions(Options, ABC):
    """The choice of a head."""

    @abstractmethod
    def layer(self, num_features: int, num_classes: int, *, bias: bool) -> nn.Module:
        """Return the layer; ``bias`` says whether the network's authors give their linear layer one."""


class LinearHead(HeadOptions):
    """``linear``: w_k . x + b_k, as the network's authors have it."""

    type: Literal["linear"] = "linear"

    def layer(self, num_features: int, num_classes: int, *, bias: bool) -> nn.Module:
        """Return a linear layer."""
        return nn.Linear(num_features, num_classes, bias=bias)


class CosineHead(HeadOptions):
    """``cosine``: the scale times the cosine of the angle between x and w_k; for losses of cosines, as am_softmax is.

    Such a loss has a scale of its own, and takes cosines of scale 1. Cross-entropy needs a larger one: with C classes
    its value cannot go below log(1 + (C - 1) exp(-2 scale)).
    """

    type: Literal["cosine"] = "cosine"
    scale: float = Field(default=1.0, gt=0.0, description="factor on the cosines")

    def layer(self, num_features: int, num_classes: int, *, bias: bool) -> nn.Module:
        """Return a layer without bias."""
        return CosineLayer(num_features, num_classes, self.scale)


class LargeMarginHead(HeadOptions):
    """``large_margin``: w_k . x, and in training a margin on the label's own angle (L-Softmax).

    At equal norms the label's class beats another only if m times its angle is below the other's. The lambda of the
    paper is large at first and lowered during training; here it stays what it is. W. Liu, Y. Wen, Z. Yu and M. Yang,
    "Large-Margin Softmax Loss for Convolutional Neural Networks", ICML 2016, arXiv 1612.02295.
    """

    type: Literal["large_margin"] = "large_margin"
    margin: int = Field(default=2, ge=1, le=8, description="m, factor on the label's angle; 1: no margin")
    relaxation: float = Field(
        default=0.0, ge=0.0, description="lambda, weight of the plain product beside the margin's, which has weight 1"
    )

    def layer(self, num_features: int, num_classes: int, *, bias: bool) -> nn.Module:
        """Return a layer without bias that takes labels in training mode."""
        return LargeMarginLayer(num_features, num_classes, self.margin, self.relaxation)


_TYPES = tuple(str(head.model_fields["type"].default) for head in (LinearHead, CosineHead, LargeMarginHead))


def _named(value: object) -> object:
    if isinstance(value, HeadOptions):
        return value
    given = {"type": value} if isinstance(value, str) else value
    name = given.get("type") if isinstance(given, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"expected a head, or a mapping with its type; heads: {', '.join(_TYPES)}")
    if name not in _TYPES:
        near = difflib.get_close_matches(name, _TYPES, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown head {name!r}{hint}; heads: {', '.join(_TYPES)}")
    return given


def _dumped(head: HeadOptions) -> dict[str, Any]:
    # Whole, also where defaults are left out: without its type a head could not be told from another.
    return head.model_dump(mode="json")


AnyHead = Annotated[
    LinearHead | CosineHead | LargeMarginHead,
    Field(discriminator="type"),
    BeforeValidator(_named),
    PlainSerializer(_dumped),
]
"""A field that holds a head: an instance, a mapping with a ``type``, or that type alone."""
