"""The report of ``lossforge compare``, and of a run with conditions: what it says, from files alone."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lossforge.errors import RunDirectoryError
from lossforge.evidence import explain
from lossforge.evidence.comparison import summarise
from lossforge.evidence.gather import ConditionEvidence, Evidence
from lossforge.evidence.judgement import judgement
from lossforge.evidence.reliability import reliability
from lossforge.evidence.trainer import place_of_images
from lossforge.evidence.tuning import Point, Tuned
from lossforge.report import further, write_evidence, write_explanation, write_report
from lossforge.report.evidence_content import EvidenceContent
from lossforge.report.forest_page import forest_plot
from lossforge.report.sections import Section
from lossforge.spec.compare import CompareSpec
from lossforge.training.metrics import classification_metrics
from lossforge.training.result import EpochRecord, Predictions, TrainingResult

from .chromium import PROGRAM, chromium
from .conftest import FOUND, MANIFEST, generation
from .test_html_report import Page

ROLES = {
    "tiny": "found",
    "gce": "published",
    "cross_entropy": "published",
    "cross_entropy again": "null",
    "2 x cross_entropy": "rescaled",
    "random tiny": "random",
}
SPEC = CompareSpec.from_overrides(
    [
        "name=compared",
        "losses=[gce]",
        'found=["tiny"]',
        "training={dataset: digits, model: resnet8, num_validation: 100, epochs: 3}",
        "evidence.conditions=[clean, noise-40]",
        "evidence.seeds=3",
        "description=two conditions",
    ]
)


def training(shift: float, seed: int) -> TrainingResult:
    """A training whose logits are right the more often, the larger ``shift``."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(200) % 10
    logits_NC = torch.randn(200, 10, generator=generator, dtype=torch.float32)
    logits_NC[torch.arange(200), labels_N] += shift
    metrics = classification_metrics(logits_NC, labels_N)
    epochs = tuple(EpochRecord(epoch, 2 / epoch, 0.3 * epoch) for epoch in (1, 2, 3))
    return TrainingResult(
        metrics=metrics,
        epochs=epochs,
        diverged_at_epoch=None,
        test=Predictions(logits_NC, labels_N),
        scaled_metrics=metrics,
        temperature=1.0,
    )


def condition(spec: CompareSpec, name: str, shifts: dict[str, float]) -> ConditionEvidence:
    of_training = spec.evidence.under(spec.training)[name]
    results = {loss: [training(shift, 10 * k + i) for i in range(3)] for k, (loss, shift) in enumerate(shifts.items())}
    comparison = summarise(results, "cross_entropy", 0.95, range(3))
    roles = {loss: ROLES.get(loss, "stopped_early") for loss in shifts}
    scores = {Point(0.05, 0.0005): 0.8, Point(0.1, 0.0005): 0.9, Point(0.1, 0.001): None}
    tuned = {loss: Tuned(Point(0.1, 0.0005), scores, loss == "gce") for loss in shifts}
    return ConditionEvidence(
        of_training,
        roles,
        tuned,
        comparison,
        judgement(comparison, roles, spec.evidence.margin),
        dict.fromkeys(roles, comparison.training_seeds),
    )


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    shifts = dict(zip(ROLES, (5.0, 2.0, 3.0, 3.1, 2.9, 2.6), strict=True))
    stopped = {**dict.fromkeys(ROLES, 2.0), "gce": -3.0, "cross_entropy stopped early": 2.2}
    conditions = {"clean": condition(SPEC, "clean", shifts), "noise-40": condition(SPEC, "noise-40", stopped)}
    return Evidence(SPEC.evidence, conditions)


