import gc
import json
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from lossforge import registry
from lossforge.errors import DataError
from lossforge.training.datasets import TensorFile, write_tensor_file
from lossforge.types import ImageData, ImageSet


def arrays(**changes):
    generator = np.random.default_rng(0)
    whole = {
        "train_images": generator.integers(0, 256, (5, 2, 3, 4), dtype=np.uint8),
        "train_labels": np.array([0, 2, 1, 0, 2]),
        "test_images": generator.integers(0, 256, (3, 2, 3, 4), dtype=np.uint8),
        "test_labels": np.array([1, 0, 1]),
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def write_npz(path, stored, names=None):
    np.savez(path, **stored, **({} if names is None else {"class_names": np.array(names)}))


def write_safetensors(path, stored, names=None):
    tensors = {key: torch.from_numpy(array) for key, array in stored.items()}
    safetensors.torch.save_file(tensors, path, None if names is None else {"class_names": json.dumps(names)})


FORMATS = {".npz": write_npz, ".safetensors": write_safetensors}


@pytest.fixture(params=FORMATS)
def write(request, tmp_path):
    """Write a file in one of the formats, and return its path."""

    def write(stored, names=None):
        path = tmp_path / f"images{request.param}"
        FORMATS[request.param](path, stored, names)
        return path

    return write


def load(path):
    return TensorFile(path=str(path)).load()


def assert_reads(data, stored):
    for name, part in (("train", data.train), ("test", data.test)):
        assert part.images_NCHW.dtype == torch.uint8
        assert part.labels_N.dtype == torch.int64
        np.testing.assert_array_equal(part.images_NCHW.numpy(), stored[f"{name}_images"])
        np.testing.assert_array_equal(part.labels_N.numpy(), stored[f"{name}_labels"])


def told(path, match):
    with pytest.raises(DataError, match=match) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


class TestReading:
    def test_with_names(self, write):
        data = load(write(arrays(), ["ant", "bee", "çat", "dog"]))
        assert_reads(data, arrays())
        assert data.class_names == ("ant", "bee", "çat", "dog")

    def test_without_names_classes_are_numbered(self, write):
        assert load(write(arrays())).class_names == ("0", "1", "2")
        assert load(write(arrays(test_labels=np.array([0, 3, 1])))).class_names == ("0", "1", "2", "3")

    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
    def test_labels_are_any_integers(self, write, dtype):
        stored = arrays(train_labels=np.array([0, 2, 1, 0, 2], dtype=dtype))
        assert_reads(load(write(stored)), stored)

    def test_labels_in_another_byte_order(self, tmp_path):
        stored = arrays(train_labels=np.array([0, 2, 1, 0, 2], dtype=">i4"))
        write_npz(tmp_path / "a.npz", stored)
        assert_reads(load(tmp_path / "a.npz"), stored)

    def test_a_compressed_archive_in_another_memory_order(self, tmp_path):
        stored = arrays()
        np.savez_compressed(tmp_path / "a.npz", **{key: np.asfortranarray(array) for key, array in stored.items()})
        assert_reads(load(tmp_path / "a.npz"), stored)

    def test_other_arrays_are_passed_over(self, write):
        assert_reads(load(write(arrays(train_ids=np.arange(5)))), arrays())

    def test_the_home_folder_is_expanded(self, write, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert_reads(load(f"~/{write(arrays()).name}"), arrays())

    def test_what_was_read_does_not_change_with_the_file(self, write):
        path = write(arrays())
        data = load(path)
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        assert_reads(data, arrays())

    def test_is_what_a_spec_names(self):
        assert registry.get("datasets", "tensor_file") is TensorFile


class TestWhatIsNotAsItShouldBe:
    def test_no_file(self, tmp_path):
        told(tmp_path / "absent.npz", "no such file; correct path")
        (tmp_path / "folder.npz").mkdir()
        told(tmp_path / "folder.npz", "no such file; correct path")

    def test_another_format(self, tmp_path):
        path = tmp_path / "images.pt"
        path.write_bytes(b"?")
        told(path, r"neither \.safetensors nor \.npz; give")

    @pytest.mark.parametrize("key", sorted(arrays()))
    def test_a_missing_array(self, write, key):
        told(write(arrays(**{key: None})), f"no {key}; give all of {', '.join(arrays())}$")

    @pytest.mark.parametrize(
        ("images", "described"),
        [
            (np.zeros((5, 2, 3, 4), dtype=np.float32), r"float32 of shape \(5, 2, 3, 4\)"),
            (np.zeros((5, 2, 3, 4), dtype=np.int8), r"int8 of shape \(5, 2, 3, 4\)"),
            (np.zeros((5, 2, 3, 4), dtype=bool), r"bool of shape \(5, 2, 3, 4\)"),
            (np.zeros((5, 3, 4), dtype=np.uint8), r"uint8 of shape \(5, 3, 4\)"),
            (np.zeros((5, 2, 3, 4, 1), dtype=np.uint8), r"uint8 of shape \(5, 2, 3, 4, 1\)"),
            (np.zeros((0, 2, 3, 4), dtype=np.uint8), r"uint8 of shape \(0, 2, 3, 4\)"),
            (np.zeros((5, 2, 0, 4), dtype=np.uint8), r"uint8 of shape \(5, 2, 0, 4\)"),
        ],
    )
    @pytest.mark.parametrize("part", ["train", "test"])
    def test_images_of_another_type_or_shape(self, write, part, images, described):
        told(write(arrays(**{f"{part}_images": images})), rf"{part}_images is {described}; give uint8 .*\(N, C, H, W\)")

    @pytest.mark.parametrize(
        ("labels", "described"),
        [
            (np.zeros(3), r"float64 of shape \(3,\)"),
            (np.zeros(3, dtype=bool), r"bool of shape \(3,\)"),
            (np.zeros(3, dtype=np.complex64), r"complex64 of shape \(3,\)"),
            (np.zeros(4, dtype=np.int64), r"int64 of shape \(4,\)"),
            (np.zeros(2, dtype=np.int64), r"int64 of shape \(2,\)"),
            (np.zeros((3, 1), dtype=np.int64), r"int64 of shape \(3, 1\)"),
            (np.zeros((), dtype=np.int64), r"int64 of shape \(\)"),
        ],
    )
    def test_labels_of_another_type_or_shape(self, write, labels, described):
        told(write(arrays(test_labels=labels)), f"test_labels is {described}; give 3 integers, one an image")

    def test_parts_of_different_shapes(self, write):
        stored = arrays(test_images=np.zeros((3, 2, 4, 3), dtype=np.uint8))
        told(write(stored), r"images of shape \(2, 3, 4\) to train on and \(2, 4, 3\) to test; give them one shape")

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_negative_label(self, write, part):
        labels = arrays()[f"{part}_labels"].astype(np.int16)
        labels[-1] = -1
        path = write(arrays(**{f"{part}_labels": labels}), ["a", "b", "c"])
        told(path, f"{part}_labels holds -1; number the classes from 0")

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_a_label_without_a_name(self, write, part):
        labels = arrays()[f"{part}_labels"]
        labels[0] = 3
        path = write(arrays(**{f"{part}_labels": labels}), ["a", "b", "c"])
        told(path, "a label is 3, but class_names holds 3; give a list of texts, one a class")

    def test_more_classes_than_images_need_names(self, write):
        stored = arrays(test_labels=np.array([0, 0, 2**40]))
        told(write(stored), r"the label 1099511627776 would make more classes .*, or give class_names")
        stored["test_labels"][2] = 5
        told(write(stored), "the label 5 would make more classes")
        assert len(load(write(stored, list("abcdef"))).class_names) == 6
        stored["test_labels"][2] = 4
        assert len(load(write(stored)).class_names) == 5

    @pytest.mark.parametrize("names", [[0, 1, 2], "abc", {"0": "a"}, ["a", ["b"], "c"], []])
    def test_class_names_in_safetensors_that_are_no_list_of_texts(self, tmp_path, names):
        write_safetensors(tmp_path / "a.safetensors", arrays(), names)
        told(tmp_path / "a.safetensors", "class_names.*; give a list of texts, one a class in label order")

    @pytest.mark.parametrize("names", [[0, 1, 2], "abc", [["a", "b"], ["c", "d"]], [b"a", b"b", b"c"]])
    def test_class_names_in_npz_that_are_no_array_of_texts(self, tmp_path, names):
        write_npz(tmp_path / "a.npz", arrays(), names)
        told(tmp_path / "a.npz", "class_names is not a list of texts; give a list of texts, one a class in label order")

    def test_class_names_that_are_no_json(self, tmp_path):
        tensors = {key: torch.from_numpy(array) for key, array in arrays().items()}
        safetensors.torch.save_file(tensors, tmp_path / "a.safetensors", {"class_names": "ant, bee"})
        told(tmp_path / "a.safetensors", "class_names in the metadata is not JSON .*; give a list of texts")

    @pytest.mark.parametrize("num", [0, 4, 100, -1])
    def test_a_damaged_file(self, write, num):
        path = write(arrays())
        path.write_bytes(path.read_bytes()[:num])
        told(path, r"cannot be read .*; write it anew|not an \.npz archive; write it with numpy\.savez")

    def test_a_damaged_array(self, tmp_path):
        path = tmp_path / "a.npz"
        write_npz(path, arrays())
        content = bytearray(path.read_bytes())
        start = content.index(arrays()["train_images"].tobytes())
        content[start] ^= 1
        path.write_bytes(content)
        told(path, "cannot be read .*CRC.*; write it anew")

    def test_a_damaged_directory_of_an_archive_leaves_no_file_open(self, tmp_path):
        path = tmp_path / "a.npz"
        write_npz(path, arrays())
        path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x03"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            told(path, "cannot be read .*central directory")
            gc.collect()
        assert caught == []

    def test_a_damaged_header_is_told_in_one_line(self, tmp_path):
        header = b"{" + b" " * 20_000 + b"}\n"  # numpy warns of long ones in several lines
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("train_images.npy", content)
        told(tmp_path / "a.npz", "cannot be read .*header")

    @pytest.mark.parametrize("key", ["train_labels", "class_names"])
    def test_pickled_arrays_are_refused(self, tmp_path, key):
        np.savez(tmp_path / "a.npz", **arrays(**{key: np.array([0, 1, None, 2, 3], dtype=object)}))
        told(tmp_path / "a.npz", "cannot be read .*allow_pickle=False.*without objects")

    def test_a_single_array_under_the_name_of_an_archive(self, tmp_path):
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, np.zeros(3))
        told(tmp_path / "a.npz", r"not an \.npz archive")

    def test_an_archive_behind_something_else(self, tmp_path):
        write_npz(tmp_path / "a.npz", arrays())
        (tmp_path / "a.npz").write_bytes(b"#!" + (tmp_path / "a.npz").read_bytes())
        told(tmp_path / "a.npz", "cannot be read")

    @pytest.mark.parametrize("key", ["train_images", "class_names"])
    def test_an_archive_of_something_else(self, tmp_path, key):
        write_npz(tmp_path / "a.npz", arrays(**{key: None}))
        with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
            archive.writestr(key, "no array")
        told(tmp_path / "a.npz", f"{key} is not an array; write it anew with numpy.savez")

    def test_arrays_of_texts(self, tmp_path):
        write_npz(tmp_path / "a.npz", arrays(train_labels=np.array(list("abcab"))))
        told(tmp_path / "a.npz", "train_labels is <U1; give numbers")


class TestWriting:
    def data(self, **changes):
        images = torch.randint(0, 256, (4, 3, 2, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1, 2, 1])
        # Both parts share memory, and neither is contiguous.
        whole = ImageSet(images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), labels)
        return ImageData(whole, ImageSet(whole.images_NCHW[2:], labels[2:]), ("ant", "bée", "fly"))

    @pytest.mark.parametrize("kind", [str, lambda path: path])
    def test_is_read_again(self, tmp_path, kind):
        path = tmp_path / "mine.safetensors"
        write_tensor_file(kind(path), self.data())
        data = load(path)
        for found, expected in ((data.train, self.data().train), (data.test, self.data().test)):
            assert torch.equal(found.images_NCHW, expected.images_NCHW)
            assert torch.equal(found.labels_N, expected.labels_N)
        assert data.class_names == ("ant", "bée", "fly")
        assert [entry.name for entry in tmp_path.iterdir()] == ["mine.safetensors"]

    def test_another_name_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"mine\.npz: the name must end in \.safetensors; give another"):
            write_tensor_file(tmp_path / "mine.npz", self.data())
        assert list(tmp_path.iterdir()) == []

    def test_what_could_not_be_read_again_is_refused(self, tmp_path):
        data = self.data()
        path = tmp_path / "mine.safetensors"
        with pytest.raises(DataError, match="a label is 2, but class_names holds 2"):
            write_tensor_file(path, ImageData(data.train, data.test, ("ant", "bee")))
        pixels = ImageSet(data.train.images_NCHW.float(), data.train.labels_N)
        with pytest.raises(DataError, match="train_images is float32"):
            write_tensor_file(path, ImageData(pixels, data.test, data.class_names))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            write_tensor_file(tmp_path / "absent" / "mine.safetensors", self.data())
