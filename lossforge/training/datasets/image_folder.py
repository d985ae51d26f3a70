"""Images in folders: ``root/train/<class>/<image>`` and ``root/test/<class>/<image>``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from lossforge.component import Count
from lossforge.errors import DataError
from lossforge.interfaces import Dataset
from lossforge.training.image_cache import cached, files_digest
from lossforge.types import ImageData, ImageSet


class ImageFolder(Dataset):
    """Any images that Pillow reads, as RGB; a class is a folder, and classes are numbered in alphabetical order.

    Hidden files and folders (``.name``) are passed over; any other file must be an image.
    """

    type: Literal["image_folder"] = "image_folder"
    root: str = Field(
        min_length=1, examples=["~/images"], description="folder that holds train/ and test/; ~ is expanded"
    )
    image_size: Count | None = Field(
        default=None,
        ge=1,
        description="side in pixels: images are scaled and cut to a square; None: they have one size",
    )

    def load(self) -> ImageData:
        """Decode all images into memory, or read them from the cache if no file has changed.

        Raises:
            DataError: a folder is missing or empty, the two parts have different classes, a file is not an image, or
                images differ in size while ``image_size`` is not set.
        """
        root = Path(self.root).expanduser()
        train, test = _files_by_class(root / "train"), _files_by_class(root / "test")
        if train.keys() != test.keys():
            odd = ", ".join(sorted(train.keys() ^ test.keys()))
            raise DataError(
                f"{root}: train/ and test/ have different classes ({odd}); give each class a folder in both"
            )
        fingerprint = {
            "root": str(root.resolve()),
            "image_size": self.image_size,
            "files": _digest(root, [path for part in (train, test) for of_class in part.values() for path in of_class]),
            "pillow": PIL.__version__,  # it decides how images are decoded and scaled
        }
        return cached("image_folder", fingerprint, lambda: self._decode(train, test))

    def _decode(self, train: dict[str, list[Path]], test: dict[str, list[Path]]) -> ImageData:
        size = None if self.image_size is None else (self.image_size, self.image_size)
        size = size or _size_of_first(train)
        return ImageData(self._decode_part(train, size), self._decode_part(test, size), tuple(train))

    def _decode_part(self, files: dict[str, list[Path]], size: tuple[int, int]) -> ImageSet:
        """Return the images of a part; ``size`` is (width, height)."""
        paths = [(path, label) for label, of_class in enumerate(files.values()) for path in of_class]
        width, height = size
        pixels_NHWC = np.empty((len(paths), height, width, 3), dtype=np.uint8)
        for index, (path, _) in enumerate(paths):
            pixels_NHWC[index] = self._pixels(path, size)
        labels_N = torch.tensor([label for _, label in paths], dtype=torch.int64)
        return ImageSet(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2), labels_N)

    def _pixels(self, path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
        image = _read_rgb(path)
        if image.size == size:
            return np.asarray(image)
        if self.image_size is None:
            raise DataError(
                f"{path}: {_times(image.size)} pixels, but the first training image has {_times(size)}; set "
                "image_size to scale all images to one size"
            )
        return np.asarray(ImageOps.fit(image, size, method=Image.Resampling.BILINEAR))


def _files_by_class(part: Path) -> dict[str, list[Path]]:
    """Return the files of each class, both in alphabetical order."""
    if not part.is_dir():
        raise DataError(f"{part}: no such folder; put images in {part}/<class>/, or correct root")
    folders = [entry for entry in _visible(part) if entry.is_dir()]
    if not folders:
        raise DataError(f"{part}: no class folders; put images in {part}/<class>/")
    files = {folder.name: _visible(folder) for folder in folders}
    for name, of_class in files.items():
        if not of_class:
            raise DataError(f"{part / name}: no images; put some there, or remove the folder")
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _digest(root: Path, paths: list[Path]) -> str:
    try:
        return files_digest(root, paths)
    except OSError as cause:  # as of a link to nowhere
        raise DataError(
            f"{cause.filename}: cannot be read as an image ({cause.strerror}); replace or remove it"
        ) from cause


def _size_of_first(files: dict[str, list[Path]]) -> tuple[int, int]:
    first = next(iter(files.values()))[0]
    return _read_rgb(first).size


def _read_rgb(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    # Pillow raises SyntaxError and ValueError for some damaged files.
    except (OSError, SyntaxError, ValueError) as cause:
        raise DataError(f"{path}: cannot be read as an image ({cause}); replace or remove it") from cause


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
