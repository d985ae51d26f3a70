"""``report`` and ``export``: from the files of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lossforge import load_loss

IN_ISOLATION = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lossforge":
            raise ImportError("lossforge is not to be imported")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import torch
from loss import Loss

logits = torch.tensor(json.loads(sys.argv[2]), requires_grad=True)
value = Loss()(logits, torch.tensor([0, 2, 1]))
value.backward()
print(json.dumps([value.item(), logits.grad.tolist()]))
"""


def copy_of(run: Path) -> Path:
    return Path(shutil.copytree(run, "copy"))


class TestReport:
    def test_it_writes_the_same_bytes_again_and_prints_where(self, lossforge, finished):
        run = copy_of(finished.path)
        before = (run / "report.html").read_bytes()
        (run / "report.html").unlink()
        outcome = lossforge("report", run)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == "copy/report.html\n"
        assert (run / "report.html").read_bytes() == before

    def test_a_folder_that_is_no_run(self, lossforge, folder):
        outcome = lossforge("report", folder)
        assert outcome.code == 2
        assert "spec.yaml: missing; not a run directory" in outcome.err

    def test_a_run_that_has_not_finished(self, lossforge, finished):
        run = copy_of(finished.path)
        shutil.rmtree(run / "artifact")
        outcome = lossforge("report", run)
        assert outcome.code == 2
        assert "lossforge resume" in outcome.err


class TestExport:
    def test_the_file_works_where_there_is_no_lossforge(self, lossforge, folder, finished):
        outcome = lossforge("export", finished.path)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == "loss.py: from loss import Loss; criterion = Loss()\n"
        logits = [[1.5, -0.5, 0.25], [0.0, 2.0, -1.0], [0.1, 0.2, 0.3]]
        done = subprocess.run(
            [sys.executable, "-I", "-c", IN_ISOLATION, str(folder), str(logits)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        value, gradient = json.loads(done.stdout)
        leaf = torch.tensor(logits, requires_grad=True)
        expected = load_loss(finished.path)(leaf, torch.tensor([0, 2, 1]))
        expected.backward()
        torch.testing.assert_close(torch.tensor(value), expected.detach())
        torch.testing.assert_close(torch.tensor(gradient), leaf.grad)

    @pytest.mark.parametrize("source", [".", "artifact"])
    def test_it_is_the_artifacts_own_file(self, lossforge, folder, finished, source):
        assert lossforge("export", finished.path / source, "--out", "mine.py").code == 0
        assert (folder / "mine.py").read_bytes() == (finished.path / "artifact" / "loss.py").read_bytes()

    def test_it_never_overwrites(self, lossforge, folder, finished):
        (folder / "loss.py").write_text("precious")
        outcome = lossforge("export", finished.path)
        assert outcome.code == 2
        assert "loss.py: exists already; choose another name, or remove it" in outcome.err
        assert (folder / "loss.py").read_text() == "precious"

    def test_a_folder_that_holds_no_loss(self, lossforge, folder):
        outcome = lossforge("export", folder)
        assert outcome.code == 2
        assert "no loss.json here" in outcome.err
        assert list(folder.iterdir()) == []

    def test_a_place_that_cannot_be_written(self, lossforge, finished):
        outcome = lossforge("export", finished.path, "--out", "nowhere/loss.py")
        assert outcome.code == 2
        assert "nowhere/loss.py: cannot be written: No such file" in outcome.err

    def test_a_loss_that_cannot_be_written_as_code_leaves_no_file(self, lossforge, folder, finished, monkeypatch):
        def fail(self):
            raise RuntimeError("no source")

        monkeypatch.setattr("lossforge.artifact.Artifact.source", fail)
        with pytest.raises(RuntimeError):
            lossforge("export", finished.path)
        assert list(folder.iterdir()) == []
