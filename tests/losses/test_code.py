"""The code of losses as exported mixtures carry it: it stands alone, and computes what the loss does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossforge.parameterizations.loss_code import class_code, entry, imports_of
from lossforge.parameterizations.loss_mixture import LossMixture

CONTAINERS = {"apl"}
"""Losses that hold others, which a mixture can list itself."""


def test_code_stands_alone(installed):
    if installed.type in CONTAINERS:
        with pytest.raises(ValueError, match="is not a plain value, so its code cannot stand alone"):
            class_code(installed, "Part")
        return
    code = class_code(installed, "Part")
    names = {"torch": torch, "Tensor": Tensor, "nn": nn, "F": F, "__name__": "exported"}
    exec("\n".join(["from __future__ import annotations", *imports_of(code), code]), names)
    generator = torch.Generator().manual_seed(0)
    log_probs_BC = (3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)).log_softmax(1)
    labels_B = torch.randint(4, (9,), generator=generator)
    log_prob_B = log_probs_BC.gather(1, labels_B[:, None]).squeeze(1)
    method = entry(installed)
    arguments = (log_prob_B,) if method == "of_log_prob" else (log_probs_BC, labels_B)
    found_B = getattr(names["Part"](), method)(*arguments)
    torch.testing.assert_close(found_B, installed.per_sample(log_probs_BC, labels_B), rtol=1e-14, atol=1e-14)


def test_mixtures_take_losses_that_are_not_local():
    family = LossMixture.model_validate_json('{"losses": ["nce", "nfl", "rce", "brier", "hinge", "sparse_lsr"]}')
    assert family.num_parameters == 6
    with pytest.raises(ValueError, match="'apl': option 'active' is not a plain value"):
        LossMixture.model_validate_json('{"losses": ["apl", "mae"]}')
