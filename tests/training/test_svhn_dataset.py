import hashlib
import os
import sys

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets

from lossforge.errors import DataError
from lossforge.training.datasets import SVHN

LABELS = {"train": [1, 10, 9, 2], "test": [10, 3, 8], "extra": [10, 5]}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOSSFORGE_CACHE", str(folder))
    return folder


@pytest.fixture
def pixels_HWCN(tmp_path, monkeypatch):
    """Tiny files in the official format, with checksums that torchvision accepts; the pixels of each."""
    pixels, splits = {}, {}
    for seed, (split, labels) in enumerate(LABELS.items()):
        shape = (32, 32, 3, len(labels))
        pixels[split] = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        path = tmp_path / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels[split], "y": np.array(labels, dtype=np.uint8)[:, None]})
        splits[split] = ["http://nowhere.invalid", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    return pixels


def in_order(pixels_HWCN):
    return torch.from_numpy(pixels_HWCN.transpose(3, 2, 0, 1).copy())


def test_reads_the_files_and_then_their_cache(tmp_path, monkeypatch, pixels_HWCN):
    (tmp_path / "extra_32x32.mat").unlink()
    for _ in range(2):
        data = SVHN(root=str(tmp_path), download=False).load()
        assert data.train.images_NCHW.dtype == torch.uint8
        assert torch.equal(data.train.images_NCHW, in_order(pixels_HWCN["train"]))
        assert torch.equal(data.test.images_NCHW, in_order(pixels_HWCN["test"]))
        assert data.train.labels_N.tolist() == [1, 0, 9, 2]
        assert data.test.labels_N.tolist() == [0, 3, 8]
        assert data.train.labels_N.dtype == torch.int64
        assert data.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
        monkeypatch.setitem(sys.modules, "torchvision.datasets", None)


def test_extra_images_follow_the_training_images(tmp_path, monkeypatch, pixels_HWCN):
    SVHN(root=str(tmp_path)).load()  # its cache is another
    for _ in range(2):
        data = SVHN(root=str(tmp_path), download=False, extra=True).load()
        expected = torch.cat([in_order(pixels_HWCN["train"]), in_order(pixels_HWCN["extra"])])
        assert torch.equal(data.train.images_NCHW, expected)
        assert data.train.labels_N.tolist() == [1, 0, 9, 2, 0, 5]
        assert torch.equal(data.test.images_NCHW, in_order(pixels_HWCN["test"]))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", None)


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_a_file_that_is_not_there_is_told_with_its_remedies(tmp_path, pixels_HWCN, split):
    SVHN(root=str(tmp_path), extra=True).load()
    (tmp_path / f"{split}_32x32.mat").unlink()
    remedy = rf"not found or corrupted; put {split}_32x32\.mat there, or set download: true where there is a network$"
    with pytest.raises(DataError, match=remedy) as caught:
        SVHN(root=str(tmp_path), extra=True, download=False).load()
    assert f"SVHN cannot be read from {tmp_path}" in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_a_file_that_has_changed_is_read_again(tmp_path, pixels_HWCN, split):
    SVHN(root=str(tmp_path), extra=True).load()
    path = tmp_path / f"{split}_32x32.mat"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 1))
    with pytest.raises(DataError, match=f"put {split}_32x32"):
        SVHN(root=str(tmp_path), extra=True, download=False).load()


def test_the_home_folder_is_expanded(tmp_path, monkeypatch, pixels_HWCN):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(SVHN(root=f"~/{tmp_path.name}", download=False).load().test.labels_N) == 3
