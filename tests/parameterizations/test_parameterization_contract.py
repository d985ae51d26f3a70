"""What every installed family of losses promises, whatever its formula."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
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

PREAMBLE = (
    "from __future__ import annotations\n"
    "import torch\nfrom torch import Tensor, nn\nfrom torch.nn import functional as F\n"
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


def num_classes_of(family: LossParameterization) -> int:
    return family.class_count or 5


def draw(family, num=3, num_pairs=4, leading=1, seed=0, dtype=torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    num_classes = num_classes_of(family)
    solutions_PD = family.init(num, generator).to(dtype)
    logits = 2 * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return solutions_PD, torch.log_softmax(logits, dim=-1).to(dtype), labels_B


def edge_logits(num_classes: int) -> Tensor:
    """Logits (62, C) with p_0 from 1e-30 to 1, at which log p is 0; rivals uniform, or one dominant."""
    p = torch.logspace(-30, 0, 31, dtype=torch.float64)
    p[-4:] = torch.tensor([0.5, 0.999, 1 - 1e-7, 1.0])
    gap = torch.where(p < 1, p.log() - torch.log1p(-p), 200.0)
    rivals = torch.zeros(2, num_classes - 1, dtype=torch.float64)
    rivals[1, 0] = 30.0
    own = gap + torch.logsumexp(rivals, dim=1, keepdim=True)
    return torch.cat((own[..., None], rivals[:, None].expand(-1, 31, -1)), dim=2).flatten(0, 1).float()


def value_and_gradients(loss, logits: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values of ``loss(log_probs, labels)``, and their derivatives in log-probabilities and in logits."""
    leaf = logits.clone().requires_grad_()
    log_probs = torch.log_softmax(leaf, dim=-1)
    log_probs.retain_grad()
    value = loss(log_probs, labels_B)
    value.sum().backward()
    return value.detach(), log_probs.grad, leaf.grad


@every_family
class TestShapes:
    @pytest.mark.parametrize("leading", [1, 3])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_value_for_every_candidate_and_pair(self, family, leading, dtype):
        loss_PB = family.loss(*draw(family, leading=leading, dtype=dtype))
        assert loss_PB.shape == (3, 4)
        assert loss_PB.dtype == dtype

    def test_shared_and_own_predictions_agree(self, family):
        solutions_PD, log_probs, labels_B = draw(family, num=5)
        shared = family.loss(solutions_PD, log_probs, labels_B)
        own = family.loss(solutions_PD, log_probs.repeat(5, 1, 1), labels_B)
        torch.testing.assert_close(own, shared, rtol=1e-13, atol=1e-13)

    def test_each_candidate_alone_and_all_together_agree(self, family):
        solutions_PD, log_probs, labels_B = draw(family, num=5, leading=5)
        together = family.loss(solutions_PD, log_probs, labels_B)
        alone = [family.loss(solutions_PD[[i]], log_probs[[i]], labels_B)[0] for i in range(5)]
        torch.testing.assert_close(together, torch.stack(alone), rtol=1e-13, atol=1e-13)

    def test_each_pair_alone_and_all_together_agree(self, family):
        solutions_PD, log_probs, labels_B = draw(family)
        together = family.loss(solutions_PD, log_probs, labels_B)
        alone = [family.loss(solutions_PD, log_probs[:, [i]], labels_B[[i]])[:, 0] for i in range(4)]
        torch.testing.assert_close(together, torch.stack(alone, dim=1), rtol=1e-13, atol=1e-13)

    def test_float32_is_as_close_as_float32_can_be(self, family):
        solutions_PD, log_probs, labels_B = draw(family, num=20, num_pairs=50, dtype=torch.float32)
        exact = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
        torch.testing.assert_close(family.loss(solutions_PD, log_probs, labels_B).double(), exact, rtol=2e-5, atol=2e-5)

    def test_the_result_has_the_precision_of_the_predictions(self, family):
        solutions_PD, log_probs, labels_B = draw(family)
        loss_PB = family.loss(solutions_PD.float(), log_probs, labels_B)
        assert loss_PB.dtype == torch.float64
        expected = family.loss(solutions_PD.float().double(), log_probs, labels_B)
        torch.testing.assert_close(loss_PB, expected, rtol=1e-14, atol=1e-14)

    def test_a_solution_of_another_length_is_refused(self, family):
        solutions_PD, log_probs, labels_B = draw(family)
        for wrong in (solutions_PD[:, 1:], torch.cat((solutions_PD, solutions_PD[:, :1]), dim=1)):
            with pytest.raises(ValueError, match=f"a solution has {family.num_parameters} parameters, got"):
                family.loss(wrong, log_probs, labels_B)

    @pytest.mark.parametrize("num_classes", [2, 7, 100])
    def test_classes_are_alike_and_of_any_number_unless_it_says_otherwise(self, family, num_classes):
        if family.class_count is not None:
            assert family.class_count >= 2
            return
        generator = torch.Generator().manual_seed(0)
        solutions_PD = family.init(3, generator).double()
        log_probs = torch.randn(1, 6, num_classes, generator=generator, dtype=torch.float64).log_softmax(dim=-1)
        labels_B = torch.randint(num_classes, (6,), generator=generator)
        renamed = torch.randperm(num_classes, generator=generator)
        permuted = torch.empty_like(log_probs)
        permuted[..., renamed] = log_probs
        torch.testing.assert_close(
            family.loss(solutions_PD, permuted, renamed[labels_B]),
            family.loss(solutions_PD, log_probs, labels_B),
            rtol=1e-11,
            atol=1e-11,
        )


