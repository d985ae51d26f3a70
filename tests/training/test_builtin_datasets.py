import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits

from lossforge import registry
from lossforge.interfaces import Dataset
from lossforge.spec.training import TrainingSpec
from lossforge.testing import ComponentKit, DatasetKit
from lossforge.training.datasets import (
    CIFAR10,
    CIFAR100,
    SVHN,
    Digits,
    FakeImages,
    FashionMNIST,
    ImageFolder,
    TensorFile,
    write_tensor_file,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images of two classes as files, and as a file of tensors."""
    folder = tmp_path_factory.mktemp("images")
    data = FakeImages(num_train=6, num_test=2, image_shape=(3, 5, 4), num_classes=2).load()
    write_tensor_file(folder / "images.safetensors", data)
    for part, images in (("train", data.train), ("test", data.test)):
        for index, (pixels, label) in enumerate(zip(images.images_NCHW, images.labels_N, strict=True)):
            (folder / part / f"class {label}").mkdir(parents=True, exist_ok=True)
            pixels = pixels.permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / part / f"class {label}" / f"{index}.png")
    return folder


class TestDatasets(DatasetKit):
    @pytest.fixture(params=["digits", "split digits", "fake", "grey", "files", "tensors"])
    def component(self, request, folder, monkeypatch):
        monkeypatch.setenv("LOSSFORGE_CACHE", str(folder / "cache"))
        return {
            "digits": Digits(),
            "split digits": Digits(test_fraction=0.5, split_seed=3),
            "fake": FakeImages(),
            "grey": FakeImages(num_train=7, num_test=2, image_shape=(1, 4, 4), num_classes=2, seed=5),
            "files": ImageFolder(root=str(folder)),
            "tensors": TensorFile(path=str(folder / "images.safetensors")),
        }[request.param]


class TestArchives(ComponentKit):
    """Those whose images are not here; tests of their own write small ones."""

    base = Dataset

    @pytest.fixture(params=[CIFAR10, CIFAR100, SVHN, FashionMNIST])
    def component(self, request):
        return request.param()


def test_every_dataset_is_among_them():
    ours = {offer.type for offer in registry.offers("datasets") if offer.distribution == "lossforge"}
    assert ours == {"cifar10", "cifar100", "digits", "fake", "fashion_mnist", "image_folder", "svhn", "tensor_file"}


def test_a_spec_may_name_a_dataset_and_a_model_by_their_types():
    spec = TrainingSpec(dataset={"type": "fake", "image_shape": [1, 8, 8]}, model="resnet8")
    assert spec.dataset == FakeImages(image_shape=(1, 8, 8))
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec


def test_digits_are_all_there_in_the_range_of_bytes():
    data = Digits().load()
    assert data.class_names == tuple("0123456789")
    assert data.train.images_NCHW.shape == (1438, 1, 8, 8)
    assert data.test.images_NCHW.shape == (359, 1, 8, 8)
    pixels = torch.cat([data.train.images_NCHW, data.test.images_NCHW])
    labels = torch.cat([data.train.labels_N, data.test.labels_N])
    assert (pixels.dtype, labels.dtype) == (torch.uint8, torch.int64)
    expected = load_digits()
    found = sorted((int(label), image.tobytes()) for image, label in zip(pixels.numpy(), labels, strict=True))
    scaled = np.rint(expected.images * 255 / 16).astype(np.uint8)
    assert found == sorted((int(label), image.tobytes()) for image, label in zip(scaled, expected.target, strict=True))


def test_digits_keep_the_class_shares_in_the_test_part():
    test = Digits(test_fraction=0.5).load().test
    everywhere = np.bincount(load_digits().target)
    assert np.abs(torch.bincount(test.labels_N).numpy() - everywhere / 2).max() <= 1


def test_digits_are_split_by_the_split_seed():
    first, other = Digits().load(), Digits(split_seed=1).load()
    assert not torch.equal(first.test.images_NCHW, other.test.images_NCHW)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_digits_leave_neither_part_empty(fraction):
    data = Digits(test_fraction=fraction).load()
    assert min(len(data.train.labels_N), len(data.test.labels_N)) == 1


def test_fake_images_are_noise_of_the_shape_asked_for():
    dataset = FakeImages(num_train=64, num_test=12, image_shape=(2, 6, 5), num_classes=3)
    data = dataset.load()
    assert data.train.images_NCHW.shape == (64, 2, 6, 5)
    assert data.test.images_NCHW.shape == (12, 2, 6, 5)
    assert data.train.images_NCHW.dtype == torch.uint8
    assert torch.bincount(data.test.labels_N).tolist() == [4, 4, 4]
    assert len(data.class_names) == 3
    assert data.train.images_NCHW.double().mean().item() == pytest.approx(127.5, abs=8)


def test_fake_images_are_others_for_another_seed_and_part():
    first, other = FakeImages().load(), FakeImages(seed=1).load()
    assert not torch.equal(first.train.images_NCHW, other.train.images_NCHW)
    assert not torch.equal(first.train.images_NCHW[:256], first.test.images_NCHW)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Digits, {"test_fraction": 0.0}),
        (Digits, {"test_fraction": 1.0}),
        (FakeImages, {"image_shape": (3, 0, 8)}),
        (FakeImages, {"num_classes": 1}),
        (ImageFolder, {}),
        (ImageFolder, {"root": "images", "image_size": 0}),
        (CIFAR10, {"path": "data"}),
        (CIFAR100, {"coarse": "yes"}),
        (SVHN, {"extra": 1}),
        (FashionMNIST, {"download": "no"}),
        (TensorFile, {}),
        (TensorFile, {"path": ""}),
    ],
)
def test_options_out_of_range_are_refused(cls, options):
    with pytest.raises(ValidationError):
        cls(**options)
