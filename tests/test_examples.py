"""The examples: those in YAML are valid, those in Python run."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lossforge
from lossforge import presets
from lossforge.evidence import plan_ablation
from lossforge.spec import AblationSpec, CompareSpec, GateSpec, RunSpec
from lossforge.spec.correlate import CorrelateSpec

EXAMPLES = Path(__file__).parents[1] / "examples"
SPECS = sorted(EXAMPLES.glob("*.yaml"))
SEARCHES = sorted((EXAMPLES / "searches").glob("*.yaml"))
CORRELATIONS = sorted((EXAMPLES / "correlations").glob("*.yaml"))
COMPARISONS = sorted((EXAMPLES / "comparisons").glob("*.yaml"))
STUDIES = sorted((EXAMPLES / "studies").glob("*.yaml"))
SMALLER = {
    "generations": 2,
    "batch_size": 32,
    "selection_batch_size": 64,
    "gates": GateSpec(weight_band=None, signs=None),
}


def test_there_are_examples():
    assert {path.stem for path in SPECS} >= {"quickstart", "cifar10"}
    assert {path.stem for path in SEARCHES} == {"rungs", "trade-offs", "tuned-proxies"}
    assert {path.stem for path in COMPARISONS} >= {"clean"}
    assert {path.stem for path in CORRELATIONS} == {"correlate"}
    assert {path.stem for path in STUDIES} >= {"mutation-ablation"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_is_valid_and_named_like_its_file(path):
    spec = RunSpec.from_yaml(path)
    assert spec.name == path.stem
    assert spec.training is not None
    assert "cross_entropy" in [baseline.type for baseline in spec.evidence.baselines]
    assert f"lossforge run examples/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_search_is_valid_and_named_like_its_file(path):
    spec = RunSpec.from_yaml(path)
    assert spec.name == path.stem
    assert f"lossforge run examples/searches/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_a_comparison_is_valid_and_named_like_its_file(path):
    spec = CompareSpec.from_yaml(path)
    assert spec.name == path.stem
    assert f"lossforge compare examples/comparisons/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", CORRELATIONS, ids=lambda path: path.stem)
def test_a_correlation_is_valid_and_named_like_its_file(path):
    spec = CorrelateSpec.from_yaml(path)
    assert spec.name == path.stem
    assert f"lossforge correlate examples/correlations/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_can_be_run_and_is_named_like_its_file(path):
    spec = AblationSpec.from_yaml(path)
    assert spec.name == path.stem
    assert f"lossforge ablate examples/studies/{path.name}" in path.read_text()
    assert len(plan_ablation(spec, path.parent)) == len(spec.settings) * len(spec.variants)


@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_has_its_controls(preset):
    """At equal budget: Gaussian mutation and random search."""
    spec = AblationSpec.from_yaml(EXAMPLES / "studies" / f"controls-{preset}.yaml")
    assert spec.base == preset
    assert spec.reference_variant == "preset"
    arms = plan_ablation(spec, EXAMPLES)
    budgets = {arm.specs[0].search.generations * arm.specs[0].search.strategy.num_solutions for arm in arms}
    assert len(budgets) == 1
    mutation, strategy = (arms[index].specs[0].search for index in (1, 2))
    assert mutation.mutation.type == "gaussian"
    assert strategy.strategy.type == "random_search"
    assert strategy.gates.patience >= strategy.generations, "else it may end early, for nothing passes the gates"


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


def test_ask_tell_runs_and_says_what_it_did(tmp_path):
    """In a process of its own: it starts another one, which imports it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = str(EXAMPLES / "ask_tell.py")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    evaluations, ranking = done.stdout.splitlines()
    assert evaluations == "1940 evaluations in 40 generations, stopped by generations"  # 20 of 49 and 20 of 48
    assert float(ranking.removeprefix("held-out ranking accuracy ")) > 0.99


def test_a_training_in_python_runs(monkeypatch, capsys):
    """As it stands, but shorter."""
    real = lossforge.train
    monkeypatch.setattr(lossforge, "train", lambda *losses, **options: real(*losses, **{**options, "epochs": 1}))
    runpy.run_path(str(EXAMPLES / "train.py"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["cross_entropy", "gce"]


RUN_ALL_CELLS = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
print(notebook.cells[-1].outputs[0].data["text/plain"])
"""


def test_the_notebook_runs(tmp_path):
    """An operator that is defined in a cell, in ten lines; in a kernel, as a notebook's server would run it."""
    path = EXAMPLES / "notebook.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells[:2] for line in cell["source"] if line.strip()]
    assert len(lines) == 10
    assert all(cell["outputs"] == [] for cell in cells)
    command = [sys.executable, "-c", RUN_ALL_CELLS, str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tensor([[")
