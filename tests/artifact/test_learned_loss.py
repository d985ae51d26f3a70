"""A found loss as a module: the family's formula, the contract of every loss, and what moves with it."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from lossforge.artifact import Artifact, LearnedLoss
from lossforge.errors import ArtifactError
from lossforge.interfaces import LossParameterization
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import MLPParameterization

FAMILIES = [PairwiseMLP(hidden=(5,)), ClasswiseMLP(hidden=(4, 3), activation="silu")]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.type)
SCALE = 0.625


class ThreeClasses(LossParameterization):
    """Cross-entropy that is told to work for three classes."""

    type: Literal["three_classes"] = "three_classes"

    @property
    def num_parameters(self) -> int:
        return 1

    @property
    def class_count(self) -> int | None:
        return 3

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.ones(num, 1)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        own = log_probs_PBC.gather(2, labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)).squeeze(2)
        return -solutions_PD * own

    def source(self, solution_D: Tensor) -> str:
        return (
            "class Network(nn.Module):\n"
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
            f"        return -{solution_D.item()!r} * log_probs.gather(1, target[:, None]).squeeze(1)\n"
        )


def make_artifact(family: MLPParameterization, seed: int = 0) -> Artifact:
    solution_D = family.init(1, torch.Generator().manual_seed(seed))[0]
    return Artifact("toy", family, solution_D, SCALE)


def draw(num: int = 6, num_classes: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.randint(num_classes, (num,), generator=generator)


def per_class(artifact: Artifact, logits: Tensor) -> Tensor:
    """scale f(z, k) for every class k, row by row, in double precision."""
    solution_PD = artifact.solution_D.double()[None]
    rows = []
    for row in torch.log_softmax(logits.double(), dim=1):
        classes = [
            artifact.parameterization.loss(solution_PD, row[None, None], torch.tensor([k]))[0, 0]
            for k in range(len(row))
        ]
        rows.append(torch.stack(classes))
    return SCALE * torch.stack(rows)


@every_family
class TestContract:
    def test_class_indices(self, family):
        artifact, (logits, target) = make_artifact(family), draw()
        expected = per_class(artifact, logits).gather(1, target[:, None]).squeeze(1)
        loss = artifact.loss(reduction="none")(logits, target)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(artifact.loss()(logits, target), expected.mean(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(artifact.loss(reduction="sum")(logits, target), expected.sum(), rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("label", [-1, 99])
    def test_a_label_that_is_no_class_is_refused(self, family, label):
        (logits, target), loss = draw(), make_artifact(family).loss()
        target[1] = label
        with pytest.raises((RuntimeError, IndexError)):
            loss(logits, target)

    def test_every_option_follows_from_one_rule(self, family):
        """l(z, q) = sum_k weight_k q_k l(z, k), divided by the weights of the labels that are not ignored."""
        artifact, (logits, target) = make_artifact(family), draw()
        weight = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
        target[2] = 7
        kept = target != 7
        q = 0.8 * nn.functional.one_hot(target[kept], 4) + 0.2 / 4
        expected = (weight * q * per_class(artifact, logits[kept])).sum() / weight[target[kept]].sum()
        loss = artifact.loss(weight, ignore_index=7, label_smoothing=0.2)(logits, target)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)

    def test_class_probabilities(self, family):
        artifact, (logits, _) = make_artifact(family), draw()
        q = torch.softmax(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double(), dim=1)
        expected = (q * per_class(artifact, logits)).sum(dim=1).mean()
        torch.testing.assert_close(artifact.loss()(logits, q), expected, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("num_classes", [2, 10, 100])
    def test_any_number_of_classes(self, family, num_classes):
        artifact, (logits, target) = make_artifact(family), draw(num_classes=num_classes)
        expected = per_class(artifact, logits).gather(1, target[:, None]).mean()
        torch.testing.assert_close(artifact.loss()(logits, target), expected, rtol=1e-6, atol=1e-9)

    def test_images(self, family):
        """(N, C, H, W) logits, as for segmentation."""
        artifact = make_artifact(family)
        logits, target = draw(num=2 * 3 * 5)
        whole = artifact.loss(reduction="none")(logits.reshape(2, 3, 5, 4).movedim(-1, 1), target.reshape(2, 3, 5))
        rows = artifact.loss(reduction="none")(logits, target)
        torch.testing.assert_close(whole.flatten(), rows, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("reduction", ["mean", "none"])
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_gradcheck_after_moving_to_double(self, family, reduction, label_smoothing):
        artifact, (logits, target) = make_artifact(family), draw(num=3, num_classes=3)
        loss = artifact.loss(reduction=reduction, label_smoothing=label_smoothing).to(torch.float64)
        assert loss.solution.dtype == loss.scale.dtype == torch.float64
        assert torch.autograd.gradcheck(lambda z: loss(z, target), logits.requires_grad_())

    def test_half_precision_and_autocast_are_computed_in_float32(self, family):
        artifact, (logits, target) = make_artifact(family), draw(dtype=torch.bfloat16)
        expected = artifact.loss()(logits.float(), target)
        assert torch.equal(artifact.loss()(logits, target), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(artifact.loss()(logits, target), expected)

    def test_it_trains(self, family):
        """Gradient descent on logits makes the loss smaller, and its solution is not among the parameters."""
        artifact, (logits, target) = make_artifact(family), draw(dtype=torch.float32)
        loss = artifact.loss()
        assert list(loss.parameters()) == []
        logits.requires_grad_()
        before = loss(logits, target)
        before.backward()
        assert loss(logits - 0.01 * logits.grad, target) < before


@every_family
class TestState:
    def test_solution_and_scale_are_in_the_state_dict(self, family):
        artifact = make_artifact(family)
        state = artifact.loss().state_dict()
        assert set(state) == {"solution", "scale"}
        assert torch.equal(state["solution"], artifact.solution_D)
        assert state["scale"].item() == SCALE
        assert set(artifact.loss(torch.ones(4)).state_dict()) == {"solution", "scale", "weight"}

    def test_a_state_dict_carries_the_loss_over(self, family):
        (logits, target), source = draw(), make_artifact(family).loss()
        other = make_artifact(family, seed=9).loss()
        assert other(logits, target) != source(logits, target)
        other.load_state_dict(source.state_dict())
        assert torch.equal(other(logits, target), source(logits, target))

    def test_the_module_has_a_copy_of_its_own(self, family):
        artifact = make_artifact(family)
        before = artifact.solution_D.clone()
        artifact.loss().solution.zero_()
        assert torch.equal(artifact.solution_D, before)

    def test_it_moves_with_to(self, family):
        moved = make_artifact(family).loss(torch.ones(4)).to("meta")
        assert {buffer.device.type for buffer in moved.buffers()} == {"meta"}

    def test_its_repr_says_what_it_is(self, family):
        text = repr(make_artifact(family).loss(reduction="sum"))
        assert text.startswith(f"LearnedLoss({family.type}, num_parameters={family.num_parameters}, scale=0.625")
        assert "reduction='sum'" in text


class TestClassCount:
    def artifact(self) -> Artifact:
        return Artifact("three", ThreeClasses(), torch.ones(1), 1.0)

    def test_the_right_number_works(self):
        logits, target = draw(num_classes=3)
        torch.testing.assert_close(self.artifact().loss()(logits, target), nn.functional.cross_entropy(logits, target))

    @pytest.mark.parametrize("num_classes", [2, 4])
    def test_another_is_refused(self, num_classes):
        logits, target = draw(num_classes=num_classes)
        with pytest.raises(ValueError, match=f"this loss is for 3 classes, the logits have {num_classes}"):
            self.artifact().loss()(logits, target.clamp(max=1))

    def test_the_standalone_code_refuses_it_too(self):
        namespace: dict = {}
        exec(compile(self.artifact().source(), "loss.py", "exec"), namespace)
        logits, target = draw(num_classes=3)
        expected = nn.functional.cross_entropy(logits, target)
        torch.testing.assert_close(namespace["Loss"]()(logits, target), expected)
        with pytest.raises(ValueError, match="this loss is for 3 classes, the logits have 4"):
            namespace["Loss"]()(*draw(num_classes=4))


@pytest.mark.parametrize("name", ["", "a b", 'a"""b', "../up", "-x", "naïve", None])
def test_names_that_could_break_the_generated_code_are_refused(name):
    with pytest.raises(ArtifactError, match="only letters, digits"):
        Artifact(name, PairwiseMLP(), torch.zeros(48), 1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan"), None, "1"])
def test_scales_that_are_no_factor_are_refused(scale):
    with pytest.raises(ArtifactError, match="must be a positive number"):
        Artifact("x", PairwiseMLP(), torch.zeros(48), scale)


def test_its_identity_changes_with_what_it_computes():
    family = PairwiseMLP(hidden=(5,))
    artifact = make_artifact(family)
    others = [
        Artifact("toy", family, artifact.solution_D, 0.75),
        Artifact("toy", family, artifact.solution_D + 1e-3, SCALE),
        Artifact("toy", PairwiseMLP(hidden=(5,), activation="silu"), artifact.solution_D, SCALE),
    ]
    renamed = Artifact("other-name", family, artifact.solution_D.clone(), SCALE, {"seed": 1})
    assert renamed.identity() == artifact.identity()
    assert len({each.identity() for each in (artifact, *others)}) == 4


def test_a_loss_can_be_made_without_an_artifact():
    family = PairwiseMLP(hidden=(5,))
    solution_D = family.init(1, torch.Generator().manual_seed(0))[0]
    loss = LearnedLoss(family, solution_D, SCALE)
    logits, target = draw()
    assert torch.equal(loss(logits, target), make_artifact(family).loss()(logits, target))