def write_records(evidence: Evidence, folder: Path, seed: int) -> None:
    record = {"dataset_sha256": "d" * 64, "labels_sha256": {"train": "1" * 64}, "wrong_labels": {"train": 0.361}}
    for name, each in evidence.conditions.items():
        place = folder / place_of_images(name, seed, each.training.model_dump(mode="json"))
        place.mkdir(parents=True)
        (place / "data.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def whole(evidence, tmp_path_factory) -> Path:
    """The folder of a comparison."""
    out = tmp_path_factory.mktemp("whole") / "compared"
    search = out / "searches" / "tiny-0" / "artifact"
    for folder in (search, out / "artifacts" / "tiny"):
        folder.mkdir(parents=True)
        (folder / "loss.json").write_text(json.dumps(FOUND))
        (folder / "loss.safetensors").write_bytes(b"solution")
    history = "".join(json.dumps(generation(index)) + "\n" for index in range(3))
    (search.parent / "history.jsonl").write_text(history)
    (out / "compare.yaml").write_text(SPEC.to_yaml())
    (out / "manifest.json").write_text(json.dumps(MANIFEST | {"command": ["lossforge", "compare", "two words"]}))
    (out / "evidence.json").write_text(json.dumps({"name": "compared", **evidence.to_json()}))
    write_records(evidence, out / "trainings", 0)
    write_evidence(evidence, out)
    return out


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "compared"))


def asked_for(folder: Path, **options) -> None:
    """Have the evidence in a folder ask for more."""
    content = json.loads((folder / "evidence.json").read_text())
    content["evidence"] |= options
    (folder / "evidence.json").write_text(json.dumps(content))


def sound(html: str) -> Page:
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "image"})
    assert "http:" not in html
    assert "https:" not in html
    return page


def test_verdicts_come_first_then_conditions_then_what_it_takes_to_repeat(folder):
    text = sound(write_report(folder).read_text()).text
    order = [
        "clean",
        "tiny reaches accuracy",
        "noise-40",
        "All conditions",
        "Condition clean",
        "Difference to cross_entropy, points of accuracy",
        "All figures",
        "What the controls are for",
        "Reliability",
        "Training accuracy",
        "Tuning",
        "Condition noise-40",
        "What more seeds would show",
        "The found loss tiny",
        "Gate pass rates",
        "Repeat the comparison",
        "compare.yaml",
        "schema_version: 1",
    ]
    places = []
    for part in order:
        places.append(text.index(part, places[-1] if places else 0))
    assert places == sorted(places)
    head = text[: text.index("All conditions")]
    assert "gce" not in head
    assert "Control:" not in head
    for part in (
        "lossforge compare 'two words'",
        "d" * 64,
        "36.1% wrong",
        "0, 1, 2",
        "two conditions",
        "what a change of step size alone buys",
        "Not tuned out: gce",
        "diverged",
        'lossforge.load_loss("artifacts/tiny")',
        "Control: cross_entropy stopped early reaches",
    ):
        assert part in text


def test_the_page_is_made_of_files_alone_and_is_the_same_each_time(folder):
    first = write_report(folder).read_bytes()
    shutil.rmtree(folder / "tables")
    shutil.rmtree(folder / "figures")
    assert write_report(folder).read_bytes() == first


def test_a_folder_that_is_not_finished_says_so(folder):
    (folder / "evidence.json").unlink()
    with pytest.raises(RunDirectoryError, match="resume"):
        write_report(folder)


def test_a_run_shows_its_evidence_in_place_of_the_plain_comparison(evidence, trained_run):
    plain = write_report(trained_run).read_text()
    content = {"name": "tiny", **evidence.to_json()}
    (trained_run / "evidence.json").write_text(json.dumps(content))
    write_records(evidence, trained_run / "training", 3)
    text = sound(write_report(trained_run).read_text()).text
    assert "Results on real data" in plain
    assert "Results on real data" not in text
    assert text.index("tiny reaches accuracy") < text.index("Condition clean") < text.index("The search")
    improvement = evidence.conditions["clean"].judgement.against_reference[0].improvement
    assert f"{improvement.low:.2f} to {improvement.high:.2f}" in text
    assert "1 of 3 trainings with mae diverged" not in text
    assert "1" * 64 in text


def test_what_is_found_out_further_has_a_section_of_its_own(folder, monkeypatch):
    note = Section("more", "Further still", "style.css", None)
    monkeypatch.setitem(
        further.SECTIONS, "explain", lambda path, names: note if (path, names) == (folder, ("tiny",)) else None
    )
    assert "Further still" not in sound(write_report(folder).read_text()).text
    asked_for(folder, explain=True)
    text = sound(write_report(folder).read_text()).text
    assert text.index("The found loss tiny") < text.index("Further still") < text.index("Repeat the comparison")


