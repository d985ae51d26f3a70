"""Recordings of trainings, what is compared, and what is proposed."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn

import lossforge
from lossforge.errors import DataError, RunDirectoryError, SpecError
from lossforge.evidence import training_seed
from lossforge.evidence.gap import Recording, check_gap, compare_recordings, measure_gap, read_recording, record
from lossforge.evidence.gap.features import Outputs
from lossforge.evidence.tuning import Point
from lossforge.losses import FixedLoss
from lossforge.losses.gce import GCE
from lossforge.samplers import (
    DirichletSampler,
    LogitNormalSampler,
    MixtureSampler,
    NoisyLabelsSampler,
    ReplaySampler,
    record_predictions,
)
from lossforge.spec import TrainingSpec
from lossforge.spec.gap import GapSpec
from lossforge.training import prepare, train_classifier

IDENTITIES = {"gce": "gce"}
QUICK = {"samples": 300, "bootstrap": 20, "folds": 2, "bins": 20}


def training(**options) -> TrainingSpec:
    usual = {
        "dataset": {"type": "fake", "num_train": 64, "num_test": 20, "image_shape": [1, 8, 8], "num_classes": 4},
        "model": "resnet8",
        "epochs": 3,
        "batch_size": 16,
        "precision": "float32",
        "crop_padding": 1,
    }
    return TrainingSpec.model_validate_json(json.dumps({**usual, **options}))


class Spy(nn.Module):
    """GCE, which keeps all that it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.calls = FixedLoss(GCE()), []

    def forward(self, logits, labels):
        self.calls.append((logits.detach().clone(), labels.clone()))
        return self.loss(logits, labels)

    def __deepcopy__(self, memo):
        return self


def drawn(sampler, num: int, seed: int, name: str = "a", num_classes: int = 10, epoch: int = 0) -> Recording:
    batch = sampler.sample(num, num_classes, torch.Generator().manual_seed(seed))
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    outputs = Outputs(batch.log_probs_BC, batch.labels_B, torch.full_like(batch.labels_B, epoch))
    return Recording(f"{name}, seed {seed}", name, outputs.take(order))


