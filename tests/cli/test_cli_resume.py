"""``resume``: an interrupted run goes on, and nothing else is taken for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lossforge.cli.display import Display


def files(run: Path) -> dict[str, bytes]:
    """Return what spec and seed decide."""
    parts = ("spec.yaml", "history.jsonl", "artifact", "training")
    paths = [path for part in parts for path in [run / part, *(run / part).rglob("*")] if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], AbstractContextManager[None]]:
    """``with interrupt("generation", 3)``: Ctrl-C as the third generation is told."""

    @contextmanager
    def arranged(event: str, number: int):
        told, tell = 0, getattr(Display, event)

        def stop(self, *args):
            nonlocal told
            tell(self, *args)
            told += 1
            if told == number:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Display, event, stop)
            yield

    return arranged


@pytest.mark.parametrize(
    ("event", "number", "num_read_back"),
    [
        ("began", 1, 0),
        ("generation", 1, 0),
        ("generation", 2, 0),
        ("generation", 3, 0),
        ("generation", 4, 0),
        ("found", 1, 0),
        ("epoch", 2, 1),
        ("trained", 6, 6),
    ],
)
def test_after_ctrl_c_the_command_printed_leads_to_the_same_bytes(
    lossforge, finished, training_spec, interrupt, event, number, num_read_back
):
    with interrupt(event, number):
        stopped = lossforge("run", training_spec, "--out", "a run", "--set", "description=a run for tests")
    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.err.splitlines()[-1] == "interrupted; go on with: lossforge resume 'a run'"
    resumed = lossforge("resume", "a run")
    assert resumed.code == 0
    assert files(Path("a run")) == files(finished.path)
    tables, _, _ = resumed.out.partition("Next:")
    assert tables == finished.outcome.out.partition("Next:")[0]
    assert sum(line.endswith("(read back)") or "(read back);" in line for line in resumed.err.splitlines()) == (
        num_read_back
    )


def test_a_search_begun_is_not_searched_again(lossforge, search_spec, interrupt):
    with interrupt("generation", 3):
        lossforge("run", search_spec, "--out", "run")
    resumed = lossforge("resume", "run")
    searched = [line.split()[1] for line in resumed.err.splitlines() if line.startswith("search ")]
    assert searched == ["4/4"]


def test_it_may_be_interrupted_as_well(lossforge, finished, training_spec, interrupt):
    with interrupt("generation", 2):
        lossforge("run", training_spec, "--out", "run", "--set", "description=a run for tests")
    for event, number in (("generation", 1), ("trained", 2)):
        with interrupt(event, number):
            assert lossforge("resume", "run").code == 130
    assert lossforge("resume", "run").code == 0
    assert files(Path("run")) == files(finished.path)


def test_a_finished_run_comes_to_the_same_again(lossforge, finished):
    run = Path(shutil.copytree(finished.path, "copy"))
    resumed = lossforge("resume", run)
    assert resumed.code == 0
    assert files(run) == files(finished.path)
    assert (run / "report.html").read_bytes() == (finished.path / "report.html").read_bytes()
    assert resumed.err.count("(read back)") == 6
    assert " left" not in resumed.err


@pytest.mark.parametrize("name", ["empty", "missing", "file"])
def test_what_is_no_run_is_refused(lossforge, folder, name):
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    outcome = lossforge("resume", name)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {name}: not a run directory: no spec.yaml in it; start one with 'lossforge run'\n"


def test_a_spec_that_was_damaged_is_told_like_any_other(lossforge, finished):
    run = Path(shutil.copytree(finished.path, "copy"))
    spec = (run / "spec.yaml").read_text()
    (run / "spec.yaml").write_text(spec.replace("generations: 4", "generations: four"))
    outcome = lossforge("resume", run)
    assert outcome.code == 2
    assert "copy/spec.yaml:" in outcome.err
    assert "search.generations" in outcome.err


def test_a_history_shorter_than_the_checkpoint_says(lossforge, finished):
    run = Path(shutil.copytree(finished.path, "copy"))
    history = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(history[:-10])
    outcome = lossforge("resume", run)
    assert (outcome.code, outcome.out) == (1, "")
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error")]
    assert f"copy/history.jsonl: {len(history) - 10} bytes, but the checkpoint was saved after {len(history)}" in line
    assert "restore it, or start the run anew" in line


def test_trainings_of_another_spec_are_not_mixed_in(lossforge, finished):
    run = Path(shutil.copytree(finished.path, "copy"))
    for spec in (run / "spec.yaml", run / "checkpoint" / "spec.yaml"):
        spec.write_text(spec.read_text().replace("learning_rate: 0.1", "learning_rate: 0.2"))
    outcome = lossforge("resume", run)
    assert outcome.code == 2
    assert "was written for another training spec" in outcome.err


def test_another_spec_is_told_and_nothing_is_done(lossforge, finished):
    run = Path(shutil.copytree(finished.path, "copy"))
    spec = run / "spec.yaml"
    spec.write_text(spec.read_text().replace("learning_rate: 0.1", "learning_rate: 0.2"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    outcome = lossforge("resume", run)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines() == [
        "error: copy: the spec is not the one that the run began with:",
        "error:   training.learning_rate: 0.1 -> 0.2",
        "error: nothing was done; undo that, or start another run: lossforge run copy/spec.yaml --out copy-changed",
    ]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
