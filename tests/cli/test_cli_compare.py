"""``lossforge compare``: what it prints, writes, and goes on with."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

FILE = """\
name: small
losses: [gce]
training:
  dataset: {type: fake, num_train: 64, num_test: 20, image_shape: [1, 8, 8], num_classes: 4}
  model: resnet8
  epochs: 1
  batch_size: 16
  num_validation: 16
  crop_padding: 1
  precision: float32
evidence:
  conditions: [clean, noise-40]
  seeds: 2
  tuning: {learning_rate: [0.5, 1], weight_decay: [1], widenings: 0}
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory, lossforge):
    """Return a folder with ``small.yaml``, and the comparison of it in ``out``."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "small.yaml").write_text(FILE)
    outcome = lossforge("compare", folder / "small.yaml", "--out", folder / "out")
    assert outcome.code == 0, outcome.err
    (folder / "stdout").write_text(outcome.out)
    (folder / "stderr").write_text(outcome.err)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_prints_a_table_and_a_verdict_for_each_condition(compared):
    out = (compared / "stdout").read_text()
    for condition in ("clean", "noise-40"):
        assert f"Condition {condition}" in out
    verdicts = [line for line in out.splitlines() if line.startswith("gce reaches accuracy")]
    assert len(verdicts) == 2
    assert all("for cross_entropy (n = 2 and 2)" in line for line in verdicts)
    for control in ("cross_entropy again", "2 x cross_entropy", "cross_entropy stopped early"):
        assert control in out
    assert max(map(len, (line for line in out.splitlines() if "±" in line))) <= 100


def test_progress_goes_to_stderr(compared):
    err = (compared / "stderr").read_text()
    assert "condition clean" in err
    assert "held-out accuracy" in err
    assert "test accuracy" in err
    assert "trained 36/36" in err  # 4 + 5 contenders, each tuned at 2 points and trained twice


def test_writes_every_number_as_csv(compared):
    tables = compared / "out" / "tables"
    losses = rows(tables / "losses.csv")
    accuracies = [row for row in losses if row["metric"] == "accuracy"]
    assert [(row["condition"], row["loss"], row["role"]) for row in accuracies[:4]] == [
        ("clean", "gce", "published"),
        ("clean", "cross_entropy", "published"),
        ("clean", "cross_entropy again", "null"),
        ("clean", "2 x cross_entropy", "rescaled"),
    ]
    assert accuracies[0]["num_tuning"] == "2"
    assert accuracies[1]["difference"] == ""  # the reference
    assert float(accuracies[0]["interval_low"]) < float(accuracies[0]["mean"]) < float(accuracies[0]["interval_high"])
    trainings = rows(tables / "trainings.csv")
    of_gce = [row for row in trainings if (row["condition"], row["loss"]) == ("clean", "gce")]
    mean = sum(float(row["accuracy"]) for row in of_gce) / 2
    assert float(accuracies[0]["mean"]) == pytest.approx(mean)
    assert len(trainings) == 2 * (4 + 5)
    seeds = {
        name: [row["training_seed"] for row in trainings if (row["condition"], row["loss"]) == ("clean", name)]
        for name in ("gce", "cross_entropy", "cross_entropy again")
    }
    assert seeds["gce"] == seeds["cross_entropy"]
    assert not set(seeds["cross_entropy"]) & set(seeds["cross_entropy again"])
    tuning = rows(tables / "tuning.csv")
    assert len(tuning) == 2 * (4 + 5)
    assert sum(row["is_chosen"] == "True" for row in tuning) == 4 + 5
    assert {"sd", "difference", "seeds", "power", "needed"} == set(rows(tables / "power.csv")[0])
    assert (tables / "pairs.csv").read_text() == "\n"  # nothing was found


def test_draws_a_forest_plot_for_each_condition(compared):
    for condition in ("clean", "noise-40"):
        text = (compared / "out" / "figures" / f"forest-{condition}.svg").read_text()
        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_writes_a_report_and_writes_it_anew_from_files_alone(compared, lossforge, tmp_path):
    copy = Path(shutil.copytree(compared / "out", tmp_path / "copy"))
    before = (copy / "report.html").read_bytes()
    shutil.rmtree(copy / "tables")
    (copy / "report.html").unlink()
    assert lossforge("report", copy).out == f"{copy / 'report.html'}\n"
    assert (copy / "report.html").read_bytes() == before
    bins = rows(compared / "out" / "tables" / "calibration.csv")
    assert len(bins) == 15 * (4 + 5)
    assert sum(int(row["num"]) for row in bins) == 20 * 2 * (4 + 5)  # test images, seeds, contenders


def test_asked_again_it_trains_nothing_and_prints_the_same(compared, lossforge):
    again = lossforge("compare", compared / "small.yaml", "--out", compared / "out")
    assert again.out == (compared / "stdout").read_text()
    assert again.err.count("(read back)") == 36
    resumed = lossforge("resume", compared / "out")
    assert resumed.out == again.out
    as_json = lossforge("compare", compared / "small.yaml", "--out", compared / "out", "--json")
    content = json.loads(as_json.out)
    assert content == json.loads((compared / "out" / "evidence.json").read_text())
    judged = content["conditions"][0]["judgement"]
    assert judged["verdicts"]["gce"]["outcome"] in ("better", "no worse", "worse", "undecided", "no verdict")


def test_options_say_what_a_file_says(compared, lossforge, tmp_path):
    shutil.copytree(compared / "out", tmp_path / "out")
    training = [line.strip().replace(": ", "=", 1) for line in FILE.splitlines()[3:10]]
    options = [option for line in training for option in ("--set", f"training.{line}")]
    tuning = ["--set", "evidence.tuning={learning_rate: [0.5, 1], weight_decay: [1], widenings: 0}"]
    conditions = ["--condition", "clean", "--condition", "noise-40"]
    spec = ["--loss", "gce", "--seeds", "2", *conditions, *options[4:], *tuning]
    dataset = ["--dataset", training[0].removeprefix("dataset="), "--model", "resnet8"]
    outcome = lossforge("compare", *spec, *dataset, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out.replace(str(tmp_path / "out"), "") == (compared / "stdout").read_text().replace(
        str(compared / "out"), ""
    )


def test_a_dry_run_says_how_much_it_is_and_what_it_can_show(compared, lossforge, tmp_path):
    outcome = lossforge("compare", compared / "small.yaml", "--out", tmp_path / "new", "--dry-run")
    assert "clean: 4 losses and controls, 2 to tune and 2 final trainings each: 16 trainings" in outcome.out
    assert "noise-40: 5 losses and controls" in outcome.out
    assert "Power of a comparison" in outcome.out
    assert "as they are met often" in outcome.out
    assert not (tmp_path / "new").exists()
    measured = lossforge("compare", compared / "small.yaml", "--out", compared / "out", "--dry-run", "--json")
    content = json.loads(measured.out)
    assert content["sds_are"] == f"measured in {compared / 'out'}"
    assert [each["num_trainings"] for each in content["conditions"]] == [16, 20]
    assert all(0 <= row["power"] <= 1 for row in content["power"])
    longer = ["--set", "training.epochs=2"]
    other = lossforge("compare", compared / "small.yaml", *longer, "--out", compared / "out", "--dry-run", "--json")
    assert json.loads(other.out)["sds_are"] == "as they are met often"  # those in the folder are of other trainings


def test_interrupted_before_it_has_begun_it_names_itself_and_not_what_is_there(
    compared, lossforge, tmp_path, monkeypatch
):
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    shutil.copytree(compared / "out", tmp_path / "out")
    monkeypatch.setattr("lossforge.evidence.compare.check_contenders", stop)
    monkeypatch.setattr("sys.argv", ["lossforge", "compare", "other.yaml"])
    outcome = lossforge("compare", compared / "small.yaml", "--out", tmp_path / "out")
    assert outcome.err.splitlines()[-1] == "interrupted; go on with: lossforge compare other.yaml"


def test_a_dry_run_times_searches_and_refuses_what_the_comparison_would(compared, lossforge, tmp_path):
    plan = ["compare", compared / "small.yaml", "--out", tmp_path / "new", "--dry-run"]
    told = lossforge(*plan, "--loss", "edl", "--set", "training.dataset.num_classes=10", "--json")
    seconds = json.loads(told.out)["search_seconds"]
    assert list(seconds) == ["edl"]
    assert seconds["edl"] > 0
    (tmp_path / "empty").mkdir()
    refused = lossforge(*plan, "--loss", tmp_path / "empty")
    assert refused.code == 2
    assert "empty: no loss.json here or in" in refused.err
    refused = lossforge(*plan, "--loss", "edl", "--set", "evidence.gap={epochs_at: [9]}")
    assert refused.code == 2
    assert "epoch 9 is to be recorded" in refused.err
    assert not (tmp_path / "new").exists()


CORRELATE = (
    "{zoo: {published: [cross_entropy, mae, brier, gce], found: [], random: [], shaped: []}, "
    "objectives: [{name: ranking, objective: ranking_consistency}], judging: {batch_size: 64, batches: 1}, "
    "tuning: {learning_rate: [1.0], weight_decay: [1.0], widenings: 0}, seeds: 1}"
)


def test_a_dry_run_counts_what_is_trained_besides(compared, lossforge, tmp_path):
    asked = ["--loss", "edl", "--set", "evidence.gap={seeds: 3}", "--set", f"evidence.correlate={CORRELATE}"]
    asked += ["--set", "training.dataset.num_classes=10"]
    outcome = lossforge("compare", compared / "small.yaml", *asked, "--out", tmp_path / "new", "--dry-run")
    assert "  search of edl: about " in outcome.out
    assert "  gap: 2 losses besides, 3 final trainings each: 6 trainings" in outcome.out
    assert "  correlation: 4 losses besides, 1 to tune and 1 final trainings each: 8 trainings" in outcome.out
    assert "without the searches and judgements of the correlation" in outcome.out
    told = lossforge("compare", compared / "small.yaml", *asked, "--out", tmp_path / "new", "--dry-run", "--json")
    assert [each["num_trainings"] for each in json.loads(told.out)["further"]] == [6, 8]


def test_damaged_results_are_told_by_a_dry_run(compared, lossforge, tmp_path):
    (tmp_path / "compare.yaml").write_text(FILE)
    (tmp_path / "evidence.json").write_text("{")
    outcome = lossforge("compare", compared / "small.yaml", "--out", tmp_path, "--dry-run")
    assert outcome.code == 2, outcome.err
    assert "evidence.json: damaged" in outcome.err


def test_a_file_is_validated_as_what_it_is(compared, lossforge):
    outcome = lossforge("validate", compared / "small.yaml")
    assert outcome.out == f"{compared / 'small.yaml'}: valid (comparison of gce, cross_entropy)\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--loss", "gze"], "unknown type 'gze' (did you mean 'gce'?)"),
        (["--loss", "gce", "--condition", "noize-40"], "no condition is called 'noize-40'"),
        (["--loss", "no/such/path"], "no such path"),
        ([], "nothing to compare"),
        (["--loss", "gce", "--set", "training.num_validation=0"], "set training.num_validation"),
        (
            ["--loss", "gce", "--set", "evidence.correlate={zoo: {found: [no/such]}}"],
            "'no/such' is no path that exists",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(lossforge, tmp_path, arguments, told):
    outcome = lossforge("compare", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2, outcome.err
    assert told in outcome.err
    assert not (tmp_path / "out" / "trainings").exists()


def test_a_run_gathers_its_evidence_so_and_goes_on_where_its_correlation_was_interrupted(
    lossforge, tmp_path, monkeypatch
):
    from lossforge.cli.display import Display
    from tests.cli.conftest import SEARCH

    spec = tmp_path / "run.yaml"
    training = FILE[FILE.index("training:") :].replace("num_classes: 4", "num_classes: 10")
    spec.write_text(SEARCH + training.replace("conditions: [clean, noise-40]", "conditions: [noise-40]"))
    plan = lossforge("run", spec, "--dry-run", "--json")
    assert json.loads(plan.out)["trainings"] == 6 * 4
    asked_for = lossforge("run", spec, "--dry-run", "--set", f"evidence.correlate={CORRELATE}")
    assert "correlation: 4 losses besides, 1 to tune and 1 final trainings each: 8 trainings" in asked_for.out
    asked = [
        "--set",
        "evidence.explain=true",
        "--set",
        "evidence.gap={batches: 2, seeds: 1, samples: 50, bootstrap: 20}",
        "--set",
        f"evidence.correlate={CORRELATE}",
    ]
    trained = Display.trained

    def stop_at_brier(self, arm):
        trained(self, arm)
        if arm.loss.startswith("brier"):  # which the correlation alone trains with
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Display, "trained", stop_at_brier)
        stopped = lossforge("run", spec, "--out", tmp_path / "run", *asked)
    assert stopped.code == 130
    assert "besides: correlation of 4 losses and 1 objective" in stopped.err
    assert stopped.err.splitlines()[-1] == f"interrupted; go on with: lossforge resume {tmp_path / 'run'}"
    outcome = lossforge("resume", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "besides: correlation of 4 losses and 1 objective" in outcome.err
    again = [line for line in outcome.err.splitlines() if "trained " in line and "(read back)" not in line]
    assert [line for line in again if "cross_entropy lr" in line or "random tiny" in line] == []
    assert any("gce lr" in line for line in again)
    assert "Condition noise-40" in outcome.out
    assert "tiny reaches accuracy" in outcome.out
    assert "What the search buys: tiny minus random members of its family" in outcome.out
    roles = json.loads((tmp_path / "run" / "evidence.json").read_text())["conditions"][0]["roles"]
    assert roles["tiny"] == "found"
    assert (tmp_path / "run" / "tables" / "pairs.csv").read_text().startswith("condition,metric,loss,against")
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.index("What the found loss is like") < report.index("Synthetic predictions and real ones")
    assert report.count("data:image/svg+xml;base64,") == 2
    assert (tmp_path / "run" / "explanations" / "tiny" / "explanation.json").is_file()
    assert (tmp_path / "run" / "gaps" / "tiny" / "gap.json").is_file()
    assert report.index("Synthetic predictions and real ones") < report.index("Objectives and real accuracy")
    assert "What the search buys: tiny minus random members of its family" in report
    correlated = json.loads((tmp_path / "run" / "correlation" / "correlate.json").read_text())
    assert correlated["spec"]["training"]["label_noise"]["rate"] == 0.4  # as under the first condition
    assert len(correlated["losses"]) == 4
    resumed = lossforge("resume", tmp_path / "run", "--json")
    (condition,) = json.loads(resumed.out)["evidence"]["conditions"]
    assert {"tiny", "random tiny"} <= set(condition["judgement"]["verdicts"])
    assert resumed.err.count("(read back)") == resumed.err.count("trained ")
