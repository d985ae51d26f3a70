"""Predictions for checks of families of losses, their derivatives, and the code of a solution as a class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lossforge.interfaces import LossParameterization
from lossforge.testing.randomness import seeded

PREAMBLE = (
    "from __future__ import annotations\n"
    "import torch\nfrom torch import Tensor, nn\nfrom torch.nn import functional as F\n"
)
"""What stands around the code of ``source`` in an exported loss."""


def num_classes_of(family: LossParameterization) -> int:
    """Return a number of classes that the family works for."""
    return family.class_count or 5


def draw(
    family: LossParameterization,
    num: int = 3,
    num_pairs: int = 4,
    leading: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    num_classes: int | None = None,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return solutions, log-probabilities and labels; solutions are the first draws of the seed."""
    generator = seeded(seed)
    num_classes = num_classes or num_classes_of(family)
    solutions_PD = family.init(num, generator)
    logits = 2 * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    log_probs_PBC = torch.log_softmax(logits, dim=-1)
    return solutions_PD.to(device, dtype), log_probs_PBC.to(device, dtype), labels_B.to(device)


def edge_logits(num_classes: int) -> Tensor:
    """Return logits (62, C) with p_0 from 1e-30 to 1, at which log p is 0; rivals uniform, or one dominant."""
    p = torch.logspace(-30, 0, 31, dtype=torch.float64)
    p[-4:] = torch.tensor([0.5, 0.999, 1 - 1e-7, 1.0])
    gap = torch.where(p < 1, p.log() - torch.log1p(-p), 200.0)
    rivals = torch.zeros(2, num_classes - 1, dtype=torch.float64)
    rivals[1, 0] = 30.0
    own = gap + torch.logsumexp(rivals, dim=1, keepdim=True)
    return torch.cat((own[..., None], rivals[:, None].expand(-1, 31, -1)), dim=2).flatten(0, 1).float()


def value_and_gradients(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values of ``loss(log_probs)``, and their derivatives in log-probabilities and in logits."""
    leaf = logits.detach().clone().requires_grad_()
    log_probs = torch.log_softmax(leaf, dim=-1)
    value = loss(log_probs)
    of_log_probs, of_logits = torch.autograd.grad(value.sum(), (log_probs, leaf))
    return value.detach(), of_log_probs, of_logits


def network_of(code: str) -> type[nn.Module]:
    """Return the class ``Network`` of a family's code."""
    namespace: dict[str, type[nn.Module]] = {}
    exec(compile(PREAMBLE + code, "source", "exec"), namespace)
    assert "Network" in namespace, "source() must define class Network(nn.Module)"
    return namespace["Network"]
