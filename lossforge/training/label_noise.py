"""Wrong labels of real images.

Symmetric noise as in Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels", ICML 2020, arXiv
2006.13554; asymmetric noise as in Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach", CVPR 2017, arXiv 1609.03683.
"""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossforge.errors import DataError, SpecError
from lossforge.spec.training import AsymmetricNoise, FileNoise, SymmetricNoise
from lossforge.streams import derive_generator

USUAL_PAIRS = (("truck", "automobile"), ("bird", "airplane"), ("deer", "horse"), ("cat", "dog"), ("dog", "cat"))
"""Classes of CIFAR-10 and what they are taken for."""


def noisy_labels(
    labels_N: Tensor, noise: SymmetricNoise | AsymmetricNoise | FileNoise, class_names: tuple[str, ...], seed: int
) -> Tensor:
    """Return the labels that a training is given, drawn from the stream ``training.label_noise`` of ``seed``.

    A label's fate depends on its place in the dataset and on the seed, not on which images a training takes.

    Raises:
        SpecError: the pairs name a class that is not there, or one twice, or none are known for these classes.
        DataError: the file cannot be read, or holds other than a label for each image.
    """
    if isinstance(noise, FileNoise):
        return _from_file(Path(noise.path).expanduser(), len(labels_N), len(class_names))
    generator = derive_generator(seed, "training.label_noise")
    flipped_N = torch.rand(len(labels_N), generator=generator, dtype=torch.float64) < noise.rate
    if isinstance(noise, SymmetricNoise):
        step_N = torch.randint(1, len(class_names), labels_N.shape, generator=generator)
        return torch.where(flipped_N, (labels_N + step_N) % len(class_names), labels_N)
    return torch.where(flipped_N, _taken_for(noise, class_names)[labels_N], labels_N)


def _taken_for(noise: AsymmetricNoise, class_names: tuple[str, ...]) -> Tensor:
    """Return for each class the one that it is taken for, itself where there is none."""
    taken_C = torch.arange(len(class_names))
    if noise.pairs == "next":
        return taken_C.roll(-1)
    pairs = USUAL_PAIRS if noise.pairs == "usual" else noise.pairs
    place = "training.label_noise.pairs: "
    unknown = sorted({name for pair in pairs for name in pair} - set(class_names))
    if unknown:
        known = f"the classes are {', '.join(class_names[:12])}{', ...' if len(class_names) > 12 else ''}"
        remedy = "give pairs of these, or 'next'" if noise.pairs == "usual" else "correct the names"
        raise SpecError([f"{place}no class is called {unknown[0]!r}; {known}; {remedy}"])
    sources = [source for source, _ in pairs]
    if len(set(sources)) < len(sources):
        raise SpecError([f"{place}a class is taken for one other class, but one stands first in two pairs"])
    index = {name: label for label, name in enumerate(class_names)}
    for source, target in pairs:
        taken_C[index[source]] = index[target]
    return taken_C


def _from_file(path: Path, num: int, num_classes: int) -> Tensor:
    try:
        labels = _array(path) if path.suffix == ".npy" else _numbers(path)
    except (OSError, ValueError, OverflowError, tokenize.TokenError) as cause:  # the last of a damaged .npy header
        raise DataError(
            f"{path}: labels cannot be read ({cause}); give an .npy file or text, an integer a line"
        ) from cause
    if labels.shape != (num,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: holds {labels.dtype} of shape {labels.shape}; it needs an integer for each of the dataset's "
            f"{num} training images"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{path}: labels go from {labels.min()} to {labels.max()}; they must be 0 to {num_classes - 1}")
    return torch.from_numpy(labels.astype(np.int64))


def _array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _numbers(path: Path) -> np.ndarray:
    return np.array([int(word) for word in path.read_text(encoding="utf-8").split()], dtype=np.int64)
