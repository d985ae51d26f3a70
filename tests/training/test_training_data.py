import pytest
import torch

from lossforge.errors import DataError
from lossforge.spec.model import TrainingSpec
from lossforge.training import prepare
from lossforge.training.data import channel_statistics
from lossforge.training.datasets import Digits, FakeImages
from lossforge.training.models import ResNet8


def spec(**options):
    dataset = options.pop("dataset", FakeImages(num_train=60, num_test=40, image_shape=(3, 5, 4), num_classes=5))
    return TrainingSpec(dataset=dataset, model=ResNet8(), crop_padding=0, **options)


def test_takes_everything_by_default():
    data = prepare(spec(), 0, "cpu")
    whole = spec().dataset.load()
    assert torch.equal(data.train.images_NCHW, whole.train.images_NCHW)
    assert torch.equal(data.test.labels_N, whole.test.labels_N)
    assert data.image_shape == (3, 5, 4)
    assert data.num_classes == 5
    assert data.device == torch.device("cpu")
    assert data.train.images_NCHW.is_contiguous(memory_format=torch.channels_last)


def test_subsets_keep_the_class_shares_and_come_from_the_whole():
    data = prepare(spec(num_train=20, num_test=10), 0, "cpu")
    assert torch.bincount(data.train.labels_N).tolist() == [4] * 5
    assert torch.bincount(data.test.labels_N).tolist() == [2] * 5
    whole = spec().dataset.load().train
    known = {image.numpy().tobytes(): int(label) for image, label in zip(*vars(whole).values(), strict=True)}
    for image, label in zip(data.train.images_NCHW.contiguous(), data.train.labels_N, strict=True):
        assert known[image.numpy().tobytes()] == int(label)


def test_subsets_depend_on_the_seed_alone():
    def images(seed, **options):
        return prepare(spec(num_train=20, **options), seed, "cpu").train.images_NCHW

    assert torch.equal(images(0), images(0))
    assert torch.equal(images(0), images(0, num_test=10, epochs=3))
    assert not torch.equal(images(0), images(1))


def test_channels_are_normalised_over_the_training_subset():
    data = prepare(spec(num_train=20), 0, "cpu")
    normalised = data.normalise(data.train.images_NCHW).double()
    assert normalised.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert normalised.std(dim=(0, 2, 3), correction=0).sub(1).abs().max() < 1e-6
    expected = data.train.images_NCHW.double().mean(dim=(0, 2, 3))
    assert torch.allclose(data.mean_C.double(), expected, rtol=1e-6)
    assert data.train.images_NCHW.dtype == torch.uint8  # left as they are


def test_a_channel_that_does_not_vary_is_not_divided_by_zero():
    images = torch.full((2, 2, 3, 3), 7, dtype=torch.uint8)
    images[0, 1, 0, 0] = 255
    mean, std = channel_statistics(images)
    assert (mean[0].item(), std[0].item()) == (7.0, 1.0)
    assert std[1].item() == pytest.approx(images[:, 1].double().std(correction=0).item(), rel=1e-6)


@pytest.mark.parametrize(("part", "available"), [("train", 60), ("test", 40)])
def test_more_images_than_there_are_is_an_error(part, available):
    message = f"num_{part} asks for 61 images, but the dataset has {available}; lower num_{part}"
    with pytest.raises(DataError, match=message):
        prepare(spec(**{f"num_{part}": 61}), 0, "cpu")


def test_all_of_them_may_be_asked_for():
    data = prepare(spec(dataset=Digits(), num_train=1438), 0, "cpu")
    assert len(data.train.labels_N) == 1438
