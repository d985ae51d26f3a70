"""How a loss is found, and called."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lossforge import losses
from lossforge.errors import ArtifactError, PluginLoadError, SpecError, UnknownComponentError
from lossforge.evidence.explanation.subject import subject

LOGITS = torch.tensor([[1.0, 0.5, -1.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


class Mean(nn.Module):
    """Without a reduction to be set."""

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels)


class Single(nn.Module):
    def forward(self, logits, labels):
        return F.cross_entropy(logits.float(), labels, reduction="none")


@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        "{type: focal, gamma: 0.0}",
        {"type": "poly1", "epsilon": 0.0},
        losses.get("cross_entropy", reduction="sum"),
        nn.CrossEntropyLoss(),
        Mean(),
    ],
)
def test_all_ways_to_name_a_loss_give_a_value_a_row(loss):
    found = subject(loss)
    expected = F.cross_entropy(LOGITS, LABELS, reduction="none")
    assert torch.allclose(found.losses(LOGITS, LABELS), expected)
    assert torch.allclose(found.every_class(LOGITS), -torch.log_softmax(LOGITS, 1))
    one_hot = F.one_hot(LABELS, 3)
    assert torch.allclose(found.gradients(LOGITS, LABELS), torch.softmax(LOGITS, 1) - one_hot)
    assert found.dtype == torch.float64
    assert found.class_count is None


def test_the_given_module_is_left_alone():
    given = nn.CrossEntropyLoss(label_smoothing=0.1)
    subject(given)
    assert given.reduction == "mean"


def test_a_loss_that_computes_in_float32_is_taken_so():
    assert subject(Single()).dtype == torch.float32


def test_weights_of_classes_make_a_loss_one_of_so_many_classes():
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))
    found = subject(weighted)
    assert (found.num_classes, found.class_count) == (4, 4)
    with pytest.raises(SpecError, match="made for 4 classes, not for 10"):
        subject(weighted, 10)


class Four(nn.Module):
    def forward(self, logits, labels):
        return F.cross_entropy(logits * torch.ones(4), labels, reduction="none")


def test_a_module_that_takes_one_number_of_classes_alone():
    assert subject(Four(), 4).class_count == 4
    with pytest.raises(PluginLoadError, match="loss Four fails on"):
        subject(Four())


class Drawing(nn.Module):
    def forward(self, logits, labels):
        return F.cross_entropy(logits + torch.randn(()), labels, reduction="none") * torch.rand(())


class Constant(nn.Module):
    def forward(self, logits, labels):
        return torch.zeros(len(labels))


class NotANumber(nn.Module):
    def forward(self, logits, labels):
        return torch.nan * logits.gather(1, labels[:, None]).squeeze(1)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("gec", SpecError, "did you mean 'gce'"),
        ("{type: gce, q: 2.0}", SpecError, "q: "),
        ("no/such/path", UnknownComponentError, "no such path"),
        (Path("nowhere"), ArtifactError, "nowhere"),
        (3, SpecError, "got 3|got int|a loss is a name"),
        (Drawing(), PluginLoadError, "two values"),
        (Constant(), PluginLoadError, "no gradient in its logits"),
        (NotANumber(), PluginLoadError, "is not finite"),
    ],
)
def test_what_is_no_loss_is_told(loss, error, message):
    with pytest.raises(error, match=message):
        subject(loss)


@pytest.mark.parametrize("num_classes", [1, 201])
def test_a_number_of_classes_that_is_not_possible(num_classes):
    with pytest.raises(SpecError, match="must be from 2 to 200"):
        subject("gce", num_classes)
