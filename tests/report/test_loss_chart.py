"""The loss drawn with characters."""

from __future__ import annotations

import pytest
import torch

from lossforge.artifact import Artifact
from lossforge.parameterizations import Power
from lossforge.report import loss_chart
from lossforge.report.loss_chart import P


def artifact_of(**parameters):
    family = Power()
    return Artifact("mine", family, family.solution(**parameters), 2.0, {"search": {"num_classes": 10}})


def drawn(monkeypatch, artifact):
    """The curves that are drawn."""
    seen = {}

    def plot(**options):
        seen.update(options)
        return ""

    monkeypatch.setattr(loss_chart, "plot_to_string", plot)
    loss_chart.loss_chart(artifact, colors=False)
    return seen["xs"], seen["ys"]


def test_curves_are_the_losses_less_their_values_at_the_right_end(monkeypatch):
    (_, (reference, found)) = drawn(monkeypatch, artifact_of(q=0.7))
    p = torch.tensor(P, dtype=torch.float64)
    assert reference == pytest.approx((p[-1] / p).log().tolist(), abs=1e-5)
    gce = (1 - p**0.7) / 0.7
    assert found == pytest.approx((2 * (gce - gce[-1])).tolist(), abs=1e-4)


def test_it_fits_its_width_and_has_a_legend():
    lines = loss_chart.loss_chart(artifact_of(q=0.7), colors=False).plain.splitlines()
    assert max(map(len, lines)) <= loss_chart.FULL_WIDTH
    assert lines[0].strip() == "Loss by p of the true class"
    assert "cross_entropy" in lines[-1]
    assert "mine" in lines[-1]
    assert any("x" in line and "+" in line for line in lines[1:-1])


def test_colors_are_optional():
    assert loss_chart.loss_chart(artifact_of(q=0.7), colors=False).spans == []
    assert loss_chart.loss_chart(artifact_of(q=0.7), colors=True).spans != []
