"""The examples: those in YAML are valid, the one in Python runs."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import Any

import pytest

import lossforge
from lossforge.spec import RunSpec
from lossforge.spec.model import GateSpec

EXAMPLES = Path(__file__).parents[1] / "examples"
SPECS = sorted(EXAMPLES.glob("*.yaml"))
SMALLER = {
    "generations": 2,
    "batch_size": 32,
    "selection_batch_size": 64,
    "gates": GateSpec(weight_band=None, signs=None),
}


def test_there_are_examples():
    assert {path.stem for path in SPECS} >= {"quickstart", "cifar10"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_is_valid_and_named_like_its_file(path):
    spec = RunSpec.from_yaml(path)
    assert spec.name == path.stem
    assert spec.training is not None
    assert "cross_entropy" in [baseline.type for baseline in spec.evidence.baselines]
    assert f"lossforge run examples/{path.name}" in path.read_text()


def test_the_other_dataset_that_the_cifar10_example_names():
    override = "training.dataset={type: image_folder, root: /path/to/root}"
    path = EXAMPLES / "cifar10.yaml"
    assert override in path.read_text()
    assert RunSpec.from_yaml(path, [override]).training.dataset.type == "image_folder"


class TestCompose:
    PATH = EXAMPLES / "compose.py"

    def test_it_runs(self, monkeypatch, capsys):
        """As it stands, but smaller."""
        real = lossforge.SearchSpec
        made: list[Any] = []

        def smaller(**options: Any) -> Any:
            made.append(real(**{**options, **SMALLER}))
            return made[0]

        monkeypatch.setattr(lossforge, "SearchSpec", smaller, raising=False)
        runpy.run_path(str(self.PATH), run_name="__main__")
        out = capsys.readouterr().out
        assert "LearnedLoss(pairwise_mlp" in out
        assert "held-out ranking accuracy" in out
        assert type(made[0].mutation).__name__ == "Laplace"

    def test_it_needs_no_yaml_and_few_lines(self):
        tree = ast.parse(self.PATH.read_text())
        (main,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        composed = ast.unparse(main.body[0]).count("=") + 1  # one line an option, and the call
        assert composed <= 10
        assert "yaml" not in self.PATH.read_text().lower().replace("no yaml", "")
