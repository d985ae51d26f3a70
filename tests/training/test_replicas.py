"""Networks that are trained together come to what each comes to alone."""

import copy
import dataclasses
import math
import statistics
from typing import Literal

import pytest
import scipy.stats
import torch
from torch import nn

from lossforge.errors import SpecError
from lossforge.interfaces import Model
from lossforge.spec.training import SGD, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import prepare, train_classifier, train_together
from lossforge.training.datasets import Digits, FakeImages
from lossforge.training.models import ResNet8
from lossforge.training.replicas import GroupedReplicas, SingleReplica, grouping_refusal
from lossforge.training.steps import batches, start, train_step

SEEDS = (3, 4, 5)


class InFloat64(nn.Module):
    """A network that computes in float64, whatever it is given."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()
        self.takes_labels = network.takes_labels

    def forward(self, images, *labels):
        return self.network(images.double(), *labels)


class Doubled(Model):
    """ResNet-8 in float64."""

    type: Literal["doubled"] = "doubled"
    head: str = "linear"

    def build(self, image_shape, num_classes, generator):
        return InFloat64(ResNet8(head={"type": self.head}).build(image_shape, num_classes, generator))


class Odd(nn.Module):
    """A network with what few have: shared and frozen weights, a buffer that is not saved, a layer nobody calls."""

    def __init__(self, num_inputs, num_classes, generator):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(num_inputs, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.frozen, self.unused, self.last = nn.Linear(8, 8), nn.Linear(2, 2), nn.Linear(8, num_classes)
        self.third.weight = self.second.weight
        self.register_buffer("scale", torch.rand(8, generator=generator), persistent=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.3, generator=generator)
        self.frozen.requires_grad_(False)
        self.double()

    def forward(self, images):
        hidden = torch.tanh(self.second(torch.tanh(self.first(images.double().flatten(1)))))
        return self.last(torch.tanh(self.frozen(torch.tanh(self.third(hidden)))) * self.scale)


class OddModel(Model):
    """See :class:`Odd`."""

    type: Literal["odd"] = "odd"

    def build(self, image_shape, num_classes, generator):
        return Odd(math.prod(image_shape), num_classes, generator)


class MovingLoss(nn.Module):
    """A loss with a state that follows the logits it is given, and matters."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def forward(self, logits, target):
        self.mean.lerp_(logits.detach().double().square().mean(), 0.2)
        return nn.functional.cross_entropy(logits, target) * (1 + self.mean)


class FaultyOnce(nn.Module):
    """Cross-entropy; in one of the copies that are made of it, NaN after some calls."""

    def __init__(self, which, good_calls):
        super().__init__()
        self.which, self.good_calls, self.num_copies = which, good_calls, [0]
        self.calls_left = math.inf

    def __deepcopy__(self, memo):
        copied = FaultyOnce(self.which, self.good_calls)
        copied.calls_left = self.good_calls if self.num_copies[0] == self.which else math.inf
        self.num_copies[0] += 1
        return copied

    def forward(self, logits, target):
        self.calls_left -= 1
        return nn.functional.cross_entropy(logits, target) * (math.nan if self.calls_left < 0 else 1.0)


def spec(**options):
    dataset = FakeImages(num_train=80, num_test=20, image_shape=(3, 8, 8), num_classes=4)
    shared = {"dataset": dataset, "model": ResNet8(), "epochs": 4, "batch_size": 16, "precision": "float32"}
    return TrainingSpec(**{**shared, **options})


MIXED = {"mixup": 0.4, "cutmix": 1.0, "cutout": 3}
TRAININGS = {
    "sgd": ({"model": Doubled(), "learning_rate": 0.05}, nn.CrossEntropyLoss()),
    "ema, clipped and mixed": (
        {"model": Doubled(), "learning_rate": 0.05, "ema_decay": 0.9, "clip_norm": 1.0, **MIXED},
        nn.CrossEntropyLoss(),
    ),
    "adamw": (
        {"model": Doubled(), "optimizer": "adamw", "learning_rate": 1e-3, "decay_norms": False, "weight_decay": 0.1},
        nn.CrossEntropyLoss(),
    ),
    "decoupled": (
        {"model": Doubled(), "optimizer": SGD(nesterov=False, decoupled_weight_decay=True), "decay_norms": False},
        nn.CrossEntropyLoss(),
    ),
    "a loss of a state": ({"model": Doubled(), "learning_rate": 0.02}, MovingLoss()),
    "cosines": ({"model": Doubled(head="cosine")}, nn.CrossEntropyLoss()),
    "margins": ({"model": Doubled(head="large_margin"), "learning_rate": 0.01}, nn.CrossEntropyLoss()),
    "odd": ({"model": OddModel(), "ema_decay": 0.8, "clip_norm": 0.1}, nn.CrossEntropyLoss()),
    "odd, decoupled": (
        {"model": OddModel(), "optimizer": SGD(decoupled_weight_decay=True), "weight_decay": 0.1},
        nn.CrossEntropyLoss(),
    ),
}


