import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
import torch
import torchvision.datasets

from lossforge.errors import DataError
from lossforge.training.datasets import CIFAR10


def write_batches(folder, monkeypatch, num=3):
    """Write tiny batches in the archive's format, and have torchvision accept their checksums."""
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    pixels = {}
    checksums = {}
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        rows = np.random.default_rng(seed).integers(0, 256, (num, 3072), dtype=np.uint8)
        pixels[name] = rows
        content = pickle.dumps({"data": rows, "labels": [(seed + row) % 10 for row in range(num)]})
        checksums[name] = (batches / name, content)
    meta = pickle.dumps({"label_names": [f"name {index}" for index in range(10)]})
    checksums["batches.meta"] = (batches / "batches.meta", meta)
    for path, content in checksums.values():
        path.write_bytes(content)
    sums = {name: hashlib.md5(content).hexdigest() for name, (_, content) in checksums.items()}
    original = torchvision.datasets.CIFAR10
    monkeypatch.setattr(original, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)])
    monkeypatch.setattr(original, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(original, "meta", {**original.meta, "md5": sums["batches.meta"]})
    return pixels


@pytest.mark.parametrize("download", [False, True])
def test_reads_the_archives_batches(tmp_path, monkeypatch, download):
    pixels = write_batches(tmp_path, monkeypatch)
    data = CIFAR10(root=str(tmp_path), download=download).load()
    assert data.class_names == tuple(f"name {index}" for index in range(10))
    assert data.train.images_NCHW.shape == (15, 3, 32, 32)
    assert data.train.images_NCHW.dtype == torch.uint8
    np.testing.assert_array_equal(data.train.images_NCHW[3:6].reshape(3, -1).numpy(), pixels["data_batch_2"])
    np.testing.assert_array_equal(data.test.images_NCHW.reshape(3, -1).numpy(), pixels["test_batch"])
    assert data.train.labels_N.tolist() == [(seed + row) % 10 for seed in range(5) for row in range(3)]
    assert data.test.labels_N.tolist() == [5, 6, 7]


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    write_batches(tmp_path, monkeypatch)
    assert len(CIFAR10(root=f"~/{tmp_path.name}", download=False).load().test.labels_N) == 3


def test_an_archive_that_is_not_there_is_told_with_its_remedies(tmp_path):
    with pytest.raises(DataError, match=r"unpack cifar-10-python\.tar\.gz there") as caught:
        CIFAR10(root=str(tmp_path), download=False).load()
    assert str(tmp_path) in str(caught.value)
    assert "{type: image_folder, root: ...}" in str(caught.value)


@pytest.mark.parametrize("cause", [urllib.error.URLError("no route to host"), RuntimeError("File not found")])
def test_a_download_that_fails_is_told_with_its_remedies(tmp_path, monkeypatch, cause):
    def refuse(**_options):
        raise cause

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    with pytest.raises(DataError, match=r"CIFAR-10 cannot be read.*image_folder") as caught:
        CIFAR10(root=str(tmp_path)).load()
    assert caught.value.__cause__ is cause
    assert "\n" not in str(caught.value)
