"""Steps as measured, against the moments of the distributions they come from."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from lossforge.evidence.step_variance import measure_steps
from lossforge.fields import AnyMutation
from lossforge.interfaces import MutationOperator

MUTATION: TypeAdapter[MutationOperator] = TypeAdapter(AnyMutation)


@pytest.mark.parametrize(
    "mutation",
    ["gaussian", "uniform", "iid_arcsine", "polynomial", "chaotic", {"type": "chaotic", "form": "gaussianised"}],
    ids=str,
)
def test_standardised_operators_have_mean_0_and_sd_1(mutation):
    steps = measure_steps(MUTATION.validate_python(mutation), 48)
    assert steps.mean == pytest.approx(0, abs=0.01)
    assert steps.sd == pytest.approx(1, abs=0.01)


def test_an_operator_without_a_variance_is_seen():
    assert measure_steps(MUTATION.validate_python("cauchy"), 48).sd > 10
