"""A found loss as one Python file that needs torch alone."""

from __future__ import annotations

import inspect

from torch import Tensor

from lossforge.interfaces import LossParameterization
from lossforge.losses import LossModule, per_class_by_rows

_HEADER = '''"""The loss {name!r}, found by lossforge {version}: a drop-in for torch.nn.CrossEntropyLoss.

    from loss import Loss

    criterion = Loss()  # options: weight, ignore_index, reduction, label_smoothing
    criterion(logits, target).backward()

This file needs torch and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
'''

_LOSS = '''
class Loss(LossModule):
    """{name}: {summary}"""

    # Mean gradient norm of cross-entropy over that of the network, on a fixed synthetic batch.
    SCALE = {scale!r}

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
        )
        self.network = Network()

    def per_sample(self, logits_NC: Tensor, target_N: Tensor) -> Tensor:
        """Return loss_N."""
{check}        return self.network(torch.log_softmax(logits_NC, dim=-1), target_N) * self.SCALE

    def per_class(self, logits_NC: Tensor) -> Tensor:
        """Return loss_NC, the value for every class as the target."""
        return per_class_by_rows(self.per_sample, logits_NC)
'''

_CHECK = """        if logits_NC.shape[1] != {count}:
            raise ValueError(
                f"this loss is for {count} classes, the logits have {{logits_NC.shape[1]}}; "
                "search anew with search.num_classes set to theirs"
            )
"""


def standalone_source(
    name: str, version: str, parameterization: LossParameterization, solution_D: Tensor, scale: float
) -> str:
    """Return the file's text: the module contract, the network of this solution, and ``class Loss`` of both."""
    # Both promise to need nothing but torch.
    contract = f"{inspect.getsource(LossModule).rstrip()}\n\n\n{inspect.getsource(per_class_by_rows).rstrip()}"
    count = parameterization.class_count
    description = (type(parameterization).__doc__ or "").strip() or "a learned loss."
    # Into a docstring: a plugin's own may hold what would end it or escape.
    summary = description.splitlines()[0].replace("\\", "\\\\").replace('"', "'")
    loss = _LOSS.format(
        name=name,
        summary=summary,
        scale=scale,
        check="" if count is None else _CHECK.format(count=count),
    )
    network = parameterization.source(solution_D).rstrip()
    return f"{_HEADER.format(name=name, version=version)}\n\n{contract}\n\n\n{network}\n\n{loss}"