def test_names_from_files_are_escaped(folder):
    evil = "<script>alert(1)</script>"
    for path in (folder / "evidence.json", folder / "compare.yaml"):
        path.write_text(path.read_text().replace("gce", evil).replace("noise-40", evil + "n"))
    content = json.loads((folder / "evidence.json").read_text())
    (place,) = (folder / "trainings" / "noise-40").iterdir()
    name = content["conditions"][1]["name"]
    target = folder / "trainings" / place_of_images(name, 0, content["conditions"][1]["training"])
    target.parent.mkdir(parents=True)
    shutil.copytree(place, target)
    assert sound(write_report(folder).read_text()).text.count(evil) > 8


def test_where_all_diverged_and_nothing_was_tuned_it_says_so(folder, evidence):
    diverged = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1)
    comparison = summarise(
        {name: [diverged, diverged] for name in ("tiny", "cross_entropy")}, "cross_entropy", 0.95, range(2)
    )
    roles = {name: ROLES[name] for name in comparison.losses}
    clean = evidence.conditions["clean"].training
    only = ConditionEvidence(clean, roles, {}, comparison, judgement(comparison, roles, 0.5), {})
    content = Evidence(evidence.spec, {"clean": only}).to_json()
    (folder / "evidence.json").write_text(json.dumps({"name": "compared", **content}))
    text = sound(write_report(folder).read_text()).text
    assert "no verdict, for all trainings with tiny diverged" in text
    assert "2 of 2 trainings with tiny diverged" in text
    assert "nothing tuned for any of them" in text
    for part in ("All conditions", "Reliability", "Points tried", "What more seeds would show", "points of accuracy"):
        assert part not in text


def test_bins_of_reliability_are_those_of_the_calibration_error():
    for shift in (0.0, 2.0, 8.0):
        one = training(shift, 5)
        bins = reliability([one])
        assert sum(bins.num) == 200
        gaps = [
            num * abs(accuracy - confidence)
            for num, accuracy, confidence in zip(bins.num, bins.accuracy, bins.confidence, strict=True)
            if num
        ]
        assert sum(gaps) / 200 == pytest.approx(one.metrics.ece, abs=1e-12)
    two = reliability([training(2.0, 0), training(2.0, 1)])
    apart = [reliability([training(2.0, seed)]) for seed in (0, 1)]
    assert two.num == tuple(map(sum, zip(*(each.num for each in apart), strict=True)))
    assert two.num_trainings == 2
    assert reliability([dataclasses.replace(one, test=None)]) is None


def test_a_bad_loss_does_not_squeeze_the_forest_plot(evidence):
    content = EvidenceContent.model_validate({"name": "", **evidence.to_json()})
    plot = forest_plot(content.conditions[1], 0.5)
    rows = {row.name: row for row in plot.rows}
    assert rows["gce"].mean is None
    assert float(rows["gce"].off_left) < -10
    assert all(0 <= end <= 100 for row in plot.rows for end in (*row.seeds, *(row.images or ())))
    assert rows["tiny"].seeds[1] - rows["tiny"].seeds[0] > 25
    assert plot.margin < plot.zero


@pytest.mark.skipif(PROGRAM is None and "CI" not in os.environ, reason="no Chromium here")
def test_in_a_browser_nothing_overflows_complains_or_is_fetched(folder, evidence, trained_run, tmp_path):
    (trained_run / "evidence.json").write_text(json.dumps({"name": "tiny", **evidence.to_json()}))
    write_records(evidence, trained_run / "training", 3)
    write_explanation(explain("gce"), folder / "explanations" / "tiny")
    asked_for(folder, explain=True)
    papers, images = set(), set()
    with chromium(tmp_path / "profile") as browser:
        for report in map(write_report, (folder, trained_run)):
            for width, height in ((1280, 900), (390, 844)):
                for scheme in ("light", "dark"):
                    browser.open(report, width, height, scheme)
                    assert browser.value("document.documentElement.scrollWidth") == width
                    assert browser.value("document.querySelectorAll('svg[role=img]').length") > 20
                    images.add(browser.value("[...document.images].filter(each => each.naturalWidth > 0).length"))
                    papers.add((scheme, browser.value("getComputedStyle(document.body).backgroundColor")))
            fetched = {request for request in browser.requests if not request.startswith("data:")}  # lies in the page
            assert fetched <= {path.resolve().as_uri() for path in (report, folder / "report.html")}
    assert browser.messages == []
    assert len(papers) == 2
    assert images == {0, 2}