class TestRecording:
    def recorded(self, spec: TrainingSpec, loss: nn.Module, **options) -> list[Recording]:
        folder = options.pop("folder", None)
        return record(spec, {"gce": loss}, IDENTITIES, GapSpec(**{"seeds": 1, **options}), 0, "cpu", folder=folder)

    def test_it_holds_what_the_loss_is_called_with_in_that_training(self):
        spy, spec = Spy(), training(label_noise={"rate": 0.4}, mixup=0.0)
        train_classifier(spec, prepare(spec, 0, "cpu"), spy, training_seed(0, 0))
        assert len(spy.calls) == 12
        (found,) = self.recorded(spec, FixedLoss(GCE()), epochs_at=(1, 3), batches=2)
        calls = [spy.calls[index] for index in (0, 2, 8, 10)]  # two of four steps, evenly spaced
        logits, labels = (torch.cat(each) for each in zip(*calls, strict=True))
        assert torch.equal(found.outputs.labels_N, labels)
        assert torch.allclose(found.outputs.log_probs_NC, torch.log_softmax(logits, dim=1), atol=1e-6)
        assert found.outputs.epoch_N.tolist() == [1] * 32 + [3] * 32

    def test_mixed_images_are_met_with_both_labels(self):
        (found,) = self.recorded(training(mixup=0.5), FixedLoss(GCE()), epochs_at=(1,), batches=1)
        once, again = found.outputs.labels_N.split(16)
        assert torch.equal(again, once.roll(1))
        assert torch.equal(*found.outputs.log_probs_NC.split(16))

    def test_held_out_outputs_are_those_of_the_network_at_the_end_of_each_epoch(self):
        spec = training(num_validation=12)
        (found,) = self.recorded(spec, FixedLoss(GCE()), part="held_out", epochs_at=(2, 3))
        result = train_classifier(spec, prepare(spec, 0, "cpu"), FixedLoss(GCE()), training_seed(0, 0))
        last = torch.log_softmax(result.validation.logits_NC, dim=1)
        assert found.outputs.epoch_N.tolist() == [2] * 12 + [3] * 12
        assert torch.allclose(found.outputs.log_probs_NC[12:], last, atol=1e-6)
        assert torch.equal(found.outputs.labels_N[12:], result.validation.labels_N)

    def test_the_same_is_not_recorded_again_and_a_search_can_replay_it(self, tmp_path):
        first = self.recorded(training(), FixedLoss(GCE()), folder=tmp_path, seeds=2)
        files = sorted(tmp_path.iterdir())
        assert len(files) == 2
        again = self.recorded(training(), nn.Identity(), folder=tmp_path, seeds=2)  # with which none can be trained
        for one, other in zip(first, again, strict=True):
            assert torch.equal(one.outputs.log_probs_NC, other.outputs.log_probs_NC)
            assert torch.equal(one.outputs.epoch_N, other.outputs.epoch_N)
        self.recorded(training(), FixedLoss(GCE()), folder=tmp_path, seeds=2, batches=1)
        assert len(list(tmp_path.iterdir())) == 4
        batch = ReplaySampler(path=str(files[0])).sample(10, 4, torch.Generator().manual_seed(0))
        assert batch.log_probs_BC.shape == (10, 4)
        assert len(read_recording(files[0]).outputs) == len(first[0].outputs)

    def test_each_is_trained_with_the_values_that_it_was_tuned_to(self):
        losses = {"gce": FixedLoss(GCE()), "again": FixedLoss(GCE())}
        identities, options, point = dict.fromkeys(losses, "gce"), GapSpec(seeds=1), Point(0.3, 0.01)
        tuned = record(training(), losses, identities, options, 0, "cpu", points={"again": point})
        alike = record(point.apply(training()), losses, identities, options, 0, "cpu")
        (as_given,) = self.recorded(training(), FixedLoss(GCE()), epochs_at=None)
        for found, expected in zip(tuned, (as_given, alike[1]), strict=True):
            assert torch.equal(found.outputs.log_probs_NC, expected.outputs.log_probs_NC)
        assert not torch.equal(*(each.outputs.log_probs_NC for each in tuned))

    def test_what_is_auto_is_settled_once_a_folder(self, tmp_path, monkeypatch):
        self.recorded(training(precision="auto"), FixedLoss(GCE()), folder=tmp_path)
        names = {path.name for path in tmp_path.iterdir()}
        assert "choices.json" in names
        monkeypatch.setattr("lossforge.evidence.gap.recording.choose", None)
        self.recorded(training(precision="auto"), nn.Identity(), folder=tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == names

    def test_a_damaged_recording_is_told(self, tmp_path):
        self.recorded(training(), FixedLoss(GCE()), folder=tmp_path)
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(RunDirectoryError, match=r"cannot be read as \.safetensors .*: delete it"):
            self.recorded(training(), FixedLoss(GCE()), folder=tmp_path)
        with pytest.raises(DataError, match="cannot be read"):
            read_recording(path)

    @pytest.mark.parametrize(
        ("spec", "options", "message"),
        [
            ({}, {"epochs_at": (2, 4)}, "epochs_at: epoch 4 is to be recorded, and a training has 3; raise"),
            ({}, {"part": "held_out"}, "held_out needs images that are held out; set training.num_validation"),
            ({"learning_rate": 1e30}, {}, r"the training with gce at the rate 1e\+30 diverged in epoch 1; lower it"),
        ],
    )
    def test_what_cannot_be_recorded_is_told(self, spec, options, message):
        with pytest.raises(SpecError, match=message):
            self.recorded(training(**spec), FixedLoss(GCE()), **options)

    def test_epochs(self):
        assert GapSpec().epochs_of(1) == (1,)
        assert GapSpec().epochs_of(2) == (1, 2)
        assert GapSpec().epochs_of(12) == (1, 4, 7, 12)
        assert GapSpec(epochs_at=(2, 5)).epochs_of(6) == (2, 5)
        with pytest.raises(ValidationError, match="must rise"):
            GapSpec(epochs_at=(3, 2))
        with pytest.raises(ValidationError, match="40 folds and 5 neighbours need 80 samples at least, not 60"):
            GapSpec(samples=60, folds=40)


class TestComparing:
    def test_a_sampler_and_another_sample_of_it_have_no_gap(self):
        found = compare_recordings(
            MixtureSampler(), 10, [drawn(MixtureSampler(), 600, 5)], GapSpec(**{**QUICK, "samples": 600}), 0
        )
        for figures in (found.all, found.itself):
            assert figures.auc.low < 0.5 < figures.auc.high
            assert abs(figures.energy) < 0.01
            assert figures.coverage > 0.9
            assert all(each.value < 0.1 for each in (*figures.wasserstein.values(), *figures.jensen_shannon.values()))
            assert all(each.low == 0.0 for each in figures.wasserstein.values())

    def test_another_distribution_has_one(self):
        sure = LogitNormalSampler(scale=1.0, shift=8.0)
        found = compare_recordings(MixtureSampler(), 10, [drawn(sure, 600, 5)], GapSpec(**QUICK), 0)
        assert found.all.num == 300
        assert found.all.auc.low > 0.8
        assert found.all.wasserstein["p_y"].low > 0.3
        shares = {row.regime: row for row in found.all.regimes}
        assert shares["confident_right"].real > 0.9
        assert sum(row.synthetic for row in found.all.regimes) == pytest.approx(1)
        assert "AUC" in repr(found)

    def test_epochs_and_losses_are_groups_of_their_own(self):
        parts = [drawn(MixtureSampler(), 60, seed, name, epoch=seed) for seed in (1, 2) for name in ("a", "b")]
        found = compare_recordings(MixtureSampler(), 10, parts, GapSpec(**QUICK), 0)
        assert {name: figures.num for name, figures in found.groups.items()} == {
            "all": 240,
            "epoch 1": 120,
            "epoch 2": 120,
            "a": 120,
            "b": 120,
        }
        again = compare_recordings(MixtureSampler(), 10, parts, GapSpec(**QUICK), 0)
        assert again.to_json() == found.to_json()

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_proposed_weights_are_those_that_drew_the_recording_judged_on_others(self, wrapped):
        shares = {"confident_right": 0.7, "boundary": 0.3}

        def noisy(mixture):
            return NoisyLabelsSampler(sampler=mixture, rate=0.2) if wrapped else mixture

        real = noisy(MixtureSampler().with_shares(shares))
        options = GapSpec(fit=True, floor=0.01, **{**QUICK, "samples": 800})
        found = compare_recordings(noisy(MixtureSampler()), 10, [drawn(real, 800, k) for k in (1, 2)], options, 0)
        fit = found.fit
        assert fit is not None
        assert fit.judged_on == "other trainings"
        for name, share in fit.proposed.items():
            assert share == pytest.approx(shares.get(name, 0.0), abs=0.08)
            assert share >= 0.01 - 1e-4
        assert fit.after.energy < 0.1 * fit.before.energy
        assert fit.energy[1] < 0.1 * fit.energy[0]
        assert fit.after.auc.value < fit.before.auc.value
        assert type(fit.sampler) is type(found.sampler)

    def test_of_one_training_half_of_the_outputs_judge(self):
        options = GapSpec(fit=True, **QUICK)
        found = compare_recordings(MixtureSampler(), 10, [drawn(MixtureSampler(), 200, 1)], options, 0)
        assert found.fit is not None
        assert found.fit.judged_on == "other outputs of the same trainings"
        assert found.fit.num_fitted == found.fit.before.num == 100

    def test_mistakes(self, tmp_path):
        def compared(sampler=None, num_classes=10, recordings=None, **options):
            recordings = [drawn(MixtureSampler(), 100, 1)] if recordings is None else recordings
            sampler = MixtureSampler() if sampler is None else sampler
            return compare_recordings(sampler, num_classes, recordings, GapSpec(**{**QUICK, **options}), 0)

        with pytest.raises(SpecError, match="'dirichlet' has no weights to fit; use a mixture"):
            compared(DirichletSampler(), fit=True)
        with pytest.raises(SpecError, match=r"6 regimes cannot each have 0\.2; use 0\.167 at most"):
            compared(fit=True, floor=0.2)
        with pytest.raises(DataError, match="outputs of 10 classes, and the sampler is asked for 4; set"):
            compared(num_classes=4)
        with pytest.raises(DataError, match="a, seed 1: 10 outputs, and at least 12 are needed; record more batches"):
            compared(recordings=[drawn(MixtureSampler(), 10, 1)])
        with pytest.raises(DataError, match="no recording to compare with"):
            compared(recordings=[])
        with pytest.raises(DataError, match="not finite, in 1 rows"):
            record_predictions(tmp_path / "p.npz", torch.tensor([[0.0, torch.nan], [0.0, 1.0]]), torch.tensor([0, 1]))
        with pytest.raises(DataError, match="cannot be read"):
            read_recording(tmp_path / "none.safetensors")

    def test_mistakes_are_told_before_anything_is_trained(self):
        search = lossforge.presets.load("edl").search
        with pytest.raises(DataError, match="'fake' has 4 classes, and the sampler is asked for 10; set"):
            measure_gap(search, training(), {"gce": Spy()}, IDENTITIES, GapSpec(), 0, "cpu")
        other = search.model_copy(update={"sampler": DirichletSampler()})
        with pytest.raises(SpecError, match="no weights to fit"):
            measure_gap(other, training(), {"gce": Spy()}, IDENTITIES, GapSpec(fit=True), 0, "cpu")


class TestFromPython:
    def test_it_trains_compares_and_writes(self, tmp_path):
        options = GapSpec(seeds=1, fit=True, **QUICK)
        dataset = {"type": "fake", "num_train": 64, "num_test": 20, "image_shape": (1, 8, 8), "num_classes": 10}
        told: list[str] = []
        found = lossforge.gap(
            "edl",
            GCE(),
            dataset=dataset,
            model="resnet8",
            epochs=1,
            batch_size=16,
            precision="float32",
            options=options,
            out=tmp_path / "out",
            tell=told.append,
        )
        assert told == ["gce, seed 0: 64 outputs of epochs 1"]
        assert repr(found).startswith("<Gap of mixture to 1 recording(s): AUC ")
        (path,) = (tmp_path / "out" / "recordings").iterdir()
        spec = lossforge.presets.load("edl")
        other = lossforge.gap(spec, recordings=[path], options=options, out=tmp_path / "other")
        assert other.all == found.all
        fitted = lossforge.RunSpec.from_yaml(tmp_path / "out" / "fitted.yaml")
        assert fitted.search.sampler == found.fit.sampler
        assert fitted == lossforge.RunSpec.from_yaml(tmp_path / "other" / "fitted.yaml")
        assert load_file(path)["epoch"].tolist() == [1] * 64

    def test_recordings_take_the_place_of_trainings(self, tmp_path):
        with pytest.raises(SpecError, match="give losses, dataset and model, or recordings"):
            lossforge.gap("edl", "gce", recordings=["p.npz"])
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("mine")
        record_predictions(tmp_path / "p.npz", torch.randn(50, 10), torch.arange(50) % 10)
        with pytest.raises(RunDirectoryError, match="is not empty"):
            lossforge.gap("edl", recordings=[tmp_path / "p.npz"], out=tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "part"), [({}, "training"), ({"mixup": 0.4}, "training"), ({"num_validation": 20}, "held_out")]
)
def test_outputs_are_as_many_as_are_counted_before(options, part):
    """Two epochs of two batches, or of all images held out, are just enough, or one too few."""
    spec = training().model_copy(update={"epochs": 2, **options})
    search = lossforge.presets.load("edl", ["search.num_classes=4"]).search
    data = prepare(spec, 0, "cpu", recorded=False)
    asked = {"part": part, "batches": 2, "seeds": 1, "epochs_at": (1, 2), "samples": 200, "bootstrap": 20}
    (recording,) = record(spec, {"gce": FixedLoss(GCE())}, IDENTITIES, GapSpec(**asked), 0, "cpu")
    num = len(recording.outputs)
    check_gap(search, spec, GapSpec(**asked, neighbours=num // 2 - 1), data)
    with pytest.raises(DataError, match=f"{num} outputs would be compared"):
        check_gap(search, spec, GapSpec(**asked, neighbours=num // 2), data)
