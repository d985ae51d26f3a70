"""Batches and steps: what is drawn, what a loss is given, and that nothing waits for the device in between."""

import dataclasses
import random
import sys
from collections import Counter
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lossforge import losses
from lossforge.errors import SpecError
from lossforge.interfaces import Model
from lossforge.spec.training import SGD, SymmetricNoise, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import prepare, steps, train_together
from lossforge.training.augment import augmented_batch, cut_out, draw_augmentation
from lossforge.training.datasets import FakeImages
from lossforge.training.mixing import Mix, draw_mixes, mixed
from lossforge.training.models import ResNet8
from lossforge.training.steps import Batch, batches, start, train_step


class LinearModel(Model):
    """A linear classifier."""

    type: Literal["linear_toy"] = "linear_toy"

    def build(self, image_shape, num_classes, generator):
        channels, height, width = image_shape
        layer = nn.Linear(channels * height * width, num_classes)
        nn.init.normal_(layer.weight, 0, 0.1, generator=generator)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Flatten(), layer)


EVERYTHING = {
    "num_validation": 8,
    "label_noise": SymmetricNoise(rate=0.3),
    "long_tail": 1.5,
    "optimizer": SGD(decoupled_weight_decay=True),
    "schedule": "cosine",
    "decay_norms": False,
    "clip_norm": 1.0,
    "ema_decay": 0.9,
    "crop_padding": 2,
    "cutout": 3,
    "mixup": 0.3,
    "cutmix": 1.0,
}


def spec(num_train=50, **options):
    dataset = FakeImages(num_train=num_train, num_test=10, image_shape=(3, 8, 6), num_classes=5)
    shared = {"dataset": dataset, "model": ResNet8(), "epochs": 2, "batch_size": 16, "precision": "float32"}
    return TrainingSpec(**{**shared, **options})


def begun(spec, seeds=(7,), loss=None):
    return start(spec, prepare(spec, 0, "cpu"), loss or nn.CrossEntropyLoss(), seeds, "float32")


class TestBatches:
    @pytest.mark.parametrize("options", [{}, {"cutout": 3}, {"mixup": 0.5}, {"cutmix": 1.0, "cutout": 2}], ids=repr)
    @pytest.mark.parametrize("seeds", [(7,), (7, 8)])
    def test_are_put_together_image_by_image(self, options, seeds):
        chosen = spec(crop_padding=2, **options)
        training = begun(chosen, seeds)
        data = training.data
        for epoch in (1, 2):
            found = list(batches(training, epoch))
            assert len(found) == training.steps_per_epoch == 3
            for replica, seed in enumerate(seeds):
                order = torch.randperm(50, generator=derive_generator(seed, "training.order", epoch))
                draws = draw_augmentation(
                    50,
                    flip=True,
                    padding=2,
                    cutout="cutout" in options,
                    generator=derive_generator(seed, "training.augmentation", epoch),
                )
                mixes = draw_mixes(
                    3,
                    mixup=options.get("mixup", 0.0),
                    cutmix=options.get("cutmix", 0.0),
                    size=(8, 6),
                    generator=derive_generator(seed, "training.mixing", epoch),
                )
                for step, batch in enumerate(found):
                    part = slice(16 * step, 16 * step + 16)
                    images = data.normalise(
                        augmented_batch(data.train.images_NCHW, order[part], draws.take(part)),
                    )
                    if "cutout" in options:
                        cut_out(images, draws.take(part).hole_N2, options["cutout"])
                    if "mixup" in options or "cutmix" in options:
                        mixed(images, mixes[step])
                        assert batch.mixes[replica] == mixes[step]
                        assert batch.share_R[replica] == mixes[step].share
                    assert torch.equal(batch.images_RBCHW[replica], images)
                    assert torch.equal(batch.labels_RB[replica], data.train.labels_N[order[part]])

    def test_are_of_one_size_and_a_rest_is_dropped(self):
        training = begun(spec())
        assert [batch.images_RBCHW.shape for batch in batches(training, 1)] == [(1, 16, 3, 8, 6)] * 3
        only = begun(spec(batch_size=64))
        assert [batch.labels_RB.shape for batch in batches(only, 1)] == [(1, 50)]

    def test_are_channels_last_and_float32(self):
        for batch in batches(begun(spec(**EVERYTHING), (1, 2)), 1):
            assert batch.images_RBCHW.dtype == torch.float32
            assert batch.images_RBCHW[1].is_contiguous(memory_format=torch.channels_last)

    def test_without_mixing_a_share_is_whole(self):
        (batch, *_) = batches(begun(spec(), (1, 2)), 1)
        assert batch.mixes == ()
        assert batch.share_R.tolist() == [1.0, 1.0]
        assert batch.share_R.dtype == torch.float64

    def test_holes_are_zero_in_normalised_images(self):
        chosen = spec(cutout=4, crop_padding=0)
        (batch, *_) = batches(begun(chosen), 1)
        # A hole of at most 4x4 of 8x6 pixels, and at least 2x2 of it, in all channels at once.
        zero = (batch.images_RBCHW[0] == 0).all(dim=1).sum(dim=(1, 2))
        assert zero.min() >= 4
        assert zero.max() == 16

    def test_a_head_that_takes_labels_is_not_given_mixtures(self):
        for option in ("mixup", "cutmix"):
            chosen = spec(model=ResNet8(head={"type": "large_margin"}), **{option: 1.0})
            with pytest.raises(SpecError, match=r"puts a margin on one label, and mixed images have two"):
                begun(chosen)


