import hashlib
import pickle
import sys

import numpy as np
import pytest
import torch
import torchvision.datasets

from lossforge.errors import DataError
from lossforge.training.datasets import CIFAR100

FINE = [f"fine {index}" for index in range(100)]
COARSE = [f"coarse {index}" for index in range(20)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOSSFORGE_CACHE", str(folder))
    return folder


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Tiny files in the archive's format, with checksums that torchvision accepts; the pixels of each."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = {
        name: np.random.default_rng(seed).integers(0, 256, (num, 3072), dtype=np.uint8)
        for seed, (name, num) in enumerate([("train", 4), ("test", 2)])
    }
    contents = {
        name: {
            "data": rows,
            "fine_labels": [99 - row for row in range(len(rows))],
            "coarse_labels": [19 - row for row in range(len(rows))],
        }
        for name, rows in pixels.items()
    }
    contents["meta"] = {"fine_label_names": FINE, "coarse_label_names": COARSE}
    sums = {}
    for name, content in contents.items():
        pickled = pickle.dumps(content)
        (folder / name).write_bytes(pickled)
        sums[name] = hashlib.md5(pickled).hexdigest()
    original = torchvision.datasets.CIFAR100
    monkeypatch.setattr(original, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(original, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(original, "meta", {**original.meta, "md5": sums["meta"]})
    return pixels


@pytest.mark.parametrize("coarse", [False, True])
def test_reads_the_archive_and_then_its_cache(tmp_path, monkeypatch, archive, coarse):
    CIFAR100(root=str(tmp_path), coarse=not coarse).load()  # its cache is another
    for _ in range(2):
        data = CIFAR100(root=str(tmp_path), coarse=coarse, download=False).load()
        assert data.train.images_NCHW.shape == (4, 3, 32, 32)
        assert data.train.images_NCHW.dtype == torch.uint8
        np.testing.assert_array_equal(data.train.images_NCHW.reshape(4, -1).numpy(), archive["train"])
        np.testing.assert_array_equal(data.test.images_NCHW.reshape(2, -1).numpy(), archive["test"])
        last = 19 if coarse else 99
        assert data.train.labels_N.tolist() == [last, last - 1, last - 2, last - 3]
        assert data.test.labels_N.tolist() == [last, last - 1]
        assert data.train.labels_N.dtype == torch.int64
        assert data.class_names == tuple(COARSE if coarse else FINE)
        monkeypatch.setitem(sys.modules, "torchvision.datasets", None)


@pytest.mark.parametrize("name", ["train", "test", "meta"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_damaged_file_is_told_with_its_remedies_though_it_was_cached(tmp_path, archive, name, coarse):
    CIFAR100(root=str(tmp_path), coarse=coarse).load()
    with (tmp_path / "cifar-100-python" / name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"CIFAR-100 cannot be read.*unpack cifar-100-python\.tar\.gz there") as caught:
        CIFAR100(root=str(tmp_path), coarse=coarse, download=False).load()
    assert str(tmp_path) in str(caught.value)
    assert "{type: image_folder, root: ...}" in str(caught.value)


def test_an_archive_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(DataError, match="not found or corrupted; unpack") as caught:
        CIFAR100(root=str(tmp_path), download=False).load()
    assert "\n" not in str(caught.value)


def test_the_home_folder_is_expanded(tmp_path, monkeypatch, archive):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(CIFAR100(root=f"~/{tmp_path.name}", download=False).load().test.labels_N) == 2
