"""Light augmentation: random mirroring, random crops of a reflected border and cutout, for a whole batch at once.

Mirroring and crop are one gather: each output pixel knows the input pixel it comes from, so nothing is padded, no image
is handled by itself, and shapes never change. Draws are made for a whole epoch, apart from the images they are for.

Cutout: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, arXiv
1708.04552.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AugmentationDraws:
    """What chance decided for N images.

    Attributes:
        flip_N: bool, mirror the image left to right.
        shift_N2: int64, rows and columns that the crop lies off the centre, in [-padding, padding].
        hole_N2: float32 in [0, 1), where the middle of the hole is, in shares of height and width; None: no holes.
    """

    flip_N: Tensor
    shift_N2: Tensor
    hole_N2: Tensor | None = None

    def take(self, part: slice) -> AugmentationDraws:
        """Return the draws of a part of the images."""
        hole_N2 = None if self.hole_N2 is None else self.hole_N2[part]
        return AugmentationDraws(self.flip_N[part], self.shift_N2[part], hole_N2)

    def to(self, device: torch.device) -> AugmentationDraws:
        """Return the draws on a device."""
        hole_N2 = None if self.hole_N2 is None else self.hole_N2.to(device)
        return AugmentationDraws(self.flip_N.to(device), self.shift_N2.to(device), hole_N2)


def draw_augmentation(
    num: int, *, flip: bool, padding: int, generator: torch.Generator, cutout: bool = False
) -> AugmentationDraws:
    """Draw for ``num`` images on the generator's device; without ``flip`` none is mirrored."""
    device = generator.device
    flip_N = torch.rand(num, generator=generator, device=device) < (0.5 if flip else 0.0)
    shift_N2 = torch.randint(-padding, padding + 1, (num, 2), generator=generator, device=device)
    hole_N2 = torch.rand(num, 2, generator=generator, device=device) if cutout else None
    return AugmentationDraws(flip_N, shift_N2, hole_N2)


def augmented_batch(images_NCHW: Tensor, index_B: Tensor, draws: AugmentationDraws) -> Tensor:
    """Return the images at ``index_B``, mirrored and cropped; of the same size, in channels-last memory.

    out[b, c, i, j] = mirror(images[index_b])[c, r(i + shift_b0, H), r(j + shift_b1, W)], where r reflects at the
    border without repeating it, as numpy's ``pad(mode="reflect")``.

    Args:
        images_NCHW: images of any type; fastest in channels-last memory.
        index_B: which images to take (int64), on the same device.
        draws: one draw for each of the B images, on the same device; shifts must be smaller than H and W.
    """
    height, width = images_NCHW.shape[2:]
    rows_BH = _reflected(draws.shift_N2[:, :1], height)
    columns_BW = _reflected(draws.shift_N2[:, 1:], width)
    columns_BW = torch.where(draws.flip_N[:, None], width - 1 - columns_BW, columns_BW)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1)
    batch_BHWC = images_NHWC[index_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]
    return batch_BHWC.permute(0, 3, 1, 2)


def cut_out(images_BCHW: Tensor, hole_B2: Tensor, side: int) -> Tensor:
    """Set a square of ``side`` pixels in each image to 0, in place; what of it lies outside the image is lost.

    Its middle is pixel (floor(h H), floor(w W)), each as likely, with (h, w) from ``hole_B2``. Normalised images are
    grey there, at the mean of the training images.
    """
    height, width = images_BCHW.shape[2:]
    inside_BH = _near(hole_B2[:, :1], height, side)
    inside_BW = _near(hole_B2[:, 1:], width, side)
    return images_BCHW.masked_fill_((inside_BH[:, :, None] & inside_BW[:, None, :])[:, None], 0.0)


def _near(share_B1: Tensor, size: int, side: int) -> Tensor:
    """Return which of the positions 0..size-1 lie in the stretch of ``side`` around the one at a share of the size."""
    first_B1 = (share_B1 * size).long() - side // 2
    positions = torch.arange(size, device=share_B1.device)
    return (positions >= first_B1) & (positions < first_B1 + side)


def _reflected(shift_B1: Tensor, size: int) -> Tensor:
    """Return the (B, size) positions 0..size-1 moved by the shift and reflected into 0..size-1."""
    moved = torch.arange(size, device=shift_B1.device) + shift_B1
    return (size - 1) - ((size - 1) - moved.abs()).abs()
