"""``resume``: an interrupted run goes on, and nothing else is taken for one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lossforge.cli.display import Display


def files(run: Path, *names: str) -> dict[str, bytes]:
    """Contents of what one spec and one seed decide."""
    found = {
        str(path.relative_to(run)): path.read_bytes()
        for name in names or ("spec.yaml", "history.jsonl", "artifact", "training")
        for path in [run / name, *(run / name).rglob("*")]
        if path.is_file()
    }
    assert found
    return found


@pytest.fixture
def interrupt(monkeypatch):
    """``interrupt("generation", 3)``: Ctrl-C as the third generation is told."""

    def arrange(event: str, number: int) -> None:
        told = 0
        tell = getattr(Display, event)

        def stop(self, *args):
            nonlocal told
            tell(self, *args)
            told += 1
            if told == number:
                raise KeyboardInterrupt

        monkeypatch.setattr(Display, event, stop)

    return arrange


@pytest.mark.parametrize(
    ("event", "number"),
    [("began", 1), ("generation", 1), ("generation", 2), ("generation", 4), ("found", 1), ("epoch", 2), ("trained", 6)],
)
def test_after_ctrl_c_anywhere_the_printed_command_ends_in_the_same_bytes(
    lossforge, finished, training_spec, interrupt, monkeypatch, event, number
):
    with monkeypatch.context():
        interrupt(event, number)
        stopped = lossforge("run", training_spec, "--out", "a run", "--set", "description=a run for tests")
    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.err.splitlines()[-1] == "interrupted; go on with: lossforge resume 'a run'"
    monkeypatch.undo()
    resumed = lossforge("resume", finished.path.parent / "nowhere") if False else lossforge("resume", "a run")
    assert resumed.code == 0
    assert files(Path("a run")) == files(finished.path)
    assert resumed.out.partition("Next:")[0] == finished.outcome.out.partition("Next:")[0]
    read_back = [line for line in resumed.err.splitlines() if "(read back)" in line]
    assert len(read_back) == {"epoch": 1, "trained": 6}.get(event, 0)
