"""Steps as measured, against the moments of the distributions they come from."""

from __future__ import annotations

import pytest

from lossforge.evidence.step_variance import measure_steps
from lossforge.spec import SearchSpec


def spec(mutation, strategy="mu_comma_lambda") -> SearchSpec:
    return SearchSpec(
        parameterization={"type": "pairwise_mlp", "hidden": [4]},
        sampler="mixture",
        objective="ranking_consistency",
        strategy=strategy,
        mutation=mutation,
    )


@pytest.mark.parametrize(
    "mutation",
    ["gaussian", "uniform", "iid_arcsine", "polynomial", "chaotic", {"type": "chaotic", "form": "gaussianised"}],
    ids=str,
)
def test_standardised_operators_have_mean_0_and_sd_1(mutation):
    steps = measure_steps(spec(mutation))
    assert steps.mean == pytest.approx(0, abs=0.01)
    assert steps.sd == pytest.approx(1, abs=0.01)


def test_an_operator_without_a_variance_is_seen():
    assert measure_steps(spec("cauchy")).sd > 10


def test_there_are_none_without_an_operator():
    assert measure_steps(spec(None, "random_search")) is None