def by_hand(logits, batch, loss):
    """Return the loss of a batch from soft targets, one image at a time, and the share of right predictions."""
    (mix,) = batch.mixes
    labels = batch.labels_RB[0]
    one_hot = nn.functional.one_hot(labels, logits.shape[1]).double()
    soft = mix.share * one_hot + (1 - mix.share) * one_hot.roll(1, dims=0)
    right = sum(float(soft[index, row.argmax()]) for index, row in enumerate(logits)) / len(logits)
    return loss(logits, soft), right


class TestStep:
    @pytest.mark.parametrize("name", ["cross_entropy", "focal", "gce", "mae", "poly1", "nce", "squentropy"])
    @pytest.mark.parametrize("mix", [Mix(0.3), Mix(0.75, (0, 4, 0, 3)), Mix(1.0), Mix(0.0)], ids=repr)
    def test_a_mixture_is_charged_and_counted_as_its_shares(self, name, mix):
        training = begun(spec(model=LinearModel()), loss=losses.get(name))
        images = torch.randn(1, 16, 3, 8, 6, generator=derive_generator(0, "test.images"))
        with torch.no_grad():
            logits = training.replicas.network(0)(images[0]).double()
        labels = torch.where(torch.arange(16) % 3 > 0, logits.argmax(dim=1), torch.arange(16) % 5)[None]
        batch = Batch(images, labels, (mix,), torch.tensor([mix.share], dtype=torch.float64))
        expected, right = by_hand(logits, batch, losses.get(name))
        loss_R, correct_R = train_step(training, 0, batch)
        assert loss_R.item() == pytest.approx(expected.item(), rel=1e-5)
        assert correct_R.item() == pytest.approx(right, rel=1e-12)
        assert not loss_R.requires_grad

    def test_each_replica_is_charged_for_its_own_mixture(self):
        training = begun(spec(model=LinearModel(), mixup=1.0), (1, 2, 3))
        alone = [begun(spec(model=LinearModel(), mixup=1.0), (seed,)) for seed in (1, 2, 3)]
        (batch, *_) = batches(training, 1)
        assert len({mix.share for mix in batch.mixes}) == 3
        expected = [train_step(each, 0, next(batches(each, 1))) for each in alone]
        for found, of_each in zip(train_step(training, 0, batch), zip(*expected, strict=True), strict=True):
            torch.testing.assert_close(found, torch.cat(of_each), rtol=1e-5, atol=1e-6)

    def test_images_that_are_not_mixed_are_right_or_wrong(self):
        training = begun(spec(model=LinearModel()))
        (batch, *_) = batches(training, 1)
        with torch.no_grad():
            predicted = training.replicas.network(0)(batch.images_RBCHW[0]).argmax(dim=1)
        expected = (predicted == batch.labels_RB[0]).double().mean()
        assert train_step(training, 0, batch)[1].tolist() == [expected.item()]

    def test_the_rate_is_that_of_its_place_in_all_epochs(self, monkeypatch):
        training, asked = begun(spec(epochs=4, learning_rate=0.3)), []

        def rate(schedule, peak, step, num_steps):
            asked.append((schedule, peak, step, num_steps))
            return 0.1

        monkeypatch.setattr(steps, "learning_rate", rate)
        (batch, *_) = batches(training, 1)
        train_step(training, 5, batch)
        assert asked == [(training.spec.schedule, 0.3, 5, 12)]

    def test_the_average_takes_in_every_step(self, monkeypatch):
        training = begun(spec(ema_decay=0.9))
        seen = []
        monkeypatch.setattr(training.average, "update", seen.append)
        for step, batch in enumerate(batches(training, 1)):
            train_step(training, step, batch)
        assert seen == [1, 2, 3]

    def test_logits_reach_a_loss_in_float32_and_float64_stays(self):
        seen = []

        class Watching(nn.Module):
            def forward(self, logits, target):
                seen.append(logits.dtype)
                return nn.functional.cross_entropy(logits, target)

        for precision, dtype in (("bfloat16", torch.float32), ("float32", torch.float64)):
            chosen = spec(model=LinearModel())
            training = start(chosen, prepare(chosen, 0, "cpu"), Watching(), [0], precision)
            (batch, *_) = batches(training, 1)
            if dtype == torch.float64:
                training.replicas.double()
                batch = dataclasses.replace(batch, images_RBCHW=batch.images_RBCHW.double())
            train_step(training, 0, batch)
            assert seen.pop() == dtype

    def test_a_loss_is_copied_with_what_it_holds(self):
        loss = losses.get("cross_entropy", weight=torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0]))
        training = begun(spec(), (1, 2), loss)
        assert all(torch.equal(each.weight, loss.weight) for each in training.losses)
        assert len({id(each) for each in (*training.losses, loss)}) == 3


