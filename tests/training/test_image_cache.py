"""The cache of decoded images: what is kept, when it is used, and what happens where it cannot be."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load, save

from lossforge import files
from lossforge.errors import DataError
from lossforge.training import image_cache
from lossforge.training.image_cache import cached, content_hash, files_digest
from lossforge.types import ImageData, ImageSet

FINGERPRINT = {"root": "/images", "files": [["a.png", 3]]}
DESCRIBED = '{"files": [["a.png", 3]], "root": "/images"}'
NAME = f"some-{hashlib.sha256(DESCRIBED.encode()).hexdigest()[:16]}.safetensors"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where the cache keeps images; nothing has been warned of yet."""
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "cache"))
    image_cache._warn_once.cache_clear()
    yield tmp_path / "cache" / "images"
    image_cache._warn_once.cache_clear()


def image_data(seed=0, names=("ant", "bee", "fly")):
    generator = torch.Generator().manual_seed(seed)

    def part(num):
        pixels = torch.randint(0, 256, (num, 4, 5, 3), generator=generator, dtype=torch.uint8)
        return ImageSet(pixels.permute(0, 3, 1, 2), torch.randint(0, 3, (num,), generator=generator))

    return ImageData(part(6), part(2), names)


class Decoder:
    """Counts its calls."""

    def __init__(self, data=None):
        self.data = data or image_data()
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.data


def assert_same(found, expected):
    for part in ("train", "test"):
        one, other = getattr(found, part), getattr(expected, part)
        assert one.images_NCHW.dtype == torch.uint8
        assert one.labels_N.dtype == torch.int64
        assert torch.equal(one.images_NCHW, other.images_NCHW)
        assert torch.equal(one.labels_N, other.labels_N)
    assert found.class_names == expected.class_names


class TestCache:
    def test_is_filled_once(self, folder):
        decode = Decoder()
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert_same(cached("some", dict(reversed(FINGERPRINT.items())), decode), decode.data)
        assert decode.calls == 1
        assert os.listdir(folder) == [NAME]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_says_what_it_holds(self, folder):
        decode = Decoder()
        cached("some", FINGERPRINT, decode)
        with safe_open(folder / NAME, framework="pt") as file:
            assert file.metadata() == {
                "format_version": "1",
                "class_names": '["ant", "bee", "fly"]',
                "fingerprint": DESCRIBED,
                "sha256": content_hash(decode.data),
            }

    def test_knows_kinds_and_fingerprints_apart(self, folder):
        first, *others = (Decoder(image_data(seed)) for seed in range(3))
        cached("some", FINGERPRINT, first)
        assert_same(cached("other", FINGERPRINT, others[0]), others[0].data)
        assert_same(cached("some", {**FINGERPRINT, "root": "/elsewhere"}, others[1]), others[1].data)
        assert [decode.calls for decode in (first, *others)] == [1, 1, 1]
        assert len(os.listdir(folder)) == 3

    def test_gives_what_training_takes_without_a_copy(self):
        decode = Decoder()
        cached("some", FINGERPRINT, decode)
        again = cached("some", FINGERPRINT, decode)
        assert again.train.images_NCHW.is_contiguous(memory_format=torch.channels_last)

    def test_what_it_gave_does_not_change_with_the_file(self, folder):
        decode = Decoder()
        cached("some", FINGERPRINT, decode)
        again = cached("some", FINGERPRINT, decode)
        with (folder / NAME).open("r+b") as file:
            file.write(bytes((folder / NAME).stat().st_size))
        assert_same(again, decode.data)

    def test_parts_may_share_their_memory(self):
        part = image_data().train
        decode = Decoder(ImageData(part, part, ("a", "b", "c")))
        cached("some", FINGERPRINT, decode)
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert decode.calls == 1

    def test_an_error_of_decoding_is_passed_on_and_nothing_is_kept(self, folder):
        def fail():
            raise DataError("no images")

        with pytest.raises(DataError, match="no images"):
            cached("some", FINGERPRINT, fail)
        assert not folder.exists()

    def test_processes_that_decode_at_once_agree(self, folder, in_time):
        script = (
            "import torch\n"
            "from lossforge.training.image_cache import cached, content_hash\n"
            "from lossforge.types import ImageData, ImageSet\n"
            "part = ImageSet(torch.arange(10**6).reshape(10, 1, 100, 1000).to(torch.uint8), torch.arange(10))\n"
            "def decode():\n"
            "    print('decoding', flush=True)\n"
            "    input()\n"
            "    return ImageData(part, part, tuple('0123456789'))\n"
            "print(content_hash(cached('some', {}, decode)))\n"
        )
        command = [sys.executable, "-c", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen(command, **pipes) for _ in range(2)]
        # Each waits for a line, and gets it when the other is decoding, too.
        assert [process.stdout.readline() for process in both] == ["decoding\n"] * 2
        for process in both:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate() for process in both]
        images = torch.arange(10**6).reshape(10, 1, 100, 1000).to(torch.uint8)
        part = ImageSet(images, torch.arange(10))
        data = ImageData(part, part, tuple("0123456789"))
        assert outputs == [(content_hash(data) + "\n", "")] * 2
        assert len(os.listdir(folder)) == 1
        decode = Decoder()
        assert_same(cached("some", {}, decode), data)
        assert decode.calls == 0


