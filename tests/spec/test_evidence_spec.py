"""What ``evidence:`` of a spec may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lossforge.errors import SpecError
from lossforge.spec import Condition, ControlsSpec, EvidenceSpec, TrainingSpec, TuningSpec
from lossforge.spec.compare import CompareSpec
from lossforge.spec.evidence import is_noisy, obstacle
from lossforge.spec.training import AsymmetricNoise, SymmetricNoise

TRAINING = TrainingSpec(dataset="fake", model="resnet8", num_validation=10)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("clean", {}),
        ("noise-40", {"label_noise": SymmetricNoise(rate=0.4)}),
        ("asymmetric-30", {"label_noise": AsymmetricNoise(rate=0.3)}),
        ("long-tail-100", {"long_tail": 100.0}),
        ("few-500", {"num_train": 500}),
    ],
)
def test_the_usual_conditions_are_given_by_name(name, changes):
    spec = EvidenceSpec.model_validate({"conditions": (name,)})
    assert spec.under(TRAINING) == {name: TRAINING.model_copy(update=changes)}


def test_others_have_a_name_and_what_they_change():
    few = Condition(name="few.and_noisy", num_train=50, label_noise=SymmetricNoise(rate=0.2))
    assert few.apply(TRAINING).num_train == 50
    assert EvidenceSpec().under(TRAINING) == {"as given": TRAINING}


@pytest.mark.parametrize("name", ["noise", "noise-400", "cleen", "few-"])
def test_no_other_name_is_a_condition(name):
    with pytest.raises(ValidationError, match=f"no condition is called '{name}'; there are clean, noise-40"):
        EvidenceSpec.model_validate({"conditions": (name,)})


def test_two_conditions_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two conditions have one name"):
        EvidenceSpec.model_validate({"conditions": ("clean", "clean")})


def test_what_chooses_by_images_held_out_needs_some():
    without = {"training": {"dataset": "fake", "model": "resnet8"}}
    with pytest.raises(ValidationError, match="tuning chooses by images held out"):
        CompareSpec.model_validate(without)
    noisy = {"conditions": ("noise-40",), "tuning": None, "controls": ControlsSpec()}
    with pytest.raises(ValidationError, match="early stopping chooses by images held out"):
        CompareSpec.model_validate({**without, "evidence": noisy})
    assert CompareSpec.model_validate({**without, "evidence": {**noisy, "conditions": ("clean",)}})
    with pytest.raises(ValidationError, match=r"evidence\.correlate takes accuracy on images held out"):
        CompareSpec.model_validate({**without, "evidence": {"tuning": None, "controls": None, "correlate": {}}})
    averaged = {"training": {**without["training"], "num_validation": 10, "ema_decay": 0.9}, "evidence": noisy}
    with pytest.raises(ValidationError, match=r"does not go with training\.ema_decay"):
        CompareSpec.model_validate(averaged)


def test_a_condition_called_clean_has_no_wrong_labels():
    noisy = TRAINING.model_copy(update={"label_noise": SymmetricNoise(rate=0.4)})
    evidence = EvidenceSpec.model_validate({"conditions": ("clean", "few-10")})
    assert "'clean' would have wrong labels" in obstacle(evidence, noisy)
    assert obstacle(evidence, TRAINING) is None
    assert obstacle(EvidenceSpec.model_validate({"conditions": ("few-10",)}), noisy) is None


def test_a_comparison_tunes_and_controls_unless_told_otherwise():
    evidence = CompareSpec(training=TRAINING).evidence
    assert (evidence.seeds, evidence.tuning, evidence.controls) == (10, TuningSpec(), ControlsSpec())
    assert EvidenceSpec().is_plain
    assert not EvidenceSpec.model_validate({"correlate": {}}).is_plain
    assert not evidence.is_plain


def test_a_file_says_it_in_yaml_and_reads_back(tmp_path):
    path = tmp_path / "compare.yaml"
    path.write_text(
        "losses: [gce]\ntraining: {dataset: fake, model: resnet8, num_validation: 10}\n"
        "evidence: {conditions: [clean, noise-40], tuning: {learning_rate: [1, 2]}, controls: {random: false}}\n"
    )
    spec = CompareSpec.from_yaml(path)
    assert [loss.label for loss in spec.published] == ["gce", "cross_entropy"]
    assert not spec.evidence.controls.random
    (tmp_path / "again.yaml").write_text(spec.to_yaml())
    assert CompareSpec.from_yaml(tmp_path / "again.yaml") == spec
    path.write_text("training: {dataset: fake, model: resnet8}\nevidence: {conditions: [noizy-40], tunning: {}}\n")
    with pytest.raises(SpecError) as error:
        CompareSpec.from_yaml(path)
    problems = "\n".join(error.value.problems)
    assert "compare.yaml:2:25: evidence.conditions.0: no condition is called 'noizy-40'" in problems
    assert "evidence.tunning: unknown field (did you mean 'tuning'?)" in problems


def test_the_reference_is_cross_entropy_or_the_first():
    assert EvidenceSpec.model_validate({"baselines": ("gce", "cross_entropy")}).reference.label == "cross_entropy"
    assert EvidenceSpec.model_validate({"baselines": ("mae", "gce")}).reference.label == "mae"


def test_noise_of_rate_0_is_none():
    assert not is_noisy(TRAINING.model_copy(update={"label_noise": SymmetricNoise(rate=0.0)}))
    assert is_noisy(TRAINING.model_copy(update={"label_noise": SymmetricNoise(rate=0.1)}))