@every_family
class TestNumbers:
    @pytest.mark.parametrize("leading", [1, 2])
    def test_gradcheck(self, family, leading):
        solutions_PD, log_probs, labels_B = draw(family, num=2, num_pairs=2, leading=leading)
        assert torch.autograd.gradcheck(
            lambda solutions, log_probs: family.loss(solutions, log_probs, labels_B),
            (solutions_PD.requires_grad_(), log_probs.requires_grad_()),
        )

    @pytest.mark.parametrize("spread", [1, 3])
    @pytest.mark.parametrize("autocast", [False, True])
    def test_values_and_gradients_are_finite_for_every_confidence(self, family, autocast, spread):
        """Draws of the prior, and three times as far out; float32, and under bfloat16 autocast."""
        logits = edge_logits(num_classes_of(family))[None].expand(20, -1, -1)
        solutions_PD = spread * family.init(20, torch.Generator().manual_seed(0))
        labels_B = torch.zeros(62, dtype=torch.int64)

        def loss(log_probs, labels):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                return family.loss(solutions_PD, log_probs, labels)

        for numbers in value_and_gradients(loss, logits, labels_B):
            assert numbers.dtype == torch.float32
            assert numbers.isfinite().all()

    def test_values_are_finite_for_log_probabilities_as_given(self, family):
        """log p_y exactly 0, and 1e-30 and less above it, as rounding may leave it."""
        solutions_PD = family.init(20, torch.Generator().manual_seed(0))
        log_probs = torch.full((1, 4, num_classes_of(family)), -50.0)
        log_probs[0, :, 0] = torch.tensor([0.0, -1e-30, -1e-45, 1e-8])
        log_probs.requires_grad_()
        loss_PB = family.loss(solutions_PD, log_probs, torch.zeros(4, dtype=torch.int64))
        loss_PB.sum().backward()
        assert loss_PB.isfinite().all()
        assert log_probs.grad.isfinite().all()

    def test_what_is_not_a_number_stays_so_and_alone(self, family):
        solutions_PD, log_probs, labels_B = draw(family, dtype=torch.float32)
        expected = family.loss(solutions_PD, log_probs, labels_B)
        log_probs[0, 1] = math.nan
        found = family.loss(solutions_PD, log_probs, labels_B)
        assert found[:, 1].isnan().all()
        assert torch.equal(found[:, [0, 2, 3]], expected[:, [0, 2, 3]])

    def test_autocast_changes_nothing(self, family):
        solutions_PD, log_probs, labels_B = draw(family, num_pairs=16, dtype=torch.float32)
        expected = family.loss(solutions_PD, log_probs, labels_B)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(family.loss(solutions_PD, log_probs, labels_B), expected)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("autocast", [False, True])
    def test_half_precision_is_computed_in_float32(self, family, dtype, autocast):
        solutions_PD, log_probs, labels_B = draw(family, num_pairs=16, dtype=torch.float32)
        log_probs = log_probs.to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found = family.loss(solutions_PD, log_probs, labels_B)
        assert found.dtype == torch.float32
        assert torch.equal(found, family.loss(solutions_PD, log_probs.float(), labels_B))
        found.sum().backward()
        assert log_probs.grad.dtype == dtype
        assert log_probs.grad.isfinite().all()

    def test_torch_compile_sees_through_it(self, family):
        torch._dynamo.reset()
        solution_D = family.init(1, torch.Generator().manual_seed(0))[0]
        loss = Artifact("compiled", family, solution_D, 1.0).loss()
        compiled = torch.compile(loss, fullgraph=True, backend="eager")
        logits = torch.randn(8, num_classes_of(family), generator=torch.Generator().manual_seed(1))
        labels = torch.arange(8) % num_classes_of(family)
        torch.testing.assert_close(compiled(logits, labels), loss(logits, labels), rtol=1e-6, atol=1e-6)