def flip(content: bytes, index: int) -> bytes:
    changed = bytearray(content)
    changed[index] ^= 1
    return bytes(changed)


def with_metadata(content: bytes, **changes: str | None) -> bytes:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = {key: value for key, value in {**header["__metadata__"], **changes}.items() if value is not None}
    return save(load(content), metadata)


def without_labels(content: bytes) -> bytes:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return save({k: v for k, v in load(content).items() if k != "test_labels_N"}, header["__metadata__"])


DAMAGES = {
    "a pixel": (lambda content: flip(content, -1), "checksum is wrong"),
    "a label": (
        lambda content: flip(content, 8 + int.from_bytes(content[:8], "little")),
        "checksum is wrong",
    ),
    "truncated": (lambda content: content[:-1], "not fully covered|incomplete"),
    "empty": (lambda content: b"", "header"),
    "something else": (lambda content: b"no tensors at all", "header"),
    "no metadata": (lambda content: save(load(content)), "format_version is None"),
    "no labels": (without_labels, "test_labels_N"),
    "another class name": (lambda content: with_metadata(content, class_names='["a"]'), "checksum is wrong"),
    "no class names": (lambda content: with_metadata(content, class_names=None), "checksum is wrong"),
    "no JSON": (lambda content: with_metadata(content, class_names='["a"'), "delimiter"),
    "no checksum": (lambda content: with_metadata(content, sha256=None), "checksum is wrong"),
    "a newer format": (lambda content: with_metadata(content, format_version="2"), "format_version is 2, not 1"),
    "other images": (lambda content: with_metadata(content, fingerprint="{}"), "other images"),
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_is_told_and_decoded_again(self, folder, caplog, damage):
        change, reason = DAMAGES[damage]
        decode = Decoder()
        cached("some", FINGERPRINT, decode)
        good = (folder / NAME).read_bytes()
        (folder / NAME).write_bytes(change(good))
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert decode.calls == 2
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("lossforge.training.image_cache", "WARNING")
        assert str(folder / NAME) in record.getMessage()
        assert record.getMessage().endswith("decoding them again")
        assert any(part in record.getMessage() for part in reason.split("|"))
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert decode.calls == 2, "the cache is whole again"

    def test_is_removed_before_anything_is_decoded(self, folder):
        cached("some", FINGERPRINT, Decoder())
        (folder / NAME).write_bytes(b"damaged")

        def decode():
            assert not (folder / NAME).exists()
            raise DataError("the source is gone")

        with pytest.raises(DataError, match="the source is gone"):
            cached("some", FINGERPRINT, decode)

    def test_that_cannot_be_removed_is_told(self, folder, caplog, monkeypatch):
        decode = Decoder()
        cached("some", FINGERPRINT, decode)
        (folder / NAME).write_bytes(b"damaged")

        def refuse(path, missing_ok=False):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "unlink", refuse)
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert f"{folder / NAME}: cannot be removed (Permission denied)" in caplog.messages


