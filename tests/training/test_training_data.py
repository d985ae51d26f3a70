import hashlib
from typing import Literal

import numpy as np
import pytest
import torch

from lossforge.errors import DataError, SpecError
from lossforge.files import to_json
from lossforge.interfaces import Dataset
from lossforge.spec.training import AsymmetricNoise, FileNoise, SymmetricNoise, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import prepare
from lossforge.training.data import channel_statistics
from lossforge.training.datasets import Digits, FakeImages
from lossforge.training.models import ResNet8
from lossforge.training.stratify import stratified_subset
from lossforge.types import ImageData, ImageSet


def spec(**options):
    dataset = options.pop("dataset", FakeImages(num_train=60, num_test=40, image_shape=(3, 5, 4), num_classes=5))
    return TrainingSpec(dataset=dataset, model=ResNet8(), crop_padding=0, **options)


def labels_by_image(images):
    """Return the label of each image, which is known by its bytes."""
    rows = zip(images.images_NCHW.contiguous(), images.labels_N.tolist(), strict=True)
    return {image.numpy().tobytes(): label for image, label in rows}


class Uneven(Dataset):
    """Numbered images of three classes, one of which may have none."""

    type: Literal["uneven"] = "uneven"
    counts: tuple[int, int, int] = (20, 10, 4)

    def load(self):
        labels = torch.cat([torch.full((num,), label) for label, num in enumerate(self.counts)])
        images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
        return ImageData(ImageSet(images, labels), ImageSet(images[:6], labels[:6]), ("a", "b", "c"))


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


def test_subsets_are_drawn_from_streams_of_their_own():
    data, whole = prepare(spec(num_train=20, num_test=10, num_validation=15), 3, "cpu"), spec().dataset.load()
    labels = whole.train.labels_N

    def drawn(labels, num, part):
        return stratified_subset(labels, num, derive_generator(3, f"training.subset.{part}"))

    held_out = drawn(labels, 15, "validation")
    left = torch.tensor([index for index in range(60) if index not in held_out.tolist()])
    chosen = left[drawn(labels[left], 20, "train")]
    assert torch.equal(data.validation.images_NCHW, whole.train.images_NCHW[held_out])
    assert torch.equal(data.train.images_NCHW, whole.train.images_NCHW[chosen])
    assert torch.equal(data.test.images_NCHW, whole.test.images_NCHW[drawn(whole.test.labels_N, 10, "test")])


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


class TestValidation:
    def test_is_apart_from_what_is_trained_on_and_nothing_is_lost(self):
        data = prepare(spec(num_validation=20), 0, "cpu")
        train, validation = labels_by_image(data.train), labels_by_image(data.validation)
        assert not train.keys() & validation.keys()
        assert {**train, **validation} == labels_by_image(spec().dataset.load().train)
        assert (len(train), len(validation)) == (40, 20)

    def test_has_each_class_in_its_share(self):
        data = prepare(spec(num_validation=20, num_train=15), 0, "cpu")
        assert torch.bincount(data.validation.labels_N).tolist() == [4] * 5
        assert torch.bincount(data.train.labels_N).tolist() == [3] * 5

    def test_depends_on_the_seed_and_its_size_alone(self):
        def held_out(seed=0, **options):
            return prepare(spec(num_validation=20, **options), seed, "cpu").validation

        assert torch.equal(held_out().images_NCHW, held_out().images_NCHW)
        others = held_out(num_train=10, num_test=5, long_tail=3.0, label_noise=SymmetricNoise(rate=0.5), epochs=3)
        assert torch.equal(held_out().images_NCHW, others.images_NCHW)
        assert not torch.equal(held_out().images_NCHW, held_out(seed=1).images_NCHW)

    def test_is_none_where_none_is_asked_for(self):
        assert prepare(spec(), 0, "cpu").validation is None

    def test_has_no_part_in_the_normalisation(self):
        data = prepare(spec(num_validation=20), 0, "cpu")
        expected = data.train.images_NCHW.double().mean(dim=(0, 2, 3))
        assert torch.allclose(data.mean_C.double(), expected, rtol=1e-6)
        assert data.validation.images_NCHW.is_contiguous(memory_format=torch.channels_last)

    def test_leaves_something_to_train_on(self):
        assert len(prepare(spec(num_validation=58), 0, "cpu").train.labels_N) == 2
        message = "num_validation asks for 59 of 60 training images, and at least 2 are needed.*; lower num_validation"
        with pytest.raises(DataError, match=message):
            prepare(spec(num_validation=59), 0, "cpu")
        with pytest.raises(DataError, match="num_train asks for 41 images, but the dataset has 40"):
            prepare(spec(num_validation=20, num_train=41), 0, "cpu")


