"""Mixtures of two images and their labels, for a whole batch at once.

Mixup: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412.
CutMix: Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features", ICCV 2019, arXiv 1905.04899.

Each image meets its neighbour in the batch, which is a random one, for the order is. The target is lambda q_a +
(1 - lambda) q_b; as a loss module is linear in q, its value is lambda l(z, a) + (1 - lambda) l(z, b), which costs two
evaluations and not C. (Where the module has class weights, each of the two means is divided by its own sum of weights.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed with their neighbours.

    Attributes:
        share: lambda, the share of an image itself, in [0, 1].
        box: rows and columns (top, bottom, left, right) that CutMix takes from the neighbour; None: mixup.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mixes(
    num: int, *, mixup: float, cutmix: float, size: tuple[int, int], generator: torch.Generator
) -> list[Mix]:
    """Draw for ``num`` batches; lambda is of the distribution Beta(alpha, alpha).

    Args:
        num: how many batches.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of CutMix; where both are positive each batch has either, at even odds.
        size: height and width of the images.
        generator: a CPU generator.
    """
    mixes = []
    for _ in range(num):
        coin, middle_h, middle_w = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        by_box = cutmix > 0 and (mixup == 0 or coin < 0.5)
        share = _beta(cutmix if by_box else mixup, generator)
        mixes.append(_cut(share, middle_h, middle_w, size) if by_box else Mix(share))
    return mixes


def mixed(images_BCHW: Tensor, mix: Mix) -> Tensor:
    """Mix float images with their neighbours, in place: image b with image b - 1, the first with the last."""
    neighbours_BCHW = images_BCHW.roll(1, dims=0)
    if mix.box is None:
        return images_BCHW.lerp_(neighbours_BCHW, 1.0 - mix.share)
    top, bottom, left, right = mix.box
    images_BCHW[:, :, top:bottom, left:right] = neighbours_BCHW[:, :, top:bottom, left:right]
    return images_BCHW


def _cut(share: float, middle_h: float, middle_w: float, size: tuple[int, int]) -> Mix:
    """Return a box of a share 1 - lambda of the image, cut at its border, with the lambda that is left then."""
    height, width = size
    side = (1.0 - share) ** 0.5
    top, bottom = _stretch(middle_h, side, height)
    left, right = _stretch(middle_w, side, width)
    return Mix(1.0 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))


def _stretch(middle: float, share: float, size: int) -> tuple[int, int]:
    position, half = int(middle * size), int(share * size) // 2
    return max(position - half, 0), min(position + half, size)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """Return a draw of Beta(alpha, alpha), x / (x + y) for two draws of Gamma(alpha).

    Gamma(a) is Gamma(a + 1) u^(1/a) with u uniform, in logarithms: for small alpha both draws underflow.
    """
    gamma_2 = torch._standard_gamma(torch.full((2,), alpha + 1.0, dtype=torch.float64), generator=generator)
    uniform_2 = 1.0 - torch.rand(2, generator=generator, dtype=torch.float64)
    log_2 = gamma_2.log() + uniform_2.log() / alpha
    return float(torch.sigmoid(log_2[0] - log_2[1]))
