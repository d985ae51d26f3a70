import json
import math

import pytest

from lossforge.errors import RunDirectoryError
from lossforge.report import write_report
from lossforge.report.reading import read_run

FILES = ("spec.yaml", "manifest.json", "history.jsonl", "artifact/loss.json")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(run_directory, name):
    (run_directory / name).unlink()
    with pytest.raises(RunDirectoryError, match=rf"{name}: missing.*lossforge resume"):
        write_report(run_directory)
    assert not (run_directory / "report.html").exists()


@pytest.mark.parametrize("name", [*FILES, "training/comparison.json"])
@pytest.mark.parametrize("content", [b"{broken: [", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_file_is_named(trained_run, name, content):
    (trained_run / name).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=rf"{name}.*cannot be read"):
        write_report(trained_run)


def test_a_damaged_line_of_the_history_is_named(run_directory):
    history = run_directory / "history.jsonl"
    lines = history.read_text().splitlines()
    lines[1] = lines[1][:-10]
    history.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunDirectoryError, match=r"history\.jsonl:2: cannot be read"):
        write_report(run_directory)


def test_an_empty_history_is_no_finished_run(run_directory):
    (run_directory / "history.jsonl").write_text("")
    with pytest.raises(RunDirectoryError, match="holds no generation"):
        write_report(run_directory)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reference": "focal"}, "'focal' is not among the losses"),
        ({"losses": []}, "losses: "),
        ({"confidence": "high"}, "confidence: "),
    ],
)
def test_a_comparison_that_does_not_hold_together_is_refused(trained_run, change, problem):
    path = trained_run / "training" / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunDirectoryError, match=f"comparison.json: cannot be read: .*{problem}"):
        write_report(trained_run)


def test_two_losses_of_one_name_are_refused(trained_run):
    path = trained_run / "training" / "comparison.json"
    path.write_text(path.read_text().replace('"mae"', '"tiny"'))
    with pytest.raises(RunDirectoryError, match="a loss stands here twice"):
        write_report(trained_run)


def test_a_weight_profile_of_unequal_lengths_is_refused(run_directory):
    path = run_directory / "artifact" / "loss.json"
    content = json.loads(path.read_text())
    content["weight_profile"]["p"].append(0.5)
    path.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=r"loss\.json.*differ in length"):
        write_report(run_directory)


def test_the_comparison_is_completed_from_the_run(trained_run):
    comparison = read_run(trained_run).comparison
    assert comparison is not None
    assert (comparison.found, comparison.dataset, comparison.model) == ("tiny", "digits", "resnet8")


def test_what_the_comparison_tells_itself_counts(trained_run):
    path = trained_run / "training" / "comparison.json"
    told = {"found": "mae", "dataset": "cifar10", "model": "resnet20"}
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    comparison = read_run(trained_run).comparison
    assert comparison is not None
    assert {key: getattr(comparison, key) for key in told} == told


def test_unknown_keys_are_passed_over_and_numbers_that_are_not_finite_are_missing(run_directory):
    history = run_directory / "history.jsonl"
    line = json.loads(history.read_text().splitlines()[0]) | {"new": 1, "best_fitness": math.nan}
    history.write_text(json.dumps(line) + "\n")
    (record,) = read_run(run_directory).history
    assert record.best_fitness is None