class TestWrongLabels:
    NOISE = SymmetricNoise(rate=0.5)

    def test_are_in_training_and_validation_and_not_in_the_test(self):
        data = prepare(spec(num_validation=20, label_noise=self.NOISE), 0, "cpu")
        clean = labels_by_image(spec().dataset.load().train)
        for part, name in ((data.train, "train"), (data.validation, "validation")):
            given = labels_by_image(part)
            wrong = sum(label != clean[image] for image, label in given.items()) / len(given)
            assert 0.25 < wrong < 0.75
            assert data.record["wrong_labels"][name] == wrong
        assert torch.equal(data.test.labels_N, spec().dataset.load().test.labels_N)
        assert data.record["wrong_labels"]["test"] == 0

    @pytest.mark.parametrize("options", [{"num_train": 15}, {"num_validation": 30}, {"long_tail": 5.0}], ids=repr)
    def test_are_the_same_whichever_images_are_taken(self, options):
        whole = labels_by_image(prepare(spec(label_noise=self.NOISE), 0, "cpu").train)
        data = prepare(spec(label_noise=self.NOISE, **options), 0, "cpu")
        found = labels_by_image(data.train) | ({} if data.validation is None else labels_by_image(data.validation))
        assert found.items() <= whole.items()

    def test_do_not_decide_which_images_are_taken(self):
        options = {"num_train": 15, "num_validation": 20, "long_tail": 5.0}
        clean, noisy = (prepare(spec(label_noise=noise, **options), 0, "cpu") for noise in (None, self.NOISE))
        assert torch.equal(clean.train.images_NCHW, noisy.train.images_NCHW)
        assert torch.equal(clean.validation.images_NCHW, noisy.validation.images_NCHW)
        assert not torch.equal(clean.train.labels_N, noisy.train.labels_N)

    def test_of_a_file_follow_the_order_of_the_dataset(self, tmp_path):
        given = np.arange(60) * 7 % 5
        np.save(tmp_path / "labels.npy", given)
        noise = FileNoise(path=str(tmp_path / "labels.npy"))
        whole = spec().dataset.load().train
        expected = labels_by_image(ImageSet(whole.images_NCHW, torch.from_numpy(given)))
        data = prepare(spec(label_noise=noise, num_train=30), 0, "cpu")
        assert labels_by_image(data.train).items() <= expected.items()

    def test_of_pairs_that_do_not_fit_are_refused(self):
        with pytest.raises(SpecError, match=r"training\.label_noise\.pairs: no class is called 'airplane'"):
            prepare(spec(label_noise=AsymmetricNoise(rate=0.2)), 0, "cpu")


class TestLongTail:
    def test_is_cut_from_what_validation_leaves(self):
        data = prepare(spec(num_validation=20, long_tail=4.0), 0, "cpu")
        assert torch.bincount(data.train.labels_N).tolist() == [8, 5, 4, 2, 2]  # 8 4^(-c/4)
        assert torch.bincount(data.validation.labels_N).tolist() == [4] * 5
        assert len(data.test.labels_N) == 40

    def test_subsets_of_it_keep_its_shares(self):
        data = prepare(spec(long_tail=4.0, num_train=15), 0, "cpu")
        assert torch.bincount(data.train.labels_N).tolist() == [5, 4, 3, 2, 1]  # of [12, 8, 6, 4, 3]

    def test_needs_images_of_each_class(self):
        data = prepare(spec(dataset=Uneven(), long_tail=4.0), 0, "cpu")
        assert torch.bincount(data.train.labels_N).tolist() == [4, 2, 1]
        with pytest.raises(DataError, match="long_tail needs training images of each class, and one has none"):
            prepare(spec(dataset=Uneven(counts=(20, 10, 0)), long_tail=4.0), 0, "cpu")


class TestRecord:
    def test_says_what_was_drawn(self):
        options = {"num_validation": 10, "num_train": 20, "num_test": 15, "label_noise": SymmetricNoise(rate=0.3)}
        data = prepare(spec(**options), 0, "cpu")
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        for name, part in parts.items():
            # By the dataset's own labels, and drawn in equal shares: whatever noise makes of them.
            assert data.record["images_a_class"][name] == [len(part.labels_N) // 5] * 5
        assert set(data.record["indices_sha256"]) == set(parts)
        to_json(dict(data.record))  # plain values

    def test_has_a_hash_of_the_images_places_in_the_dataset(self):
        data = prepare(spec(dataset=Uneven(), num_validation=5, num_train=8, num_test=3), 0, "cpu")
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        for name, part in parts.items():
            places = part.images_NCHW[:, 0, 0, 0].numpy().astype("<i8")
            assert data.record["indices_sha256"][name] == hashlib.sha256(places.tobytes()).hexdigest()

    def test_has_a_hash_of_the_labels_given(self):
        data = prepare(spec(num_validation=10, label_noise=SymmetricNoise(rate=0.3)), 0, "cpu")
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        for name, part in parts.items():
            labels = part.labels_N.numpy().astype("<i8")
            assert data.record["labels_sha256"][name] == hashlib.sha256(labels.tobytes()).hexdigest()

    def test_without_validation_is_of_training_and_test(self):
        record = prepare(spec(), 0, "cpu").record
        assert record["wrong_labels"] == {"train": 0.0, "test": 0.0}
        for name in ("images_a_class", "indices_sha256", "labels_sha256"):
            assert set(record[name]) == {"train", "test"}

    def test_has_a_hash_of_the_dataset_whatever_is_drawn_from_it(self):
        first = prepare(spec(), 0, "cpu").record["dataset_sha256"]
        again = prepare(spec(num_train=20, num_validation=10, label_noise=SymmetricNoise(rate=0.5)), 1, "cpu")
        other = spec(dataset=FakeImages(num_train=60, num_test=40, image_shape=(3, 5, 4), num_classes=5, seed=1))
        assert again.record["dataset_sha256"] == first
        assert prepare(other, 0, "cpu").record["dataset_sha256"] != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": 4}, "crop_padding: a border of 4 pixels cannot be reflected from 5x4 images; use at most 3"),
        ({"cutout": 5}, "cutout: a square of 5 pixels does not fit 5x4 images; use at most 4"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(options, message):
    (option, value), *_ = options.items()
    with pytest.raises(SpecError) as caught:
        prepare(spec().model_copy(update=options), 0, "cpu")
    assert str(caught.value) == f"training.{message}"
    assert prepare(spec().model_copy(update={option: value - 1}), 0, "cpu").image_shape == (3, 5, 4)