PAUSED: list[bool] = []
"""Not empty while draws are made, which is on the CPU whatever the device is."""


class Reads(TorchDispatchMode):
    """Counts operations for whose result, or for whose size of it, the host would wait."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "is_nonzero", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.num_others = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).removeprefix("aten.")
        by_mask = name.startswith("index") and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.bool
            for each in args[1:2]
            for leaf in (each if isinstance(each, list | tuple) else [each])
        )
        if not PAUSED:
            if by_mask or name.startswith(self.WAIT):
                self.waits[name] += 1
            else:
                self.num_others += 1
        return function(*args, **(kwargs or {}))


class Transfers(TorchFunctionMode):
    """Counts calls that bring numbers to the host or to a device, which on the CPU are no operations."""

    NAMES = ("tolist", "item", "numpy", "cpu", "cuda", "to", "__bool__", "__int__", "__float__", "__index__")
    COPIES = ("tensor", "new_tensor", "as_tensor", "asarray", "from_numpy")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if not PAUSED and name in self.NAMES + self.COPIES and not (name == "to" and self._stays(args)):
            self.found[name] += 1
        return function(*args, **(kwargs or {}))

    def _stays(self, args):
        """Return whether a tensor is given a type alone, or moved by torch, which takes norms to where they are."""
        by_torch = not sys._getframe(2).f_globals["__name__"].startswith("lossforge.")
        return by_torch or all(isinstance(each, torch.dtype) for each in args[1:])


@pytest.fixture
def draws_not_counted(monkeypatch):
    """They are made once an epoch, before its first step, and read nothing from the device."""
    for name in ("draw_mixes", "draw_augmentation", "derive_generator"):
        draw = getattr(steps, name)

        def paused(*args, draw=draw, **kwargs):
            PAUSED.append(True)
            try:
                return draw(*args, **kwargs)
            finally:
                PAUSED.pop()

        monkeypatch.setattr(steps, name, paused)


OPTIONS = {
    "plain": {},
    "everything": {**EVERYTHING, "num_validation": 0, "long_tail": None},
    "adamw": {"optimizer": "adamw", "clip_norm": 1.0, "schedule": "step"},
    "bfloat16": {"precision": "bfloat16"},
    "coupled": {"optimizer": SGD(nesterov=False), "mixup": 1.0},
}


@pytest.mark.usefixtures("draws_not_counted")
@pytest.mark.parametrize("seeds", [(7,), (7, 8, 9)], ids=["alone", "grouped"])
@pytest.mark.parametrize(
    ("options", "loss"),
    [*((each, nn.CrossEntropyLoss()) for each in OPTIONS.values()), (OPTIONS["everything"], losses.get("focal"))],
    ids=[*OPTIONS, "everything, focal"],
)
def test_nothing_waits_for_the_device_within_an_epoch(options, loss, seeds):
    """What is read and copied in an epoch does not depend on how many steps it has; counted on the CPU."""

    def counted(num_steps, epochs):
        chosen = spec(num_train=8 * num_steps, batch_size=8, **options, epochs=epochs)
        data = prepare(chosen, 0, "cpu")
        with Reads() as reads, Transfers() as transfers:
            train_together(chosen, data, loss, seeds)
        assert reads.num_others > 50 * num_steps * epochs
        return reads.waits + transfers.found

    assert counted(num_steps=5, epochs=2) == counted(num_steps=1, epochs=2)
    of_an_epoch = counted(num_steps=2, epochs=2) - counted(num_steps=2, epochs=1)
    assert of_an_epoch["tolist"] == 1
    assert of_an_epoch["to"] <= 3 * len(seeds) + 2  # draws of each seed, orders and shares
    assert of_an_epoch.keys() <= {"tolist", "to", "tensor"}


@pytest.mark.parametrize("seeds", [(7,), (7, 8)], ids=["alone", "grouped"])
def test_with_all_options_on_no_global_random_state_is_touched(seeds):
    chosen = spec(**EVERYTHING)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    data = prepare(chosen, 0, "cpu")
    first = train_together(chosen, data, nn.CrossEntropyLoss(), seeds)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    torch.rand(3)
    again = train_together(chosen, data, nn.CrossEntropyLoss(), seeds)
    assert all(torch.equal(a.test.logits_NC, b.test.logits_NC) for a, b in zip(first, again, strict=True))
