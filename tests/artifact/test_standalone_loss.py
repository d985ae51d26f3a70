"""``loss.py``: run in a process of its own where lossforge cannot be imported, it computes what the module computes."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS

VARIANTS = {
    **{
        f"{family.__name__}-{features}-{'bias' if bias else 'plain'}": family(features=features, bias=bias)
        for family, features, bias in itertools.product(
            (PairwiseMLP, ClasswiseMLP), ("log_prob", "prob"), (True, False)
        )
    },
    **{f"PairwiseMLP-{name}": PairwiseMLP(activation=name, hidden=(6,)) for name in ACTIVATIONS},
    "PairwiseMLP-deep": PairwiseMLP(hidden=(16, 16), activation="silu", log_scale=3.0),
    "ClasswiseMLP-deep": ClasswiseMLP(hidden=(5, 4, 3), activation="softsign", bias=False),
}

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "index": ("index", {}),
    "index-none": ("index", {"reduction": "none"}),
    "index-sum-weight": ("index", {"reduction": "sum", "weight": [0.5, 2.0, 1.0, 0.0, 3.0]}),
    "index-ignore": ("index", {"ignore_index": 2, "weight": [0.5, 2.0, 1.0, 0.25, 3.0]}),
    "index-smoothing": ("index", {"label_smoothing": 0.1}),
    "index-everything": ("index", {"ignore_index": 1, "label_smoothing": 0.3, "weight": [1.0, 2.0, 0.5, 3.0, 1.0]}),
    "soft": ("soft", {}),
    "soft-everything": ("soft", {"label_smoothing": 0.2, "weight": [0.5, 2.0, 1.0, 0.5, 3.0], "reduction": "none"}),
    "image": ("image", {"ignore_index": 0}),
}

SCRIPT = """
import importlib.util, json, sys
sys.modules["lossforge"] = None  # an import of it raises ModuleNotFoundError
import torch

inputs = torch.load("inputs.pt", weights_only=True)
results = {}
for variant in json.load(open("variants.json")):
    spec = importlib.util.spec_from_file_location("loss", f"{variant}/loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for call, (target, options) in json.load(open("calls.json")).items():
        options = {k: torch.tensor(v) if k == "weight" else v for k, v in options.items()}
        for dtype in (torch.float32, torch.float64):
            logits = inputs["image_logits" if target == "image" else "logits"].clone().to(dtype).requires_grad_()
            value = module.Loss(**options)(logits, inputs[target])
            value.sum().backward()
            results[f"{variant}/{call}/{dtype}"] = torch.cat((value.detach().flatten(), logits.grad.flatten()))
assert not [name for name, module in sys.modules.items() if name.startswith("lossforge") and module is not None]
torch.save(results, "results.pt")
"""


def make_artifact(name: str) -> Artifact:
    family = VARIANTS[name]
    return Artifact(name, family, family.init(1, torch.Generator().manual_seed(len(name)))[0], 0.7)


def make_inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(12, 5, generator=generator, dtype=torch.float64)
    index = torch.randint(5, (12,), generator=generator)
    return {
        "logits": logits,
        "index": index,
        "soft": torch.softmax(torch.randn(12, 5, generator=generator, dtype=torch.float64), dim=1),
        "image_logits": logits.reshape(2, 2, 3, 5).movedim(-1, 1).contiguous(),
        "image": index.reshape(2, 2, 3),
    }


@pytest.fixture(scope="module")
def standalone(tmp_path_factory) -> dict[str, Tensor]:
    """Values and gradients of every variant and call, from one isolated process."""
    folder: Path = tmp_path_factory.mktemp("standalone")
    for name in VARIANTS:
        make_artifact(name).save(folder / name)
    torch.save(make_inputs(), folder / "inputs.pt")
    (folder / "variants.json").write_text(json.dumps(list(VARIANTS)))
    (folder / "calls.json").write_text(json.dumps(CALLS))
    (folder / "script.py").write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, "-I", "script.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients_are_those_of_the_module(standalone, variant, call):
    inputs, (target, options) = make_inputs(), CALLS[call]
    options = {name: torch.tensor(value) if name == "weight" else value for name, value in options.items()}
    loss = make_artifact(variant).loss(**options)
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 1e-6)):
        logits = inputs["image_logits" if target == "image" else "logits"].clone().to(dtype).requires_grad_()
        value = loss(logits, inputs[target])
        value.sum().backward()
        expected = torch.cat((value.detach().flatten(), logits.grad.flatten()))
        found = standalone[f"{variant}/{call}/{dtype}"]
        assert found.dtype == dtype
        assert found.abs().max() > 1e-3
        # Relative to the largest value: sums of float32 terms of both signs are no better than that.
        assert (found - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("variant", VARIANTS)
class TestSource:
    def test_it_imports_torch_alone(self, variant):
        tree, modules = ast.parse(make_artifact(variant).source()), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).split(".")[0])
        assert modules == {"__future__", "torch"}

    def test_it_holds_the_very_same_numbers(self, variant):
        """The decimals in the text are the float32 parameters, layer by layer."""
        artifact, namespace = make_artifact(variant), {}
        exec(compile(artifact.source(), "loss.py", "exec"), namespace)
        buffers = torch.cat([buffer.flatten() for buffer in namespace["Network"]().buffers()])
        assert torch.equal(buffers, artifact.solution_D)
        assert artifact.scale == namespace["Loss"].SCALE

    def test_its_buffers_move_with_it(self, variant):
        namespace: dict = {}
        exec(compile(make_artifact(variant).source(), "loss.py", "exec"), namespace)
        assert {buffer.device.type for buffer in namespace["Loss"]().to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("value", [1e-38, 1.1754944e-38, 1e-45, 3.4028235e38, 16777216.0, 0.1, 1 / 3, -0.0])
def test_extreme_parameters_are_written_exactly(value):
    family = PairwiseMLP(hidden=(1,), bias=False)
    solution_D = torch.tensor([value, -value, 1.0])
    namespace: dict = {}
    exec(compile(Artifact("extreme", family, solution_D, 1.0).source(), "loss.py", "exec"), namespace)
    weight = namespace["Network"]().w1
    assert weight.flatten().tolist() == solution_D[:2].tolist()
    assert torch.equal(weight.flatten().signbit(), solution_D[:2].signbit())


class Quoting(PairwiseMLP):
    r'''A "quoted" \d family, {braces} and """more"""'''

    type: Literal["quoting"] = "quoting"


class Undescribed(PairwiseMLP):
    type: Literal["undescribed"] = "undescribed"


@pytest.mark.parametrize("family", [Quoting(), Undescribed()], ids=lambda family: family.type)
def test_any_docstring_of_a_family_gives_code_that_compiles(family):
    source = Artifact("x", family, torch.ones(family.num_parameters), 1.0).source()
    compile(source, "loss.py", "exec")
    assert f'"""x: {"A " if family.type == "quoting" else "a learned loss."}' in source
