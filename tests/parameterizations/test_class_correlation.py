"""Class correlations: the matrix product, and a family for one number of classes from search to exported code."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from lossforge.artifact import Artifact, load_artifact, load_loss
from lossforge.losses.label_smoothing import LabelSmoothing
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import ClassCorrelation
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, Search, apply_gates
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import MuCommaLambda


def draw(num_classes=4, num_pairs=9, leading=1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=2), torch.randint(num_classes, (num_pairs,), generator=generator)


class TestFormula:
    @pytest.mark.parametrize("squash", [False, True])
    @pytest.mark.parametrize("leading", [1, 3])
    def test_it_is_y_phi_log_p(self, leading, squash):
        family = ClassCorrelation(num_classes=4, squash=squash, spread=1.0)
        log_probs, labels = draw(leading=leading)
        solutions = family.init(3, torch.Generator().manual_seed(1)).double()
        one_hot = F.one_hot(labels, 4).double()
        similarity = torch.einsum("bi,pij,pbj->pb", one_hot, solutions.reshape(3, 4, 4), log_probs.expand(3, -1, -1))
        expected = -1 / (1 + torch.exp(-similarity)) if squash else -similarity
        torch.testing.assert_close(family.loss(solutions, log_probs, labels), expected, rtol=1e-12, atol=1e-12)

    def test_the_identity_is_cross_entropy(self):
        log_probs, labels = draw()
        found = ClassCorrelation(num_classes=4).loss(torch.eye(4).reshape(1, 16), log_probs, labels)[0]
        torch.testing.assert_close(found, F.nll_loss(log_probs[0], labels, reduction="none"), rtol=1e-14, atol=1e-14)

    def test_squashed_the_identity_has_the_documented_weight(self):
        log_p = torch.logspace(-30, -0.01, 30, dtype=torch.float64).log().requires_grad_()
        log_probs = torch.stack((log_p, torch.full_like(log_p, -1.0)), dim=1)[None]
        labels = torch.zeros(30, dtype=torch.int64)
        loss = ClassCorrelation(num_classes=2, squash=True).loss(torch.eye(2).reshape(1, 4), log_probs, labels)[0]
        loss.sum().backward()
        p = log_p.detach().exp()
        torch.testing.assert_close(loss.detach(), -p / (1 + p), rtol=1e-12, atol=0)
        torch.testing.assert_close(-log_p.grad, p / (1 + p) ** 2, rtol=1e-12, atol=0)

    def test_label_smoothing_is_among_them(self):
        log_probs, labels = draw()
        matrix = 0.8 * torch.eye(4, dtype=torch.float64) + 0.2 / 4
        found = ClassCorrelation(num_classes=4).loss(matrix.reshape(1, 16), log_probs, labels)[0]
        expected = LabelSmoothing(smoothing=0.2).per_sample(log_probs[0], labels)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_the_gradient_is_as_documented(self):
        """R_y p_k - Phi_yk."""
        family = ClassCorrelation(num_classes=4, spread=0.5)
        solution = family.init(1, torch.Generator().manual_seed(0)).double()
        _, labels = draw()
        logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
        family.loss(solution, logits.log_softmax(dim=1)[None], labels).sum().backward()
        rows = solution.reshape(4, 4)[labels]
        expected = rows.sum(dim=1, keepdim=True) * logits.detach().softmax(dim=1) - rows
        torch.testing.assert_close(logits.grad, expected, rtol=1e-12, atol=1e-12)

    def test_the_prior_is_around_the_identity(self):
        num = 4000
        draws = ClassCorrelation(num_classes=3, spread=0.2).init(num, torch.Generator().manual_seed(0))
        assert ((draws.mean(dim=0) - torch.eye(3).flatten()).abs() < 5 * 0.2 / num**0.5).all()
        assert ((draws.std(dim=0) / 0.2 - 1).abs() < 5 * (2 * num) ** -0.5).all()


class TestClassCount:
    def artifact(self, squash: bool = False) -> Artifact:
        family = ClassCorrelation(num_classes=4, squash=squash)
        return Artifact("four", family, family.init(1, torch.Generator().manual_seed(0))[0], 1.0)

    def test_it_is_the_option(self):
        family = ClassCorrelation(num_classes=7)
        assert family.class_count == 7
        assert family.num_parameters == 49
        assert ClassCorrelation().class_count == 10

    @pytest.mark.parametrize("num_classes", [3, 5])
    def test_another_is_refused(self, num_classes):
        log_probs, labels = draw(num_classes=num_classes)
        labels = labels.clamp(max=2)
        with pytest.raises(ValueError, match=f"for 4 classes, got {num_classes}; search with parameter"):
            self.artifact().parameterization.loss(torch.zeros(1, 16), log_probs, labels)
        with pytest.raises(ValueError, match=f"this loss is for 4 classes, the logits have {num_classes}"):
            self.artifact().loss()(log_probs[0], labels)

    @pytest.mark.parametrize("squash", [False, True])
    def test_the_exported_code_refuses_another_too(self, squash):
        namespace: dict = {}
        exec(compile(self.artifact(squash).source(), "loss.py", "exec"), namespace)
        log_probs, labels = draw()
        expected = self.artifact(squash).loss()(log_probs[0], labels)
        torch.testing.assert_close(namespace["Loss"]()(log_probs[0], labels), expected)
        with pytest.raises(ValueError, match="this loss is for 4 classes, the logits have 5"):
            namespace["Loss"]()(*(each.squeeze(0) for each in draw(num_classes=5)))

    def test_a_search_over_another_number_is_refused(self):
        with pytest.raises(ValidationError, match="'class_correlation' works for 4 classes only"):
            make_spec(num_classes=5)


def make_spec(num_classes: int = 4) -> SearchSpec:
    """Two generations, with the default gates."""
    return SearchSpec(
        parameterization=ClassCorrelation(num_classes=4),
        sampler=MixtureSampler(),
        objective=RankingConsistency(),
        strategy=MuCommaLambda(population_size=12, num_parents=3),
        mutation=GaussianMutation(),
        generations=2,
        num_classes=num_classes,
        batch_size=24,
        selection_batch_size=48,
    )


class TestSearch:
    def test_the_default_gates_pass_the_prior(self):
        family, source = ClassCorrelation(num_classes=4), torch.Generator().manual_seed(0)
        population = ParameterPopulation(family, family.init(20, source), 4)
        result = apply_gates(GateSpec(), population, MixtureSampler().sample(500, 4, source))
        assert result.violations.keys() == {"finite"}
        assert result.feasible_P.all()

    def test_gates_for_families_that_treat_classes_alike_are_skipped_and_the_artifact_says_so(self, tmp_path):
        history: list[dict] = []
        artifact = Search(make_spec(), seed=0).run(lambda record: history.append(dict(record)))
        artifact.save(tmp_path)
        content = json.loads((tmp_path / "loss.json").read_text())
        assert len(history) == 2
        assert content["class_count"] == 4
        assert content["gates_skipped"] == ["weight_band", "signs", "same_prediction"]
        assert load_artifact(tmp_path).parameterization == ClassCorrelation(num_classes=4)
        with pytest.raises(ValueError, match="this loss is for 4 classes, the logits have 3"):
            load_loss(tmp_path)(torch.zeros(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("options", [{"num_classes": 1}, {"num_classes": 2.5}, {"spread": 0.0}, {"squash": 1}], ids=str)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        ClassCorrelation(**options)
