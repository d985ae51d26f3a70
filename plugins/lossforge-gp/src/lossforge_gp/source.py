"""An expression as Python code in need of torch alone, one line a node."""

from __future__ import annotations

import inspect
import math

import numpy as np
from torch import Tensor

from lossforge_gp.functions import FUNCTIONS, Function, bounded
from lossforge_gp.grammar import ARITIES, CODE_OF, CONSTANT, FIRST_FUNCTION, P
from lossforge_gp.tree import Tree, name_of

_NETWORK = '''

class Network(nn.Module):
    """The mean over classes of {summary}."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("solution", torch.tensor([{numbers}], dtype=torch.float32))

    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:
        log_p, solution = log_probs.double(), self.solution.double()
        p, y = log_p.exp(), F.one_hot(target, log_p.shape[1]).double()
{lines}
        return torch.where(log_p.isnan(), torch.nan, {result}).mean(dim=1).to(log_probs.dtype)
'''


def network_code(tree: Tree, solution_D: Tensor) -> str:
    """Return the code of ``class Network``, with the solution as its one buffer.

    Functions are the very text of :mod:`lossforge_gp.functions`; nothing is simplified.
    """
    lines, result, used = _lines(tree, len(solution_D) // 2)
    definitions = [inspect.getsource(bounded), *[inspect.getsource(function.apply) for function in used]]
    numbers = ", ".join(map(_number, solution_D.float().cpu().tolist()))
    body = "\n".join(f"        {line}" for line in lines)
    network = _NETWORK.format(summary=tree, numbers=numbers, lines=body, result=result)
    return "\n\n".join(definition.strip() + "\n" for definition in definitions) + network


def _number(value: float) -> str:
    text = str(np.float32(value))
    return text if math.isfinite(value) else f"float({text!r})"


def _lines(tree: Tree, num_slots: int) -> tuple[list[str], str, list[Function]]:
    """Return an assignment a function, the name of the last, and the functions used, in the order of their codes."""
    lines: list[str] = []
    names: list[str] = []
    used: set[int] = set()
    for slot, (code, constant) in reversed(list(enumerate(tree.nodes))):
        if code < FIRST_FUNCTION:
            names.append(f"solution[{num_slots + slot}]" if code == CONSTANT else name_of(code, constant))
            continue
        arguments = [names.pop() for _ in range(ARITIES[code])]
        if code == CODE_OF["log"] and tree.nodes[slot + 1][0] == P:
            names.append("log_p")
            continue
        used.add(code)
        function = FUNCTIONS[code - FIRST_FUNCTION]
        names.append(f"v{slot}")
        lines.append(f"v{slot} = {function.apply.__name__}({', '.join(arguments)})")
    return lines, names[0], [FUNCTIONS[code - FIRST_FUNCTION] for code in sorted(used)]
