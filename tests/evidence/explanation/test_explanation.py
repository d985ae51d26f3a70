"""The whole of an explanation."""

import json
import math

import pytest
import torch
from torch import nn

import lossforge
from lossforge.artifact import Artifact
from lossforge.evidence.explanation import Explanation
from lossforge.interfaces import LossParameterization
from lossforge.registry import get


@pytest.fixture(scope="module")
def cross_entropy() -> Explanation:
    return lossforge.explain("cross_entropy", num_classes=3)


def test_cross_entropy_is_its_own_yardstick(cross_entropy):
    assert (cross_entropy.name, cross_entropy.num_classes, cross_entropy.precision) == ("cross_entropy", 3, "float64")
    assert (str(cross_entropy.weight_formula), str(cross_entropy.loss_formula)) == ("1", "-log p")
    assert cross_entropy.consistency.is_calibrated
    assert cross_entropy.bounds.is_convex
    assert cross_entropy.field.scale == pytest.approx(1.0)


def test_it_is_json_and_the_same_again(cross_entropy):
    content = cross_entropy.to_json()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == lossforge.explain("cross_entropy", num_classes=3).to_json()
    assert again["weight_formula"]["text"] == "1"
    assert again["bounds"]["is_convex"] is True
    assert again["profile"]["pushes_away"] is False
    assert {len(each["q"]) for each in again["consistency"]["minimisers"]} == {3}
    assert again["consistency"]["order"] == "strict"
    assert again["neighbours"][0]["loss"]["type"] == "sparse_lsr"


def artifact(family: str, **options: object) -> Artifact:
    parameterization = get("parameterizations", family).model_validate(options)
    assert isinstance(parameterization, LossParameterization)
    solution = parameterization.init(1, torch.Generator().manual_seed(1))[0]
    return Artifact("found", parameterization, solution, 2.0, {"search": {"num_classes": 4}})


def test_a_found_loss_is_looked_at_with_the_classes_of_its_search(tmp_path):
    artifact("polyloss").save(tmp_path)
    found = lossforge.explain(tmp_path)
    assert (found.name, found.num_classes) == ("found", 4)
    assert found.precision == "float64"
    assert found.description.startswith("Artifact 'found': polyloss of")
    assert {len(each.q) for each in found.consistency.minimisers} == {3, 4}


def test_a_family_for_one_number_of_classes_is_looked_at_with_it():
    found = lossforge.explain(artifact("class_correlation", num_classes=4))
    assert found.field.num_classes == 4
    assert {len(each.q) for each in found.consistency.minimisers} == {4}
    assert not found.profile.is_equivariant


class Float32(nn.Module):
    """Computes in float32, as many losses do."""

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


def test_a_loss_in_float32_has_the_same_answers():
    found = lossforge.explain(Float32(), num_classes=3)
    assert found.precision == "float32"
    assert found.profile.weight[0] == pytest.approx([1.0] * len(found.profile.p), rel=1e-2)
    assert found.bounds.slope.value == pytest.approx(math.sqrt(2), rel=1e-3)
    assert found.consistency.worst.distance < 0.01
    assert found.neighbours[0].label == "cross_entropy"
    assert found.neighbours[0].distance < 1e-5
