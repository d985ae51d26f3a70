"""Decoded images, kept on disk with a checksum: a dataset is decoded once a machine.

A file of the cache holds the images as they are trained on, uint8, and the SHA-256 that they had when they were
decoded; it is compared whenever they are read. What is not as it was is removed and decoded again. Processes that
decode the same images at once write equal files, each under a name of its own first, so that none sees half a file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lossforge.files import cache_root, write_atomically
from lossforge.types import ImageData, ImageSet

_log = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Raised when the file, or what a dataset makes of its source, changes."""


class _UnusableError(Exception):
    """A file of the cache that is not what it should be; the message says in what."""


def cached(kind: str, fingerprint: Mapping[str, Any], decode: Callable[[], ImageData]) -> ImageData:
    """Return the images from the cache, or decode them and put them there.

    Where the cache cannot be read or written, a warning is logged and the images are decoded.

    Args:
        kind: the first part of the file's name, such as the dataset's type.
        fingerprint: all that the images follow from, as plain values of JSON.
        decode: makes the images; what it raises is passed on.
    """
    described = json.dumps(dict(fingerprint), sort_keys=True, allow_nan=False)
    name = f"{kind}-{hashlib.sha256(described.encode()).hexdigest()[:16]}.safetensors"
    try:
        path = cache_root() / "images" / name
    except RuntimeError as cause:  # there is no home directory
        _warn_once(f"decoded images are not kept: {cause}; LOSSFORGE_CACHE chooses where")
        return decode()
    kept = _kept(path, described)
    if kept is not None:
        return kept
    data = decode()
    _keep(path, described, data)
    return data


def content_hash(data: ImageData) -> str:
    """Return the SHA-256, in hex, of all that training sees of a dataset, whatever the strides in memory.

    It covers the class names and, of both parts, dtype, shape and bytes of images (in the order N, H, W, C) and labels.
    """
    digest = hashlib.sha256(json.dumps(data.class_names).encode())
    for name, array in _arrays(data).items():
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def files_digest(root: Path, paths: Iterable[Path]) -> str:
    """Return a SHA-256, in hex, of the files' paths below ``root``, sizes and times of modification.

    Raises:
        OSError: a file is not there.
    """
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        stamp = [path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns]
        digest.update(json.dumps(stamp).encode() + b"\n")
    return digest.hexdigest()


def _arrays(data: ImageData) -> dict[str, NDArray[Any]]:
    """Return the tensors as contiguous arrays, images as N, H, W, C: so most are decoded and all are trained on."""
    arrays = {}
    for name, part in (("train", data.train), ("test", data.test)):
        arrays[f"{name}_images_NHWC"] = part.images_NCHW.permute(0, 2, 3, 1).cpu().numpy()
        arrays[f"{name}_labels_N"] = part.labels_N.cpu().numpy()
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _kept(path: Path, described: str) -> ImageData | None:
    """Return what the cache holds, or None if that is nothing that can be used."""
    try:
        return _read(path, described)
    except FileNotFoundError:
        return None
    except OSError as cause:
        _log.warning("%s: cached images cannot be read (%s); decoding them again", path, cause)
        return None
    except (SafetensorError, ValueError, _UnusableError) as cause:
        _log.warning("%s: cached images cannot be used (%s); decoding them again", path, cause)
        _remove(path)
        return None


def _read(path: Path, described: str) -> ImageData:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        version = metadata.get("format_version")
        if version != str(FORMAT_VERSION):
            raise _UnusableError(f"format_version is {version}, not {FORMAT_VERSION}")
        if metadata.get("fingerprint") != described:
            raise _UnusableError("they are other images")
        # Copies: the tensors are mapped from the file, which may be overwritten from another machine while in use.
        train, test = (
            ImageSet(
                file.get_tensor(f"{part}_images_NHWC").clone().permute(0, 3, 1, 2),
                file.get_tensor(f"{part}_labels_N").clone(),
            )
            for part in ("train", "test")
        )
    data = ImageData(train, test, tuple(json.loads(metadata.get("class_names", "[]"))))
    if content_hash(data) != metadata.get("sha256"):
        raise _UnusableError("their checksum is wrong")
    return data


def _keep(path: Path, described: str, data: ImageData) -> None:
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "fingerprint": described,
        "class_names": json.dumps(data.class_names),
        "sha256": content_hash(data),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, save(_arrays(data), metadata))
    except OSError as cause:
        _warn_once(f"{path.parent}: decoded images cannot be kept ({cause.strerror}); LOSSFORGE_CACHE chooses where")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as cause:
        _log.warning("%s: cannot be removed (%s)", path, cause.strerror)


@functools.lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    """Log a warning, once a process: some commands load a dataset for each of many trainings."""
    _log.warning(message)
