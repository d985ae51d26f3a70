import hashlib
import os
import pickle
import sys
import urllib.error

import numpy as np
import pytest
import torch
import torchvision.datasets

from lossforge.errors import DataError
from lossforge.training.datasets import CIFAR10


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOSSFORGE_CACHE", str(folder))
    return folder


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


@pytest.mark.parametrize("download", [False, True])
def test_a_second_time_neither_torchvision_nor_the_batches_content_is_needed(tmp_path, monkeypatch, download):
    write_batches(tmp_path, monkeypatch)
    first = CIFAR10(root=str(tmp_path)).load()
    times = {}
    for path in (tmp_path / "cifar-10-batches-py").iterdir():
        times[path] = path.stat().st_mtime_ns
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, ns=(times[path], times[path]))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    again = CIFAR10(root=str(tmp_path), download=download).load()
    assert torch.equal(again.train.images_NCHW, first.train.images_NCHW)
    assert torch.equal(again.test.labels_N, first.test.labels_N)
    assert again.class_names == first.class_names


FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]


@pytest.mark.parametrize("name", FILES)
def test_a_batch_that_has_changed_is_read_again(tmp_path, monkeypatch, name):
    write_batches(tmp_path, monkeypatch)
    CIFAR10(root=str(tmp_path)).load()
    path = tmp_path / "cifar-10-batches-py" / name
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="not found or corrupted; unpack"):
        CIFAR10(root=str(tmp_path), download=False).load()


def test_the_cache_does_not_stand_in_for_an_archive_that_is_gone(tmp_path, monkeypatch):
    write_batches(tmp_path, monkeypatch)
    CIFAR10(root=str(tmp_path)).load()
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match=r"unpack cifar-10-python\.tar\.gz there"):
        CIFAR10(root=str(tmp_path), download=False).load()


def test_two_archives_are_known_apart(tmp_path, monkeypatch, cache):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_batches(tmp_path / name, monkeypatch)
        for path in (tmp_path / name / "cifar-10-batches-py").iterdir():
            os.utime(path, ns=(0, 1))
        CIFAR10(root=str(tmp_path / name)).load()
    assert len(list((cache / "images").iterdir())) == 2


def test_what_a_download_brings_is_kept(tmp_path, monkeypatch):
    original = torchvision.datasets.CIFAR10
    there = []

    def download(self):
        if not there:
            there.append(True)
            write_batches(tmp_path, monkeypatch)

    monkeypatch.setattr(original, "download", download)
    first = CIFAR10(root=str(tmp_path)).load()
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert torch.equal(CIFAR10(root=str(tmp_path)).load().train.images_NCHW, first.train.images_NCHW)
