"""Losses compared under conditions: what is trained, stored, and trained again."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

import lossforge
from lossforge.errors import DataError, RunDirectoryError, SpecError
from lossforge.evidence import TrainingObserver
from lossforge.evidence.sources import found_sources
from lossforge.spec import read_spec, spec_from_text
from lossforge.training.datasets import FakeImages

IMAGES = FakeImages(num_train=64, num_test=20, image_shape=(1, 8, 8), num_classes=4)
SETTING = {
    "dataset": IMAGES,
    "model": "resnet8",
    "epochs": 1,
    "batch_size": 16,
    "num_validation": 16,
    "crop_padding": 1,
    "precision": "float32",
}
TUNING = {"learning_rate": [0.5, 1.0], "weight_decay": [1.0], "widenings": 0}
EVIDENCE = {"seeds": 2, "tuning": TUNING, "controls": None}
EDL = """
name: small
search:
  parameterization: {type: pairwise_mlp, hidden: [3]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_comma_lambda, population_size: 4, num_parents: 2}
  mutation: gaussian
  generations: 2
  batch_size: 16
  selection_batch_size: 32
  num_classes: 4
  gates: {weight_band: null, signs: null}
  backend: eager
"""


IMPOSSIBLE = EDL.replace("backend: eager", "backend: triton") + "device: cpu\n"
"""Asks for what there is nowhere."""


class Counter(TrainingObserver):
    """Counts what is trained, apart from what is read back."""

    def __init__(self):
        self.trained_now, self.read, self.conditions = [], [], []

    def under(self, condition):
        self.conditions.append(condition)

    def trained(self, arm):
        (self.read if arm.restored else self.trained_now).append((arm.loss, arm.seed_index))
        is_tuning = " lr " in arm.loss
        assert (arm.result.metrics is None) == is_tuning  # tuning sees no test images


def compared(*losses, out=None, evidence=EVIDENCE, **options):
    counter = Counter()
    result = lossforge.compare(*losses, evidence=evidence, out=out, observer=counter, **SETTING | options)
    return result, counter


def test_every_contender_is_tuned_on_the_images_held_out_and_trained_on_fresh_seeds():
    evidence, counter = compared("gce", evidence=EVIDENCE | {"conditions": ["clean", "noise-40"]})
    assert counter.conditions == ["clean", "noise-40"]
    of_gce = [f"gce lr {rate} wd 0.0005" for rate in ("0.05", "0.1")]
    of_ce = [each.replace("gce", "cross_entropy") for each in of_gce]
    finals = [("gce", 0), ("cross_entropy", 0), ("gce", 1), ("cross_entropy", 1)]
    assert counter.trained_now == [*((each, 0) for each in (*of_gce, *of_ce)), *finals] * 2
    for condition in evidence.conditions.values():
        for name, tuned in condition.tuned.items():
            assert tuned.point in tuned.scores
            assert tuned.scores[tuned.point] == max(tuned.scores.values())
            assert len(condition.comparison.losses[name].results) == 2
    assert evidence.conditions["noise-40"].training.label_noise.rate == 0.4
    seeds = evidence.conditions["clean"].comparison.training_seeds
    assert len(set(seeds)) == 2


def test_nothing_is_trained_twice_and_more_seeds_losses_and_conditions_only_add(tmp_path):
    first, counter = compared("gce", out=tmp_path)
    assert len(counter.trained_now) == 8
    again, counter = compared("gce", out=tmp_path)
    assert counter.trained_now == []
    assert again.to_json() == first.to_json()
    _, counter = compared("gce", out=tmp_path, evidence=EVIDENCE | {"seeds": 3})
    assert counter.trained_now == [("gce", 2), ("cross_entropy", 2)]
    _, counter = compared("gce", "mae", out=tmp_path)
    assert {name.split(" ")[0] for name, _ in counter.trained_now} == {"mae"}
    assert len(counter.trained_now) == 4
    _, counter = compared("gce", out=tmp_path, evidence=EVIDENCE | {"conditions": ["noise-20"]})
    assert len(counter.trained_now) == 8
    wider = TUNING | {"learning_rate": [0.25, 0.5, 1.0]}
    _, counter = compared("gce", out=tmp_path, evidence=EVIDENCE | {"tuning": wider})
    assert {name for name, _ in counter.trained_now if " lr " in name} == {
        "gce lr 0.025 wd 0.0005",
        "cross_entropy lr 0.025 wd 0.0005",
    }
    content = json.loads((tmp_path / "evidence.json").read_text())
    assert [each["name"] for each in content["conditions"]] == ["as given"]


def test_few_images_and_long_tails_are_what_is_trained_on(tmp_path):
    evidence, counter = compared(
        "gce", out=tmp_path, evidence=EVIDENCE | {"conditions": ["clean", "few-20", "long-tail-4"], "tuning": None}
    )
    assert len(counter.trained_now) == 3 * 2 * 2
    trained_on = {
        name: json.loads(path.read_text())["images_a_class"]["train"]
        for name in evidence.conditions
        for path in (tmp_path / "trainings" / name).glob("images */data.json")
    }
    longest = 12  # a class: 64 images less 16 held out
    tail = [int(longest * 4 ** (-index / 3)) for index in range(4)]
    assert trained_on == {"clean": [longest] * 4, "few-20": [5] * 4, "long-tail-4": tail}


def test_what_auto_comes_to_is_settled_for_each_training_once(tmp_path, monkeypatch):
    from lossforge.evidence import alike
    from lossforge.evidence.choices import Choices

    asked = []

    def choose(spec, data, num_seeds):
        asked.append(spec.batch_size)
        return Choices("float32", "in_turn")

    monkeypatch.setattr(alike, "choose", choose)
    untuned = {"evidence": EVIDENCE | {"tuning": None, "conditions": ["clean", "few-40"]}, "precision": "auto"}
    for size in (16, 16, 32):
        compared("gce", out=tmp_path, batch_size=size, **untuned)
    assert asked == [16, 32]


def test_an_interrupted_comparison_goes_on_to_the_same(tmp_path):
    whole, _ = compared("gce", out=tmp_path / "whole")

    class Stops(Counter):
        def trained(self, arm):
            super().trained(arm)
            if len(self.trained_now) == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lossforge.compare("gce", evidence=EVIDENCE, out=tmp_path / "parts", observer=Stops(), **SETTING)
    resumed, counter = compared("gce", out=tmp_path / "parts")
    assert (len(counter.read), len(counter.trained_now)) == (6, 2)
    assert resumed.to_json() == whole.to_json()


class TestControls:
    def test_the_reference_once_more_rescaled_and_stopped_early(self):
        controls = {"rescaled": 4.0, "random": False}
        options = {"conditions": ["noise-40"], "tuning": None, "controls": controls}
        evidence, _ = compared("gce", evidence=EVIDENCE | options)
        condition = evidence.conditions["noise-40"]
        assert dict(condition.roles) == {
            "gce": "published",
            "cross_entropy": "published",
            "cross_entropy again": "null",
            "4 x cross_entropy": "rescaled",
            "cross_entropy stopped early": "stopped_early",
        }
        losses = condition.comparison.losses
        # On seeds of its own, so other results of the same loss.
        assert losses["cross_entropy again"].results != losses["cross_entropy"].results
        assert all(result.selected_epoch == 1 for result in losses["cross_entropy stopped early"].results)
        assert losses["cross_entropy stopped early"].results[0].metrics == losses["cross_entropy"].results[0].metrics
        first = [losses[name].results[0].epochs[0].train_loss for name in ("4 x cross_entropy", "cross_entropy")]
        assert first[0] > 2 * first[1]

    def test_nothing_is_stopped_early_without_noise(self):
        evidence, _ = compared("gce", evidence=EVIDENCE | {"tuning": None, "controls": {"random": False}})
        assert "stopped_early" not in evidence.conditions["as given"].roles.values()

    def test_rescaling_is_another_learning_rate(self):
        sgd = {"weight_decay": 0.0, "optimizer": "sgd", "learning_rate": 0.1}
        controls = {"null_arm": False, "rescaled": 2.0, "random": False}
        evidence, _ = compared("mae", evidence=EVIDENCE | {"tuning": None, "controls": controls}, **sgd)
        faster, _ = compared("mae", evidence=EVIDENCE | {"tuning": None}, **sgd | {"learning_rate": 0.2})
        scaled = evidence.conditions["as given"].comparison.losses["2 x cross_entropy"].results[0]
        rate = faster.conditions["as given"].comparison.losses["cross_entropy"].results[0]
        assert torch.allclose(scaled.test.logits_NC, rate.test.logits_NC, atol=1e-3)

    def test_random_members_of_the_family_another_one_at_each_seed(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "small.yaml").write_text(EDL)
        evidence, counter = compared("small.yaml", out=tmp_path / "out", evidence=EVIDENCE | {"controls": {}})
        roles = evidence.conditions["as given"].roles
        assert (roles["small"], roles["random small"]) == ("found", "random")
        assert sum(name == "random small" for name, _ in counter.trained_now) == 2
        _, counter = compared("small.yaml", out=tmp_path / "out", evidence=EVIDENCE | {"controls": {}})
        assert counter.trained_now == []  # the search, and the members, are the same


def test_random_members_pass_the_gates_of_the_search_and_follow_from_seed_stream_and_index():
    from lossforge.evidence.random_control import random_member, search_of
    from lossforge.search import Evaluator, apply_gates
    from lossforge.spec import spec_from_text

    gated = EDL.replace("signs: null", "signs: {}").replace("population_size: 4", "population_size: 64")
    run = spec_from_text(gated, "small")
    artifact = lossforge.Search(run.search, seed=0, name="small").run()
    search = search_of(artifact)
    members = [random_member(artifact, search, 3, "stream", index) for index in range(3)]
    again = random_member(artifact, search, 3, "stream", 1)
    assert again.identity() == members[1].identity()
    others = [random_member(artifact, search, 3, "other", 1), random_member(artifact, search, 4, "stream", 1)]
    assert len({each.identity() for each in (*members, *others)}) == 5
    evaluator = Evaluator(search, 3, torch.device("cpu"))
    for member in members:
        population = evaluator.population(member.solution_D[None])
        assert bool(apply_gates(search.gates, population, evaluator.gate_batch).feasible_P.all())


@pytest.mark.parametrize(
    "changed", [{"num_classes": 5}, {"selection_batch_size": 64}, {"sampler": "dirichlet"}], ids=lambda each: str(each)
)
def test_random_members_of_another_search_are_others_by_content(changed):
    from lossforge.evidence.contenders import controls
    from lossforge.spec import EvidenceSpec, TrainingSpec, spec_from_text

    search = spec_from_text(EDL, "small").search
    artifact = lossforge.Search(search, seed=0, name="small").run()
    fields = search.model_dump(mode="json") | changed
    other = dataclasses.replace(artifact, evidence={**artifact.evidence, "search": fields})
    spec = EvidenceSpec.model_validate({"controls": {"null_arm": False, "rescaled": None}})
    training = TrainingSpec(dataset=IMAGES, model="resnet8")
    of_both = [controls(spec, training, [each], 0)[0] for each in (artifact, other)]
    assert len({each.identity for each in of_both}) == 2
    assert len({each.loss("stream", 0).identity for each in of_both}) == 2


class TestMistakes:
    def test_one_loss_is_nothing_to_compare(self):
        with pytest.raises(SpecError, match="nothing to compare"):
            compared("cross_entropy")

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(RunDirectoryError, match=r"is not empty, and holds no compare\.yaml"):
            compared("gce", out=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_condition_that_cannot_be_had_is_told_before_anything_is_searched_or_trained(self, tmp_path):
        (tmp_path / "small.yaml").write_text(EDL)
        conditions = EVIDENCE | {"conditions": ["clean", "asymmetric-40"]}
        with pytest.raises(SpecError, match="no class is called 'airplane'"):
            compared(tmp_path / "small.yaml", out=tmp_path / "out", evidence=conditions)
        with pytest.raises(DataError, match="num_train asks for 100 images"):
            compared("gce", evidence=EVIDENCE | {"conditions": ["clean", "few-100"]}, out=tmp_path / "out")
        assert not list(tmp_path.glob("out/[st]*"))  # no searches, no trainings

    def test_modules_are_not_stored(self, tmp_path):
        with pytest.raises(SpecError, match="not told apart by content"):
            lossforge.compare(modules={"mine": nn.CrossEntropyLoss()}, out=tmp_path, evidence=EVIDENCE, **SETTING)

    def test_two_losses_of_one_name(self):
        with pytest.raises(SpecError, match="two are called 'gce'"):
            lossforge.compare("gce", modules={"gce": nn.CrossEntropyLoss()}, evidence=EVIDENCE, **SETTING)


def test_any_module_can_be_compared():
    modules = {"smoothed": nn.CrossEntropyLoss(label_smoothing=0.1)}
    evidence = lossforge.compare(modules=modules, evidence=EVIDENCE | {"tuning": None}, **SETTING)
    assert dict(evidence.conditions["as given"].roles) == {"cross_entropy": "published", "smoothed": "given"}
    assert "smoothed" in repr(evidence)


def test_of_two_found_losses_of_one_name_the_later_is_called_as_its_folder(tmp_path):
    run = spec_from_text(EDL, "small")
    for seed in (0, 1):
        lossforge.Search(run.search, seed=seed, name="small").run().save(tmp_path / f"run-{seed}")
    found = [str(tmp_path / f"run-{seed}") for seed in (0, 1)]
    assert [source.obtain(None, None).name for source in found_sources(found)] == ["small", "run-1"]
    with pytest.raises(SpecError, match="two losses are called 'run-1'; rename the folder of"):
        found_sources([*found, found[1]])


def test_of_a_loss_read_from_a_run_the_search_is_shown_too(tmp_path):
    run = lossforge.run(spec_from_text(EDL, "small"), out=tmp_path / "run")
    out = tmp_path / "out"
    lossforge.compare(tmp_path / "run", evidence=EVIDENCE, out=out, **SETTING)
    assert (out / "artifacts" / "small" / "history.jsonl").read_bytes() == run.directory.history.read_bytes()
    text = (out / "report.html").read_text()
    assert "Line chart of fitness by generation" in text
    lossforge.compare(tmp_path / "run" / "artifact", evidence=EVIDENCE, out=out, **SETTING)
    assert not (out / "artifacts" / "small" / "history.jsonl").exists()  # of this one nothing is told


def test_a_found_loss_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    lossforge.Search(spec_from_text(EDL, "small").search, seed=0, name="small").run().save(tmp_path / "small")
    evidence = lossforge.compare("~/small", evidence=EVIDENCE | {"tuning": None}, out=tmp_path / "out", **SETTING)
    assert [artifact.name for artifact in evidence.artifacts] == ["small"]
    assert str(tmp_path / "small") in (tmp_path / "out" / "compare.yaml").read_text()


class TestRefusals:
    """What cannot be done is told before anything is searched or trained, and a folder stays as it was."""

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"gap": {"epochs_at": [5]}}, r"epochs_at: epoch 5 is to be recorded, and a training has 1"),
            (
                {"gap": {"part": "held_out", "seeds": 1, "neighbours": 40}},
                r"16 outputs .* raise training.num_validation",
            ),
            ({"gap": {"batches": 1, "seeds": 1, "neighbours": 40}}, r"16 outputs would be compared, and at least 82"),
            ({"gap": {"fit": True, "floor": 0.5}}, "6 regimes cannot each have 0.5"),
            ({"conditions": ["few-100000"]}, "condition few-100000: num_train asks for 100000 images"),
        ],
    )
    def test_nothing_is_trained(self, tmp_path, changes, told):
        path, out, counter = _written(tmp_path, EDL), tmp_path / "out", Counter()
        lossforge.compare("gce", evidence=EVIDENCE, out=out, **SETTING)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
        with pytest.raises((DataError, SpecError), match=told):
            lossforge.compare(path, evidence=EVIDENCE | changes, out=out, observer=counter, **SETTING)
        assert counter.trained_now == []
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
        assert after == before

    def test_a_loss_for_other_classes_than_the_images_have_allows_no_gap(self, tmp_path):
        (tmp_path / "edl.yaml").write_text(EDL.replace("num_classes: 4", "num_classes: 10"))
        with pytest.raises(DataError, match=r"'fake' has 4 classes, and the sampler .* leave the gap"):
            lossforge.compare(tmp_path / "edl.yaml", evidence=EVIDENCE | {"gap": {}}, out=tmp_path / "out", **SETTING)
        assert not (tmp_path / "out" / "compare.yaml").exists()

    def test_a_loss_that_tells_no_search_has_no_random_members(self, tmp_path):
        artifact = lossforge.Search(spec_from_text(EDL, "small").search, name="small").run()
        dataclasses.replace(artifact, evidence={}).save(tmp_path / "small")
        self.refused(
            tmp_path,
            "small: does not say how it was searched; set .*random: false",
            tmp_path / "small",
            evidence={"seeds": 2},
        )

    def test_nor_is_searched_what_this_machine_cannot(self, tmp_path):
        told = "search.backend: there is no triton kernel for .* on cpu"
        self.refused(tmp_path, told, _written(tmp_path, IMPOSSIBLE))

    def test_nor_is_it_for_a_correlation(self, tmp_path):
        zoo = {"published": ["cross_entropy", "mae", "brier"], "random": [], "shaped": []}
        zoo["found"] = [{"source": str(_written(tmp_path, IMPOSSIBLE))}]
        self.refused(tmp_path, "no triton kernel", "mae", evidence=EVIDENCE | {"correlate": {"zoo": zoo}})

    def test_what_has_been_found_is_read_where_it_could_not_be_searched_for_again(self, tmp_path, monkeypatch):
        path, out = _written(tmp_path, EDL), tmp_path / "out"
        first = lossforge.compare(path, evidence=EVIDENCE, out=out, **SETTING)
        monkeypatch.setattr("lossforge.search.resolution.refuse_beyond_memory", _fails)
        assert lossforge.compare(path, evidence=EVIDENCE, out=out, **SETTING).to_json() == first.to_json()

    def test_a_loss_that_is_called_as_a_control(self, tmp_path, monkeypatch):
        monkeypatch.setattr("lossforge.evidence.sources.searched", _fails)
        modules = {"cross_entropy again": nn.CrossEntropyLoss()}
        with pytest.raises(SpecError, match="two are called 'cross_entropy again'"):
            lossforge.compare(_written(tmp_path, EDL), modules=modules, evidence={"seeds": 2}, **SETTING)

    def test_a_run_refuses_a_baseline_that_cannot_be_a_folder(self, tmp_path):
        long = {"type": "polyloss", "coefficients": [index / 7 for index in range(1, 14)]}
        settings = ["training={dataset: {type: fake, num_train: 64, num_classes: 4}, model: resnet8, epochs: 1}"]
        spec = read_spec(_written(tmp_path, EDL), [*settings, f"evidence.baselines={json.dumps([long])}"])
        with pytest.raises(SpecError, match="cannot be the name of a folder"):
            lossforge.run(spec, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def refused(self, tmp_path, told, *losses, evidence=EVIDENCE):
        counter = Counter()
        losses = [*losses, _written(tmp_path, EDL.replace("small", "other"), "other.yaml")]
        with pytest.raises(SpecError, match=told):
            lossforge.compare(*losses, evidence=evidence, out=tmp_path / "out", observer=counter, **SETTING)
        assert counter.trained_now == []
        assert not list(tmp_path.glob("out/[cst]*"))  # no compare.yaml, searches, trainings

    def test_a_run_refuses_it_before_it_searches(self, tmp_path):
        path = _written(tmp_path, EDL)
        settings = ["training={dataset: {type: fake, num_train: 64, num_classes: 4}, model: resnet8, epochs: 1}"]
        spec = read_spec(path, [*settings, "evidence={gap: {epochs_at: [5]}}"])
        with pytest.raises(SpecError, match="epoch 5 is to be recorded"):
            lossforge.run(spec, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_what_is_there_is_read_back_with_its_gap_where_the_images_are_gone(tmp_path, monkeypatch):
    path, out = _written(tmp_path, EDL), tmp_path / "out"
    evidence = EVIDENCE | {"gap": {"seeds": 1, "samples": 50, "bootstrap": 20}}
    first = lossforge.compare(path, evidence=evidence, out=out, **SETTING)

    def gone(self):
        raise DataError("the images are gone")

    monkeypatch.setattr(FakeImages, "load", gone)
    counter = Counter()
    again = lossforge.compare(path, evidence=evidence, out=out, observer=counter, **SETTING)
    assert (again.to_json(), counter.trained_now) == (first.to_json(), [])
    with pytest.raises(DataError, match="the images are gone"):
        lossforge.compare(path, evidence=evidence, out=tmp_path / "new", **SETTING)


def test_where_nothing_is_written_no_gap_is_measured_and_none_refused(tmp_path):
    evidence = EVIDENCE | {"gap": {"epochs_at": [5]}}
    assert "small reaches accuracy" in repr(lossforge.compare(_written(tmp_path, EDL), evidence=evidence, **SETTING))


def test_a_gap_that_cannot_be_measured_leaves_the_report(tmp_path, monkeypatch):
    tuned_to = []

    def fails(*args, points, **kwargs):
        tuned_to.append(points)
        raise SpecError(["the training with edl diverged in epoch 1"])

    monkeypatch.setattr("lossforge.findings.measure_gap", fails)
    with pytest.raises(SpecError, match="diverged"):
        lossforge.compare(_written(tmp_path, EDL), evidence=EVIDENCE | {"gap": {}}, out=tmp_path / "out", **SETTING)
    (condition,) = json.loads((tmp_path / "out" / "evidence.json").read_text())["conditions"]
    points = {name: point._asdict() for name, point in tuned_to[0].items()}
    assert points == {name: tuned["point"] for name, tuned in condition["tuned"].items()}
    assert "small reaches accuracy" in (tmp_path / "out" / "report.html").read_text()


def _fails(*args, **options):
    raise SpecError(["this machine cannot"])


def _written(folder, text, name="edl.yaml"):
    path = folder / name
    path.write_text(text)
    return path