def run(training):
    """Take all steps; yield the losses and shares of right predictions of each."""
    training.replicas.train()
    for epoch in range(1, training.spec.epochs + 1):
        first = (epoch - 1) * training.steps_per_epoch
        for step, batch in enumerate(batches(training, epoch), start=first):
            yield train_step(training, step, batch)


def state_of(training, index):
    """Return weights, statistics and the loss's state of a replica, and all of these after averaging."""
    network = training.replicas.network(index)
    state = {name: value.detach().clone() for name, value in [*network.named_parameters(), *network.named_buffers()]}
    return {**state, **{f"loss.{name}": value for name, value in training.losses[index].state_dict().items()}}


@pytest.mark.parametrize("options", TRAININGS.values(), ids=TRAININGS)
def test_twenty_steps_in_float64_are_those_of_each_alone(options):
    chosen, loss = spec(**options[0]), options[1]
    data = prepare(chosen, 0, "cpu")
    together = start(chosen, data, loss, SEEDS, "float32")
    alone = [start(chosen, data, loss, [seed], "float32") for seed in SEEDS]
    assert isinstance(together.replicas, GroupedReplicas)
    num_steps = 0
    for of_all, *of_each in zip(run(together), *map(run, alone), strict=True):
        for found, expected in zip(of_all, zip(*of_each, strict=True), strict=True):
            assert found.dtype == torch.float64
            torch.testing.assert_close(found, torch.cat(expected), rtol=1e-9, atol=1e-11)
        num_steps += 1
    assert num_steps == 20
    for averaged in (False, True):
        for training in (together, *alone):
            if averaged and training.average is not None:
                training.average.apply()
        for index in range(3):
            found, expected = state_of(together, index), state_of(alone[index], 0)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    if chosen.model.type == "doubled":
        assert found["network.stem.1.num_batches_tracked"] == 20
        assert found["network.stem.1.running_mean"].abs().max() > 0


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9, "num_validation": 10}], ids=repr)
def test_results_are_those_of_each_alone(options):
    chosen = spec(model=Doubled(), learning_rate=0.05, **options)
    data = prepare(chosen, 0, "cpu")
    together = train_together(chosen, data, nn.CrossEntropyLoss(), SEEDS)
    for seed, found in zip(SEEDS, together, strict=True):
        expected = train_classifier(chosen, data, nn.CrossEntropyLoss(), seed)
        torch.testing.assert_close(found.test.logits_NC, expected.test.logits_NC, rtol=1e-5, atol=1e-6)
        assert found.metrics.accuracy == expected.metrics.accuracy
        for ours, theirs in zip(found.epochs, expected.epochs, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-9)
            assert ours.train_accuracy == pytest.approx(theirs.train_accuracy, rel=1e-9)
        assert (found.temperature is None) == ("num_validation" not in options)


def test_accuracies_are_distributed_as_those_of_each_alone():
    """In float32, in which trainings soon part; after many steps they have other bits, and are as good."""
    chosen = spec(dataset=Digits(), num_train=320, num_test=300, batch_size=32, epochs=6, flip=False, crop_padding=1)
    data, seeds = prepare(chosen, 0, "cpu"), range(14)
    together = train_together(chosen, data, nn.CrossEntropyLoss(), seeds)
    alone = [train_classifier(chosen, data, nn.CrossEntropyLoss(), seed) for seed in seeds]
    assert not any(
        torch.equal(a.test.logits_NC, b.test.logits_NC) for a, b in zip(together, alone, strict=True)
    )  # else nothing is tested
    for metric in ("accuracy", "nll"):
        found, expected = ([getattr(each.metrics, metric) for each in group] for group in (together, alone))
        assert scipy.stats.mannwhitneyu(found, expected).pvalue > 0.05
        assert scipy.stats.ttest_ind(found, expected, equal_var=False).pvalue > 0.05
        assert 1 / 3 < statistics.stdev(found) / statistics.stdev(expected) < 3
    assert statistics.mean(each.metrics.accuracy for each in together) > 0.75


