"""Every installed family passes its kit; and what is asked of those of lossforge beyond it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lossforge import registry
from lossforge.artifact import Artifact
from lossforge.interfaces import LossParameterization
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, apply_gates
from lossforge.spec import GateSpec
from lossforge.testing import ParameterizationKit
from lossforge.testing.families import (
    draw,
    edge_logits,
    network_of,
    num_classes_of,
    value_and_gradients,
)

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "pairwise_mlp": [{"features": "prob", "hidden": (4, 3)}],
    "classwise_mlp": [{"features": "prob", "hidden": (4, 3), "bias": False}],
    "monotone": [{"hidden": (4, 3), "activation": "softsign"}, {"hidden": (3,), "activation": "sigmoid"}],
    "polyloss": [{"degree": 1}, {"degree": 3, "cross_entropy": False}],
    "loss_mixture": [
        {"losses": ("label_smoothing",)},
        {"losses": ({"type": "gce", "q": 0.3}, "label_smoothing", "cross_entropy")},
    ],
    "tempered": [{"family": {"type": "pairwise_mlp", "hidden": (3,)}}, {"family": "class_correlation"}],
    "class_correlation": [{"num_classes": 3, "squash": True}],
}


def variants() -> dict[str, LossParameterization]:
    """Every installed family with its defaults, and some with other options."""
    found = {}
    for name in registry.types("parameterizations"):
        family = registry.get("parameterizations", name)
        for options in ({}, *OPTIONS.get(name, [])):
            label = name + "".join(f"-{key}={value}" for key, value in options.items())
            found[label] = family.model_validate_json(json.dumps(options))
    return found


VARIANTS = variants()
every_family = pytest.mark.parametrize("family", VARIANTS.values(), ids=VARIANTS)


class TestFamilies(ParameterizationKit):
    @pytest.fixture(params=VARIANTS)
    def component(self, request):
        return VARIANTS[request.param]


@every_family
def test_a_solution_of_another_length_is_refused(family):
    solutions_PD, log_probs, labels_B = draw(family)
    message = f"a solution has {family.num_parameters} parameters, got"
    for wrong in (solutions_PD[:, 1:], torch.cat((solutions_PD, solutions_PD[:, :1]), dim=1)):
        with pytest.raises(ValueError, match=message):
            family.loss(wrong, log_probs, labels_B)
        with pytest.raises(ValueError, match=message):
            family.source(wrong[0])


@every_family
def test_torch_compile_sees_through_it(family):
    torch._dynamo.reset()
    solution_D = family.init(1, torch.Generator().manual_seed(0))[0]
    loss = Artifact("compiled", family, solution_D, 1.0).loss()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    logits = torch.randn(8, num_classes_of(family), generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % num_classes_of(family)
    torch.testing.assert_close(compiled(logits, labels), loss(logits, labels), rtol=1e-6, atol=1e-6)


@every_family
def test_losses_of_the_prior_differ(family):
    if family.num_parameters == 1:
        return  # one loss: nothing to mix
    solutions_PD, log_probs, labels_B = draw(family, num=20, num_pairs=64)
    loss_PB = family.loss(solutions_PD, log_probs, labels_B)
    assert (loss_PB.std(dim=0) > 1e-4).float().mean() > 0.9
    correlation = torch.corrcoef(loss_PB) - torch.eye(20)
    assert correlation.max() < 1 - 1e-9  # no two differ by a factor and a constant alone


@every_family
def test_its_source_holds_the_very_same_numbers(family):
    solution_D = family.init(1, torch.Generator().manual_seed(3))[0]
    buffers = [buffer.flatten() for buffer in network_of(family.source(solution_D))().buffers()]
    assert torch.equal(torch.cat(buffers), solution_D)


SCRIPT = """
import importlib.util, json, sys
sys.modules["lossforge"] = None  # an import of it raises ModuleNotFoundError
import torch

inputs, results = torch.load("inputs.pt", weights_only=True), {}
for variant, (logits, labels) in inputs.items():
    spec = importlib.util.spec_from_file_location("loss", f"{variant}/loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for dtype in (torch.float32, torch.float64):
        leaf = logits.to(dtype).requires_grad_()
        value = module.Loss(reduction="none")(leaf, labels)
        value.sum().backward()
        results[f"{variant}/{dtype}"] = torch.cat((value.detach()[:, None], leaf.grad), dim=1)
torch.save(results, "results.pt")
"""


def make_artifact(family: LossParameterization) -> Artifact:
    return Artifact("found", family, family.init(1, torch.Generator().manual_seed(3))[0], 0.7)


@pytest.fixture(scope="module")
def standalone(tmp_path_factory) -> dict[str, Tensor]:
    """Values and gradients of every variant's ``loss.py``, from one process that cannot import lossforge."""
    folder, inputs = tmp_path_factory.mktemp("standalone"), {}
    for index, family in enumerate(VARIANTS.values()):
        make_artifact(family).save(folder / str(index))
        generator = torch.Generator().manual_seed(index)
        logits = 3 * torch.randn(12, num_classes_of(family), generator=generator, dtype=torch.float64)
        logits = torch.cat((logits, edge_logits(num_classes_of(family)).double()))
        inputs[str(index)] = (logits, torch.cat((torch.arange(12) % logits.shape[1], torch.zeros(62).long())))
    torch.save(inputs, folder / "inputs.pt")
    (folder / "script.py").write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, "-I", "script.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return {"inputs": inputs, **torch.load(folder / "results.pt", weights_only=True)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_exported_loss_is_the_module(standalone, variant, dtype):
    index = str(list(VARIANTS).index(variant))
    logits, labels = standalone["inputs"][index]
    leaf = logits.to(dtype).requires_grad_()
    value = make_artifact(VARIANTS[variant]).loss(reduction="none")(leaf, labels)
    value.sum().backward()
    found, expected = standalone[f"{index}/{dtype}"], torch.cat((value.detach()[:, None], leaf.grad), dim=1)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-7
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["loss_mixture", "monotone", "polyloss", "power", "weight_profile"])
def test_most_of_the_prior_passes_the_default_gates(name):
    """So that a search has something to start from; the networks on rivals find their way from further off."""
    family = VARIANTS[name]
    solutions_PD = family.init(200, torch.Generator().manual_seed(0))
    batch = MixtureSampler().sample(256, 10, torch.Generator().manual_seed(1))
    result = apply_gates(GateSpec(), ParameterPopulation(family, solutions_PD, 10), batch)
    assert result.violations.keys() >= {"finite", "weight_band", "signs", "same_prediction"}
    assert result.feasible_P.float().mean() > 0.5


@pytest.mark.parametrize("num_classes", [2, 9])
def test_cross_entropy_is_among_them(num_classes):
    """Solutions of the local families at which they are cross-entropy, whose gradient is p - onehot(y)."""
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(20, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(num_classes, (20,), generator=generator)
    for name in ("polyloss", "power", "tempered", "weight_profile"):
        family, solution_1D = VARIANTS[name], torch.zeros(1, VARIANTS[name].num_parameters)
        _, _, gradient = value_and_gradients(partial(loss_of, family, solution_1D, labels), logits)
        expected = logits.softmax(dim=1) - F.one_hot(labels, num_classes)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


def loss_of(family: LossParameterization, solutions_PD: Tensor, labels_B: Tensor, log_probs_BC: Tensor) -> Tensor:
    return family.loss(solutions_PD, log_probs_BC[None], labels_B)
