"""What datasets in archives share: a cache that is hit without torchvision, and its errors with a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossforge.errors import DataError
from lossforge.training.image_cache import cached, files_digest
from lossforge.types import ImageData, ImageSet


def cached_archive(
    kind: str, root: Path, names: Sequence[str], options: Mapping[str, Any], decode: Callable[[], ImageData]
) -> ImageData:
    """Return the images from the cache, or decode them and put them there.

    Args:
        kind: the dataset's type.
        root: the dataset's folder.
        names: the files below it that ``decode`` reads; it downloads or unpacks those that are missing.
        options: the others of the dataset's options that the images follow from.
        decode: makes the images; imports torchvision, which takes seconds, and compares checksums of the files.
    """
    paths = [root / name for name in names]
    if all(path.is_file() for path in paths):
        return cached(kind, _fingerprint(root, paths, options), decode)
    data = decode()
    return cached(kind, _fingerprint(root, paths, options), lambda: data)


def _fingerprint(root: Path, paths: Sequence[Path], options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "root": str(root.resolve()), "files": files_digest(root, paths)}


@contextlib.contextmanager
def errors_with_remedy(title: str, root: Path, remedy: str) -> Iterator[None]:
    """Turn torchvision's errors into a DataError that ends in ``remedy``."""
    try:
        yield
    except (OSError, RuntimeError) as cause:
        # Torchvision's own message ends in the name of its Python argument, which a spec does not have.
        reason = " ".join(str(cause).removesuffix(" You can use download=True to download it").split()).rstrip(".")
        raise DataError(f"{title} cannot be read from {root}: {reason}; {remedy}") from cause


def image_set(pixels_NHWC: NDArray[np.uint8], labels: Sequence[int]) -> ImageSet:
    """Return an archive's pixels and labels as tensors."""
    images_NCHW = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2)
    return ImageSet(images_NCHW, torch.tensor(labels, dtype=torch.int64))