def test_a_replica_that_diverges_changes_no_bit_of_another():
    chosen = spec(clip_norm=1.0, ema_decay=0.9)
    data = prepare(chosen, 0, "cpu")
    told = []
    found = train_together(chosen, data, FaultyOnce(1, good_calls=8), SEEDS, told.append)
    sound = train_together(chosen, data, nn.CrossEntropyLoss(), SEEDS)
    assert [result.diverged_at_epoch for result in found] == [None, 2, None]
    assert (found[1].metrics, found[1].test, len(found[1].epochs)) == (None, None, 1)
    for index in (0, 2):
        assert found[index] == sound[index]
        assert torch.equal(found[index].test.logits_NC, sound[index].test.logits_NC)
    assert [{index: record.epoch for index, record in records.items()} for records in told] == [
        {0: 1, 1: 1, 2: 1},
        *({0: epoch, 2: epoch} for epoch in range(2, 5)),
    ]


def test_where_all_have_diverged_nothing_more_is_trained():
    chosen = spec()
    calls = []

    class Broken(nn.Module):
        def forward(self, logits, target):
            calls.append(1)
            return logits.sum() * math.nan

    results = train_together(chosen, prepare(chosen, 0, "cpu"), Broken(), [0, 1])
    assert [result.diverged_at_epoch for result in results] == [1, 1]
    assert len(calls) == 2 * 5


def test_each_replica_has_a_loss_of_its_own():
    chosen, loss = spec(), MovingLoss()
    training = start(chosen, prepare(chosen, 0, "cpu"), loss, SEEDS, "float32")
    list(run(training))
    means = [each.mean.item() for each in training.losses]
    assert len(set(means)) == 3
    assert loss.mean == 0


def test_replicas_start_from_weights_of_their_seeds():
    chosen = spec()
    training = start(chosen, prepare(chosen, 0, "cpu"), nn.CrossEntropyLoss(), SEEDS, "float32")
    for index, seed in enumerate(SEEDS):
        expected = ResNet8().build((3, 8, 8), 4, derive_generator(seed, "training.initialisation")).state_dict()
        found = training.replicas.network(index).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_replicas_network_predicts_what_the_group_does():
    chosen = spec()
    data = prepare(chosen, 0, "cpu")
    training = start(chosen, data, nn.CrossEntropyLoss(), SEEDS, "float32")
    list(run(training))
    training.replicas.eval()
    images = data.normalise(data.test.images_NCHW)
    labels = torch.zeros(3, 20, dtype=torch.int64)
    with torch.no_grad():
        together = training.replicas(images.expand(3, *images.shape), labels)
        for index in range(3):
            alone = training.replicas.network(index).eval()(images)
            torch.testing.assert_close(together[index], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seeds", [[3], SEEDS], ids=["alone", "grouped"])
def test_networks_run_in_bfloat16_and_weights_stay_float32(seeds):
    seen = []

    class Watched(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            logits = self.network(images)
            seen.append((images.dtype, logits.dtype))
            return logits

    class WatchedModel(Model):
        """ResNet-8 that tells in which arithmetic it ran."""

        type: Literal["watched"] = "watched"

        def build(self, image_shape, num_classes, generator):
            return Watched(ResNet8().build(image_shape, num_classes, generator))

    chosen = spec(model=WatchedModel(), epochs=1)
    training = start(chosen, prepare(chosen, 0, "cpu"), nn.CrossEntropyLoss(), seeds, "bfloat16")
    seen.clear()
    list(run(training))
    assert set(seen) == {(torch.float32, torch.bfloat16)}
    assert {parameter.dtype for parameter in training.replicas.parameters()} == {torch.float32}


def test_replicas_in_bfloat16_are_near_each_alone():
    chosen = spec(epochs=1, learning_rate=0.02)
    data = prepare(chosen, 0, "cpu")
    together, exact = (start(chosen, data, nn.CrossEntropyLoss(), SEEDS, name) for name in ("bfloat16", "float32"))
    alone = [start(chosen, data, nn.CrossEntropyLoss(), [seed], "bfloat16") for seed in SEEDS]
    for step, (of_all, in_float32, *of_each) in enumerate(
        zip(run(together), run(exact), *map(run, alone), strict=True)
    ):
        expected = torch.cat([each[0] for each in of_each])
        torch.testing.assert_close(of_all[0], expected, rtol=0.03, atol=0.03)
        if step == 0:  # roundings are the same, layer by layer
            assert (of_all[0] - expected).abs().max() < 0.2 * (in_float32[0] - expected).abs().max()


class Dropping(nn.Module):
    takes_labels = False

    def forward(self, images):
        return nn.functional.dropout(images.flatten(1), 0.5, self.training)


class Deciding(nn.Module):
    takes_labels = False

    def forward(self, images):
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Scaled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.inner(images) * self.scale


@pytest.mark.parametrize(("inner", "why"), [(Dropping(), "random operation"), (Deciding(), "data-dependent")])
def test_networks_that_cannot_be_grouped_are_known(inner, why):
    refusal = grouping_refusal(Scaled(inner), (1, 4, 4))
    assert why in refusal
    assert "\n" not in refusal


def test_networks_that_can_be_grouped_are_left_as_they_are():
    network = ResNet8().build((3, 8, 8), 4, derive_generator(0, "test"))
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert grouping_refusal(network, (3, 8, 8)) is None
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), random)