class TestWithoutACache:
    def test_a_folder_that_cannot_be_made(self, folder, caplog):
        folder.parent.write_text("a file where the folder should be")
        decode = Decoder()
        for _ in range(2):
            assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert decode.calls == 2
        told = [message for message in caplog.messages if "cannot be kept" in message]
        assert told == [f"{folder}: decoded images cannot be kept (Not a directory); LOSSFORGE_CACHE chooses where"]

    def test_a_full_disk(self, folder, caplog, monkeypatch):
        def fail(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(files.os, "fsync", fail)
        decode = Decoder()
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert caplog.messages == [
            f"{folder}: decoded images cannot be kept (No space left on device); LOSSFORGE_CACHE chooses where"
        ]
        assert os.listdir(folder) == []

    def test_a_file_that_cannot_be_read_is_left_alone(self, folder, caplog):
        (folder / NAME).mkdir(parents=True)  # a folder fails as a file of somebody else does
        decode = Decoder()
        assert_same(cached("some", FINGERPRINT, decode), decode.data)
        first, second = caplog.messages
        assert "cannot be read" in first
        assert "cannot be kept (Is a directory)" in second
        assert (folder / NAME).is_dir()

    def test_no_home(self, caplog, monkeypatch):
        for name in ("LOSSFORGE_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)

        def homeless(path):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "expanduser", homeless)
        decode = Decoder()
        for _ in range(2):
            assert_same(cached("some", FINGERPRINT, decode), decode.data)
        assert decode.calls == 2
        assert len(caplog.messages) == 1
        assert "Could not determine home directory.; LOSSFORGE_CACHE chooses where" in caplog.text


def in_order(images_NCHW: torch.Tensor, *order: int) -> torch.Tensor:
    """Return the same images with their dimensions in this order in memory."""
    back = [order.index(dimension) for dimension in range(4)]
    return images_NCHW.permute(*order).contiguous().permute(*back)


class TestContentHash:
    def test_is_the_sha256_of_names_types_shapes_and_bytes(self):
        data = image_data(names=("a", "é"))
        content = b'["a", "\\u00e9"]'
        for name, part, num in (("train", data.train, 6), ("test", data.test, 2)):
            pixels = np.moveaxis(part.images_NCHW.numpy(), 1, 3).tobytes()
            content += f"\n{name}_images_NHWC uint8 ({num}, 4, 5, 3)\n".encode() + pixels
            labels = b"".join(int(label).to_bytes(8, "little") for label in part.labels_N)
            content += f"\n{name}_labels_N int64 ({num},)\n".encode() + labels
        assert content_hash(data) == hashlib.sha256(content).hexdigest()

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 3, 2)])
    def test_does_not_depend_on_strides(self, order):
        data = image_data()
        images_NCHW = in_order(data.train.images_NCHW, *order)
        labels_N = torch.stack([data.train.labels_N] * 2, dim=1)[:, 0]
        assert not labels_N.is_contiguous()
        other = ImageData(ImageSet(images_NCHW, labels_N), data.test, data.class_names)
        assert content_hash(other) == content_hash(data)

    def test_is_that_of_the_decoded_images_when_they_are_cached(self):
        data = image_data()
        strided = ImageSet(in_order(data.train.images_NCHW, 0, 1, 3, 2), data.train.labels_N)
        decode = Decoder(ImageData(strided, data.test, data.class_names))
        cached("some", FINGERPRINT, decode)
        assert content_hash(cached("some", FINGERPRINT, decode)) == content_hash(data)
        assert decode.calls == 1

    def test_tells_everything_apart(self):
        data = image_data()
        train, test, names = data.train, data.test, data.class_names
        pixel = train.images_NCHW.clone()
        pixel[5, 2, 3, 4] ^= 1
        label = train.labels_N.clone()
        label[5] = (label[5] + 1) % 3
        others = [
            ImageData(ImageSet(pixel, train.labels_N), test, names),
            ImageData(ImageSet(train.images_NCHW, label), test, names),
            ImageData(test, train, names),
            ImageData(train, train, names),
            ImageData(train, test, ("ant", "fly", "bee")),
            ImageData(train, test, (*names, "wasp")),
            ImageData(ImageSet(train.images_NCHW, train.labels_N.int()), test, names),
            ImageData(ImageSet(train.images_NCHW.contiguous().view(6, 3, 5, 4), train.labels_N), test, names),
            ImageData(ImageSet(in_order(train.images_NCHW, 0, 2, 3, 1).view(torch.int8), train.labels_N), test, names),
        ]
        assert len({content_hash(each) for each in (data, *others)}) == 1 + len(others)

    def test_sees_the_split_between_shape_and_bytes(self):
        pixels = torch.zeros(2, 2, 2, 1, dtype=torch.uint8)
        labels = torch.zeros(2, dtype=torch.int64)
        one = ImageSet(pixels, labels)
        other = ImageSet(pixels.reshape(2, 2, 1, 2), labels)
        assert content_hash(ImageData(one, one, ())) != content_hash(ImageData(other, one, ()))

    def test_of_an_empty_part(self):
        data = image_data()
        empty = ImageSet(data.test.images_NCHW[:0], data.test.labels_N[:0])
        assert content_hash(ImageData(data.train, empty, data.class_names)) != content_hash(data)


class TestFilesDigest:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "root"
        (root / "train").mkdir(parents=True)
        for name in ("a", "b"):
            (root / "train" / name).write_text(name)
            os.utime(root / "train" / name, ns=(10**18, 10**18))
        return root

    def digest(self, root):
        return files_digest(root, sorted((root / "train").iterdir()))

    def test_moves_with_the_files(self, root, tmp_path):
        before = self.digest(root)
        assert self.digest(root.rename(tmp_path / "moved")) == before

    @pytest.mark.parametrize("change", ["name", "size", "time", "fewer"])
    def test_tells_changes(self, root, change):
        before = self.digest(root)
        path = root / "train" / "b"
        if change == "name":
            path.rename(root / "train" / "c")
        elif change == "size":
            path.write_text("longer")
            os.utime(path, ns=(10**18, 10**18))
        elif change == "time":
            os.utime(path, ns=(10**18, 10**18 + 1))
        else:
            path.unlink()
        assert self.digest(root) != before

    def test_a_file_that_is_not_there(self, root):
        with pytest.raises(FileNotFoundError, match="absent"):
            files_digest(root, [root / "absent"])