@every_family
class TestSolutions:
    def test_the_prior_draws_float32_solutions(self, family):
        solutions_PD = family.init(7, torch.Generator().manual_seed(0))
        assert solutions_PD.shape == (7, family.num_parameters)
        assert solutions_PD.dtype == torch.float32
        assert solutions_PD.isfinite().all()
        assert solutions_PD.unique(dim=0).shape[0] == 7

    def test_the_prior_is_the_generators_alone(self, family):
        first = family.init(5, torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        before = torch.get_rng_state()
        assert torch.equal(family.init(5, torch.Generator().manual_seed(1)), first)
        assert torch.equal(torch.get_rng_state(), before)
        assert not torch.equal(family.init(5, torch.Generator().manual_seed(2)), first)

    def test_losses_of_the_prior_differ(self, family):
        if family.num_parameters == 1:
            return  # one loss: nothing to mix
        solutions_PD, log_probs, labels_B = draw(family, num=20, num_pairs=64)
        loss_PB = family.loss(solutions_PD, log_probs, labels_B)
        assert (loss_PB.std(dim=0) > 1e-4).float().mean() > 0.9
        correlation = torch.corrcoef(loss_PB) - torch.eye(20)
        assert correlation.max() < 1 - 1e-9  # no two differ by a factor and a constant alone

    def test_json_round_trip(self, family):
        assert type(family).model_validate_json(family.model_dump_json()) == family

    def test_every_option_is_described(self, family):
        assert all(field.description for name, field in type(family).model_fields.items() if name != "type")

    def test_it_is_installed_under_its_type(self, family):
        assert registry.get("parameterizations", family.type) is type(family)
        assert registry.is_registered(family)


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


@every_family
class TestSource:
    def source(self, family) -> str:
        return family.source(family.init(1, torch.Generator().manual_seed(3))[0])

    def test_its_network_takes_log_probabilities(self, family):
        namespace: dict[str, Any] = {}
        exec(compile(PREAMBLE + self.source(family), "loss.py", "exec"), namespace)
        solutions_PD, log_probs, labels_B = draw(family, num=1, num_pairs=8, seed=3)
        expected = family.loss(solutions_PD, log_probs, labels_B)[0]
        found = namespace["Network"]()(log_probs[0], labels_B)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_it_imports_torch_alone(self, family):
        modules = set()
        for node in ast.walk(ast.parse(make_artifact(family).source())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).partition(".")[0])
        assert modules <= {"__future__", "torch", "math"}

    def test_it_holds_the_very_same_numbers(self, family):
        namespace: dict[str, Any] = {}
        exec(compile(PREAMBLE + self.source(family), "loss.py", "exec"), namespace)
        buffers = torch.cat([buffer.flatten() for buffer in namespace["Network"]().buffers()])
        assert torch.equal(buffers, family.init(1, torch.Generator().manual_seed(3))[0])

    def test_a_solution_of_another_length_is_refused(self, family):
        with pytest.raises(ValueError, match=f"a solution has {family.num_parameters} parameters, got"):
            family.source(torch.zeros(family.num_parameters + 1))


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
    zeros = {name: torch.zeros(1, VARIANTS[name].num_parameters) for name in ("polyloss", "power", "weight_profile")}
    for name, solution_1D in zeros.items():
        _, _, gradient = value_and_gradients(
            lambda log_probs, labels, name=name, solution_1D=solution_1D: VARIANTS[name].loss(
                solution_1D, log_probs[None], labels
            ),
            logits,
            labels,
        )
        expected = logits.softmax(dim=1) - F.one_hot(labels, num_classes)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