class DroppingModel(Model):
    """A network that draws in training."""

    type: Literal["dropping"] = "dropping"

    def build(self, image_shape, num_classes, generator):
        return nn.Sequential(Dropping(), nn.Linear(math.prod(image_shape), num_classes))


@pytest.mark.parametrize(
    ("options", "why"),
    [({"model": DroppingModel()}, "vmap: called random operation"), ({"compile": True}, "networks that are compiled")],
)
def test_what_cannot_be_grouped_is_refused_with_the_remedy(options, why):
    chosen = spec(**options)
    with pytest.raises(SpecError, match=rf"^training\.replication: {why}.*; choose 'processes' or 'in_turn'$"):
        start(chosen, prepare(chosen, 0, "cpu"), nn.CrossEntropyLoss(), [0, 1], "float32")


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, None),
        ({"compile": True}, {"mode": None, "dynamic": False}),
        ({"compile": True, "cuda_graphs": True}, {"mode": "reduce-overhead", "dynamic": False}),
    ],
    ids=repr,
)
def test_one_network_is_compiled_as_asked_for(options, arguments, monkeypatch):
    calls = []

    def compiled(network, **given):
        calls.append(given)
        return lambda images: 2 * network(images)

    monkeypatch.setattr(torch, "compile", compiled)
    chosen = spec(**options)
    data = prepare(chosen, 0, "cpu")
    training = start(chosen, data, nn.CrossEntropyLoss(), [0], "float32")
    assert calls == ([] if arguments is None else [arguments])
    images = data.normalise(data.test.images_NCHW)
    training.replicas.eval()
    found = training.replicas(images[None], data.test.labels_N[None])
    plain = training.replicas.network(0)(images)
    assert torch.equal(found, (plain if arguments is None else 2 * plain)[None])


def test_one_network_is_registered_once():
    network = nn.Linear(2, 2)
    replicas = SingleReplica(network, compiled=False, cuda_graphs=False)
    assert list(replicas.state_dict()) == ["only.weight", "only.bias"]
    assert replicas.network(0) is network


def test_losses_may_differ_from_replica_to_replica():
    """As where their states do: each trains its own network."""
    chosen = spec(model=Doubled(), epochs=1)
    data = prepare(chosen, 0, "cpu")
    losses = (nn.CrossEntropyLoss(), nn.MultiMarginLoss(), nn.CrossEntropyLoss(label_smoothing=0.2))
    mixed = dataclasses.replace(start(chosen, data, nn.Identity(), SEEDS, "float32"), losses=losses)
    alone = [start(chosen, data, loss, [seed], "float32") for loss, seed in zip(losses, SEEDS, strict=True)]
    for training in (mixed, *alone):
        list(run(training))
    for index in range(3):
        found, expected = (each.replicas.network(place) for each, place in ((mixed, index), (alone[index], 0)))
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-9, atol=1e-11)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_on_cuda_are_those_of_each_alone():
    chosen = spec(model=Doubled(), learning_rate=0.05, num_validation=10, ema_decay=0.9)
    data = prepare(chosen, 0, "cuda")
    together = train_together(chosen, data, nn.CrossEntropyLoss(), SEEDS)
    for seed, found in zip(SEEDS, together, strict=True):
        expected = train_classifier(chosen, data, nn.CrossEntropyLoss(), seed)
        torch.testing.assert_close(found.test.logits_NC, expected.test.logits_NC, rtol=1e-4, atol=1e-5)
