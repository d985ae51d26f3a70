"""Images that are tensors already, in one file; :func:`write_tensor_file` makes one."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lossforge.errors import DataError
from lossforge.files import write_atomically
from lossforge.interfaces import Dataset
from lossforge.types import ImageData, ImageSet

KEYS = ("train_images", "train_labels", "test_images", "test_labels")

INTEGERS = (
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.uint32,
    torch.int32,
    torch.uint64,
    torch.int64,
)

IMAGES = "give uint8 values 0..255 of shape (N, C, H, W), none of them 0"

NAMES = "give a list of texts, one a class in label order"


class TensorFile(Dataset):
    """A ``.safetensors`` or ``.npz`` file of images and labels of any size and number of classes.

    It holds ``train_images`` and ``test_images``, uint8 (N, C, H, W); ``train_labels`` and ``test_labels``, integers
    from 0; and, if wanted, ``class_names`` in label order: in ``.npz`` an array of texts, in ``.safetensors`` a JSON
    list in the metadata. Without names, a class is called by its number, and the largest label is the last class.
    Pickled arrays are refused.
    """

    type: Literal["tensor_file"] = "tensor_file"
    path: str = Field(min_length=1, examples=["images.safetensors"], description="the file; ~ is expanded")

    def load(self) -> ImageData:
        """Read the file.

        Raises:
            DataError: there is no such file, it cannot be read, or it does not hold what it should.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such file; correct path")
        if path.suffix == ".safetensors":
            return _image_data(path, *_read_safetensors(path))
        if path.suffix == ".npz":
            return _image_data(path, *_read_npz(path))
        raise DataError(f"{path}: neither .safetensors nor .npz; give a file of one of these formats")


def write_tensor_file(path: Path | str, data: ImageData) -> None:
    """Write a dataset to a ``.safetensors`` file that ``{type: tensor_file, path: ...}`` reads.

    >>> import tempfile, torch
    >>> from lossforge.types import ImageData, ImageSet
    >>> part = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensor_file(f"{folder}/mine.safetensors", ImageData(part, part, ("cat", "dog")))
    ...     TensorFile(path=f"{folder}/mine.safetensors").load().class_names
    ('cat', 'dog')

    Raises:
        DataError: the file's name does not end in .safetensors, or the data are not as they should be.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DataError(f"{path}: the name must end in .safetensors; give another")
    parts = {"train": data.train, "test": data.test}
    tensors = {f"{name}_images": part.images_NCHW for name, part in parts.items()}
    tensors |= {f"{name}_labels": part.labels_N for name, part in parts.items()}
    _image_data(path, tensors, list(data.class_names))
    # Copies: safetensors refuses tensors that share memory, as parts of one tensor do.
    own = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    write_atomically(path, save(own, {"class_names": json.dumps(data.class_names)}))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: the tensors are mapped from the file, which may be overwritten while they are in use.
            tensors = {key: file.get_tensor(key).clone() for key in set(KEYS).intersection(file.keys())}
            names = (file.metadata() or {}).get("class_names", "null")
    except (OSError, SafetensorError) as cause:
        raise DataError(f"{path}: cannot be read ({_in_one_line(cause)}); write it anew") from cause
    try:
        return tensors, json.loads(names)
    except ValueError as cause:
        raise DataError(f"{path}: class_names in the metadata is not JSON ({cause}); {NAMES}") from cause


def _read_npz(path: Path) -> tuple[dict[str, Tensor], Any]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an .npz archive; write it with numpy.savez")
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*KEYS, "class_names") if key in archive}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as cause:
        raise DataError(
            f"{path}: cannot be read ({_in_one_line(cause)}); write it anew with numpy.savez, without objects"
        ) from cause
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what it does not know
            raise DataError(f"{path}: {key} is not an array; write it anew with numpy.savez")
    names = arrays.pop("class_names", None)
    return {key: _tensor(path, key, array) for key, array in arrays.items()}, None if names is None else names.tolist()


def _tensor(path: Path, key: str, array: NDArray[Any]) -> Tensor:
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except TypeError as cause:
        raise DataError(f"{path}: {key} is {array.dtype}; give numbers") from cause


def _image_data(path: Path, tensors: Mapping[str, Tensor], names: Any) -> ImageData:
    """Return what the tensors say, or raise a DataError that says what is wrong with them."""
    for key in KEYS:
        if key not in tensors:
            raise DataError(f"{path}: no {key}; give all of {', '.join(KEYS)}")
    train, test = (_image_set(path, part, tensors) for part in ("train", "test"))
    shapes = [tuple(part.images_NCHW.shape[1:]) for part in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{path}: images of shape {shapes[0]} to train on and {shapes[1]} to test; give them one shape")
    return ImageData(train, test, _class_names(path, names, train, test))


def _image_set(path: Path, part: str, tensors: Mapping[str, Tensor]) -> ImageSet:
    images, labels = tensors[f"{part}_images"], tensors[f"{part}_labels"]
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
        raise DataError(f"{path}: {part}_images is {_described(images)}; {IMAGES}")
    if labels.dtype not in INTEGERS or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: {part}_labels is {_described(labels)}; give {len(images)} integers, one an image")
    labels_N = labels.to(torch.int64)
    if bool((labels_N < 0).any()):
        raise DataError(f"{path}: {part}_labels holds {int(labels_N.min())}; number the classes from 0")
    return ImageSet(images, labels_N)


def _class_names(path: Path, names: Any, train: ImageSet, test: ImageSet) -> tuple[str, ...]:
    largest = max(int(part.labels_N.max()) for part in (train, test))
    if names is None:
        if largest >= len(train.labels_N):
            raise DataError(
                f"{path}: the label {largest} would make more classes than there are training images; number the "
                "classes from 0, or give class_names"
            )
        return tuple(str(label) for label in range(largest + 1))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: class_names is not a list of texts; {NAMES}")
    if largest >= len(names):
        raise DataError(f"{path}: a label is {largest}, but class_names holds {len(names)}; {NAMES}")
    return tuple(names)


def _in_one_line(cause: Exception) -> str:
    return " ".join(str(cause).split())


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
