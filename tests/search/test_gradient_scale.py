"""Scale normalisation against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lossforge.gradients import gradient_scale
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.types import PredictionBatch


@pytest.fixture
def batch() -> PredictionBatch:
    return MixtureSampler().sample(200, 6, torch.Generator().manual_seed(0))


def test_a_multiple_of_cross_entropy_is_divided_by_it(closed_form_population, batch):
    factors = [0.01, 1.0, 3.0, 500.0]
    scale_P = gradient_scale(closed_form_population("cross_entropy", factors, num_classes=6), batch)
    assert scale_P.tolist() == pytest.approx([1 / factor for factor in factors], rel=1e-5)


def test_the_sign_is_not_turned(closed_form_population, batch):
    scale_P = gradient_scale(closed_form_population("cross_entropy", [-2.0], num_classes=6), batch)
    assert scale_P.tolist() == pytest.approx([0.5], rel=1e-5)


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_gce(closed_form_population, batch, q):
    """dGCE/dz = p_y^q (p - onehot(y)): the ratio of mean norms, in double precision."""
    p = batch.log_probs_BC.double().exp().numpy()
    norm = np.linalg.norm(p - np.eye(6)[batch.labels_B.numpy()], axis=1)
    own = p[np.arange(200), batch.labels_B.numpy()]
    scale_P = gradient_scale(closed_form_population("gce", [q], num_classes=6), batch)
    assert scale_P.tolist() == pytest.approx([norm.mean() / (own**q * norm).mean()], rel=1e-5)


def test_networks_one_candidate_and_pair_at_a_time(batch):
    family = PairwiseMLP()
    solutions_PD = family.init(3, torch.Generator().manual_seed(1))
    found = gradient_scale(ParameterPopulation(family, solutions_PD, 6), batch)
    logits = batch.log_probs_BC.double()
    one_hot = torch.nn.functional.one_hot(batch.labels_B, 6)
    reference = (logits.exp() - one_hot).norm(dim=1).mean().item()
    for solution, scale in zip(solutions_PD.double(), found, strict=True):
        norms = []
        for row, label in zip(logits, batch.labels_B, strict=True):
            leaf = row[None].clone().requires_grad_()
            loss = family.loss(solution[None], torch.log_softmax(leaf, dim=1)[None], label[None])
            norms.append(torch.autograd.grad(loss.squeeze(), leaf)[0].norm().item())
        assert scale.item() == pytest.approx(reference / np.mean(norms), rel=1e-4)


def test_a_scaled_loss_has_the_gradient_norm_of_cross_entropy(batch):
    family = PairwiseMLP()
    population = ParameterPopulation(family, family.init(5, torch.Generator().manual_seed(1)), 6)
    gradient_PBC = population.gradients(batch.log_probs_BC[None], batch.labels_B)
    norm_P = gradient_PBC.norm(dim=2).mean(dim=1) * gradient_scale(population, batch)
    one_hot = torch.nn.functional.one_hot(batch.labels_B, 6)
    expected = (batch.log_probs_BC.exp() - one_hot).norm(dim=1).mean()
    torch.testing.assert_close(norm_P, expected.expand(5), rtol=1e-5, atol=0)
