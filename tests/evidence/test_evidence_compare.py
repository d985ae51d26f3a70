import shutil

import pytest
import torch
from torch import nn

from lossforge.errors import RunDirectoryError
from lossforge.evidence import compare, training_seed
from lossforge.spec.model import EvidenceSpec, TrainingSpec
from lossforge.training import prepare, train_classifier
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8

TRAINING = TrainingSpec(
    dataset=FakeImages(num_train=32, num_test=20, image_shape=(1, 8, 8), num_classes=4),
    model=ResNet8(),
    num_train=24,
    epochs=1,
    batch_size=8,
)
EVIDENCE = EvidenceSpec(baselines=("cross_entropy",), seeds=2, confidence=0.9)
IDENTITIES = {"found": "margin", "cross_entropy": "ce"}


class NaNLoss(nn.Module):
    def forward(self, logits, target):
        return logits.sum() * torch.nan


def losses():
    return {"found": nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}


def run(training=TRAINING, evidence=EVIDENCE, given=None, seed=5, **options):
    return compare(training, evidence, losses() if given is None else given, seed, "cpu", **options)


def test_trains_all_losses_seed_by_seed():
    arms, epochs = [], []
    comparison = run(on_arm=arms.append, on_epoch=lambda *told: epochs.append(told))
    order = [(arm.loss, arm.seed_index) for arm in arms]
    assert order == [("found", 0), ("cross_entropy", 0), ("found", 1), ("cross_entropy", 1)]
    assert not any(arm.restored for arm in arms)
    assert [(name, index, record.epoch) for name, index, record in epochs] == [(*arm, 1) for arm in order]
    assert comparison.training_seeds == (training_seed(5, 0), training_seed(5, 1))
    assert [arm.training_seed for arm in arms[::2]] == list(comparison.training_seeds)
    assert comparison.losses["found"].results == (arms[0].result, arms[2].result)
    assert list(comparison.losses) == ["found", "cross_entropy"]


def test_each_arm_is_a_training_of_its_own():
    comparison = run()
    data = prepare(TRAINING, 5, "cpu")
    alone = train_classifier(TRAINING, data, nn.MultiMarginLoss(), training_seed(5, 1))
    assert comparison.losses["found"].results[1] == alone


def test_the_first_baseline_is_the_reference_unless_another_is_named():
    comparison = run()
    assert (comparison.reference, comparison.confidence) == ("cross_entropy", 0.9)
    assert comparison.losses["found"].metrics["accuracy"].difference is not None
    other = run(reference="found")
    assert other.reference == "found"
    assert other.losses["found"].metrics["accuracy"].difference is None


def test_training_seeds_are_distinct_and_fixed():
    seeds = [training_seed(0, index) for index in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert training_seed(0, 7) == seeds[7]
    assert training_seed(1, 7) != seeds[7]


def test_a_comparison_goes_on_where_it_was_interrupted(tmp_path):
    whole = run(folder=tmp_path / "whole", identities=IDENTITIES)

    def stop(arm):
        if (arm.loss, arm.seed_index) == ("found", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path / "parts", identities=IDENTITIES, on_arm=stop)
    arms = []
    resumed = run(folder=tmp_path / "parts", identities=IDENTITIES, on_arm=arms.append)
    assert [arm.restored for arm in arms] == [True, True, True, False]
    assert resumed == whole
    for path in sorted((tmp_path / "whole").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_finished_comparison_is_read_without_its_data(tmp_path, monkeypatch):
    whole = run(folder=tmp_path, identities=IDENTITIES)

    def refuse(_self):
        raise AssertionError("loaded")

    monkeypatch.setattr(FakeImages, "load", refuse)
    again = run(folder=tmp_path, identities=IDENTITIES)
    assert again == whole
    logits = [result.test_logits_NC for result in again.losses["found"].results]
    assert all(map(torch.equal, logits, [result.test_logits_NC for result in whole.losses["found"].results]))


def test_more_seeds_add_to_what_is_there(tmp_path):
    run(folder=tmp_path, identities=IDENTITIES)
    arms = []
    more = EVIDENCE.model_copy(update={"seeds": 3})
    run(evidence=more, folder=tmp_path, identities=IDENTITIES, on_arm=arms.append)
    assert [arm.restored for arm in arms] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"training": TRAINING.model_copy(update={"learning_rate": 0.2})},
        {"training": TRAINING.model_copy(update={"precision": "bfloat16"})},
        {"seed": 6},
        {"identities": {**IDENTITIES, "found": "another margin"}},
    ],
)
def test_results_of_another_comparison_are_refused(tmp_path, change):
    run(folder=tmp_path, identities=IDENTITIES)
    with pytest.raises(RunDirectoryError, match="written for another training spec, seed or loss"):
        run(**{"folder": tmp_path, "identities": IDENTITIES, **change})


def test_the_result_of_another_seed_is_refused(tmp_path):
    run(folder=tmp_path, identities=IDENTITIES)
    for suffix in (".json", ".safetensors"):
        shutil.copy(tmp_path / "found" / f"seed-0{suffix}", tmp_path / "found" / f"seed-1{suffix}")
    with pytest.raises(RunDirectoryError, match=r"seed-1\.json was written for another"):
        run(folder=tmp_path, identities=IDENTITIES)


def test_automatic_precision_and_its_choice_are_the_same_comparison(tmp_path):
    whole = run(folder=tmp_path, identities=IDENTITIES)
    chosen = TRAINING.model_copy(update={"precision": "float32"})
    assert run(training=chosen, folder=tmp_path, identities=IDENTITIES) == whole


def test_a_deleted_arm_is_trained_again_to_the_same_result(tmp_path):
    whole = run(folder=tmp_path, identities=IDENTITIES)
    shutil.rmtree(tmp_path / "found")
    assert run(folder=tmp_path, identities=IDENTITIES) == whole


def test_trainings_that_diverge_do_not_stop_the_others(tmp_path):
    given = {"broken": NaNLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    options = {"folder": tmp_path, "identities": {"broken": "nan", "cross_entropy": "ce"}}
    comparison = run(given=given, **options)
    assert comparison.losses["broken"].num_diverged == 2
    assert comparison.losses["broken"].metrics["accuracy"].sample is None
    assert comparison.losses["cross_entropy"].num_diverged == 0
    assert "2 of 2 trainings with 'broken' diverged" in comparison.notes[0]
    assert run(given=given, **options) == comparison


def test_a_reference_that_is_not_compared_is_refused():
    with pytest.raises(ValueError, match="'cross_entropy' is not among the losses: found"):
        run(given={"found": nn.MultiMarginLoss()})


def test_a_folder_needs_an_identity_for_each_loss(tmp_path):
    with pytest.raises(ValueError, match=r"identities\['cross_entropy'\] is missing"):
        run(folder=tmp_path, identities={"found": "margin"})


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a\\b", "a:b", "new\nline"])
def test_names_that_cannot_be_folders_are_refused(tmp_path, name):
    given = {name: nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        run(given=given, folder=tmp_path, identities=dict.fromkeys(given, "id"))


@pytest.mark.parametrize("name", ["focal(gamma=2.0)", "type='focal' gamma=2.0", "poly-1 +", "r\u00e9gime"])
def test_other_names_can_be_folders(tmp_path, name):
    given = {name: nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    run(given=given, folder=tmp_path, identities=dict.fromkeys(given, "id"))
    assert (tmp_path / name / "seed-1.json").is_file()
