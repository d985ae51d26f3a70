import gzip
import struct
import sys
import urllib.error

import numpy as np
import pytest
import torch
import torchvision.datasets

from lossforge.errors import DataError
from lossforge.training.datasets import FashionMNIST, fashion_mnist

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def debian(tmp_path_factory, monkeypatch):
    """Where Debian's files would be: an empty folder; and an empty cache."""
    folder = tmp_path_factory.mktemp("debian")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", folder)
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    return folder


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def contents(seed=0):
    """Pixels and labels of each file, 5 training and 3 test images."""
    generator = np.random.default_rng(seed)
    shapes = [(5, 28, 28), (5,), (3, 28, 28), (3,)]
    return {
        name: generator.integers(0, 256 if len(shape) > 1 else 10, shape)
        for name, shape in zip(FILES, shapes, strict=True)
    }


def write(folder, arrays, zipped):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


def assert_reads(data, arrays):
    for part, (images, labels) in ((data.train, FILES[:2]), (data.test, FILES[2:])):
        assert part.images_NCHW.dtype == torch.uint8
        assert part.labels_N.dtype == torch.int64
        np.testing.assert_array_equal(part.images_NCHW.numpy(), arrays[images][:, None])
        np.testing.assert_array_equal(part.labels_N.numpy(), arrays[labels])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("subfolder", [".", "FashionMNIST/raw"])
def test_reads_the_files_and_then_their_cache(tmp_path, monkeypatch, subfolder, zipped):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    arrays = contents()
    write(tmp_path / subfolder, arrays, zipped)
    data = FashionMNIST(root=str(tmp_path)).load()
    assert_reads(data, arrays)
    assert data.class_names == tuple(torchvision.datasets.FashionMNIST.classes)
    monkeypatch.setattr(fashion_mnist, "read_idx", None)
    again = FashionMNIST(root=str(tmp_path)).load()
    assert_reads(again, arrays)
    assert again.class_names == data.class_names


def test_agrees_with_torchvision(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw", contents(), zipped=False)
    data = FashionMNIST(root=str(tmp_path)).load()
    for part, train in ((data.train, True), (data.test, False)):
        expected = torchvision.datasets.FashionMNIST(tmp_path, train=train)
        assert torch.equal(part.images_NCHW[:, 0], expected.data)
        assert torch.equal(part.labels_N, expected.targets)


def test_debians_files_are_read_where_root_has_none(tmp_path, monkeypatch, debian):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    arrays = contents()
    write(debian, arrays, zipped=True)
    (tmp_path / FILES[0]).write_bytes(b"one of four is not enough")
    assert_reads(FashionMNIST(root=str(tmp_path)).load(), arrays)


def test_those_in_root_come_before_debians(tmp_path, debian):
    write(debian, contents(0), zipped=True)
    write(tmp_path, contents(1), zipped=True)
    assert_reads(FashionMNIST(root=str(tmp_path)).load(), contents(1))
    write(tmp_path / "FashionMNIST" / "raw", contents(2), zipped=False)
    assert_reads(FashionMNIST(root=str(tmp_path)).load(), contents(2))


def test_debians_folder_is_the_packages(monkeypatch):
    monkeypatch.undo()
    assert str(fashion_mnist.DEBIAN_FOLDER) == "/usr/share/datasets/fashion-mnist"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_changed_is_read_again(tmp_path, name):
    write(tmp_path, contents(), zipped=False)
    FashionMNIST(root=str(tmp_path)).load()
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"{name}: not an IDX file"):
        FashionMNIST(root=str(tmp_path)).load()


def test_what_a_download_brings_is_read(tmp_path, monkeypatch):
    arrays = contents()

    def download(url, download_root, filename, md5):
        name = filename.removesuffix(".gz")
        write(tmp_path / "FashionMNIST" / "raw", {name: arrays[name]}, zipped=False)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    assert_reads(FashionMNIST(root=str(tmp_path)).load(), arrays)


def test_a_download_that_fails_is_told_in_one_line_with_its_remedies(tmp_path, monkeypatch):
    def refuse(url, **_options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)
    with pytest.raises(
        DataError, match=r"no route to host.*; put train-images.*package dataset-fashion-mnist"
    ) as caught:
        FashionMNIST(root=str(tmp_path)).load()
    assert "\n" not in str(caught.value)
    assert f"Fashion-MNIST cannot be read from {tmp_path}: " in str(caught.value)


@pytest.mark.parametrize("missing", FILES)
def test_files_that_are_not_there_are_told_with_their_remedies(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    write(tmp_path, {name: array for name, array in contents().items() if name != missing}, zipped=True)
    with pytest.raises(
        DataError, match=r"files are missing; put .* there, install .*, or set download: true"
    ) as caught:
        FashionMNIST(root=str(tmp_path), download=False).load()
    assert str(tmp_path) in str(caught.value)


def cut(content):
    return content[:-1]


def longer(content):
    return content + b"\0"


def of_integers(content):
    return content[:2] + b"\x0c" + content[3:]


def of_another_shape(content):
    return content[:3] + b"\x02" + content[4:]


def without_zeros(content):
    return b"\1" + content[1:]


def short(content):
    return content[:15]


@pytest.mark.parametrize("change", [cut, longer, of_integers, of_another_shape, without_zeros, short])
def test_a_damaged_file_is_named(tmp_path, change):
    arrays = contents()
    write(tmp_path, arrays, zipped=False)
    path = tmp_path / FILES[2]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        DataError, match=r"(not an IDX file of bytes in 3 dimensions|its header says 2352); replace it"
    ) as told:
        FashionMNIST(root=str(tmp_path)).load()
    assert str(path) in str(told.value)


@pytest.mark.parametrize("num", [3, 30, -10, -1])
def test_a_damaged_gzip_file_is_named(tmp_path, num):
    write(tmp_path, contents(), zipped=True)
    path = tmp_path / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:num])
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: cannot be read .*; replace it"):
        FashionMNIST(root=str(tmp_path)).load()


def test_a_gzip_file_with_damaged_content_is_named(tmp_path):
    write(tmp_path, contents(), zipped=True)
    path = tmp_path / f"{FILES[0]}.gz"
    content = bytearray(path.read_bytes())
    content[10] = 0xFF  # the first byte of the compressed data: no block is of this type
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: cannot be read .*; replace it"):
        FashionMNIST(root=str(tmp_path)).load()


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 1, 2, 3, 10], []])
def test_labels_of_other_images_are_named(tmp_path, labels):
    write(tmp_path, {**contents(), FILES[1]: np.array(labels)}, zipped=False)
    with pytest.raises(DataError, match="not the labels of train-images-idx3-ubyte; replace both files"):
        FashionMNIST(root=str(tmp_path)).load()
