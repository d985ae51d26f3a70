"""An expression as a sequence of nodes in prefix order, and as the vector that a search moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lossforge_gp.functions import FUNCTIONS
from lossforge_gp.grammar import ARITIES, CONSTANT, FIRST_FUNCTION, NUM_CODES, P, Y, asked_of_arguments, is_allowed

Node = tuple[int, float]
"""A code and a number, which is 0 for all nodes but constants."""


@dataclass(frozen=True)
class Tree:
    """A whole expression: every function is followed by its arguments, one after the other."""

    nodes: tuple[Node, ...]

    def __len__(self) -> int:
        return len(self.nodes)

    def end(self, start: int) -> int:
        """Return the place after the last node of the subexpression at ``start``."""
        missing, place = 1, start
        while missing:
            missing += ARITIES[self.nodes[place][0]] - 1
            place += 1
        return place

    def subtree(self, start: int) -> Self:
        """Return the subexpression at ``start``."""
        return type(self)(self.nodes[start : self.end(start)])

    def replaced(self, start: int, other: Tree) -> Self:
        """Return the expression with another one in place of the subexpression at ``start``."""
        return type(self)(self.nodes[:start] + other.nodes + self.nodes[self.end(start) :])

    def places(self) -> list[tuple[int, bool]]:
        """Return of each node how deep it is, 0 for the root, and whether it is asked not to be negative."""
        found: list[tuple[int, bool]] = []
        open_places = [(0, False)]
        for code, _ in self.nodes:
            depth, nonnegative = open_places.pop()
            found.append((depth, nonnegative))
            arguments = asked_of_arguments(code, nonnegative)
            open_places.extend((depth + 1, asked) for asked in reversed(arguments))
        return found

    @property
    def depth(self) -> int:
        """How many functions there are from the root down to the deepest terminal."""
        return max(depth for depth, _ in self.places())

    def suits(self, nonnegative: bool) -> bool:
        """Return whether its types are right where a number that is not negative is asked for, or any number."""
        open_places = [nonnegative]
        for code, constant in self.nodes:
            asked = open_places.pop()
            if not is_allowed(code, constant, asked):
                return False
            open_places.extend(reversed(asked_of_arguments(code, asked)))
        return True

    def has(self, *codes: int) -> bool:
        """Return whether each code is that of a node."""
        return set(codes) <= {code for code, _ in self.nodes}

    def __str__(self) -> str:
        """Return it in functional notation, such as ``mul(-1, mul(y, log(p)))``."""
        texts: list[str] = []
        for code, constant in reversed(self.nodes):
            arguments = [texts.pop() for _ in range(ARITIES[code])]
            texts.append(name_of(code, constant) + (f"({', '.join(arguments)})" if arguments else ""))
        return texts[0]


def name_of(code: int, constant: float) -> str:
    """Return what a node is called; a constant is its number."""
    if code >= FIRST_FUNCTION:
        return FUNCTIONS[code - FIRST_FUNCTION].name
    return {P: "p", Y: "y"}.get(code, f"{constant:.9g}")


def codes_of(solutions_PD: Tensor) -> Tensor:
    """Return the codes (P, N) that a solution's first half stands for: the nearest ones there are."""
    halves = solutions_PD.detach()[:, : solutions_PD.shape[1] // 2]
    return halves.nan_to_num().round().clamp(0, NUM_CODES - 1).long()


def decoded(solutions_PD: Tensor) -> list[Tree]:
    """Return the expressions that solutions stand for.

    A solution is N codes and N numbers, D = 2 N; a code is the nearest there is. Nodes are read until the expression is
    whole, the rest is ignored, and what is missing at the end is p. So every vector stands for an expression.
    """
    codes = codes_of(solutions_PD).tolist()
    numbers = solutions_PD.detach()[:, solutions_PD.shape[1] // 2 :].tolist()
    return [_read(zip(*each, strict=True)) for each in zip(codes, numbers, strict=True)]


def _read(slots: Iterable[Node]) -> Tree:
    nodes: list[Node] = []
    missing = 1
    for code, number in slots:
        if not missing:
            break
        nodes.append((code, number if code == CONSTANT else 0.0))
        missing += ARITIES[code] - 1
    return Tree((*nodes, *[(P, 0.0)] * missing))


def encoded(trees: Sequence[Tree], max_nodes: int) -> Tensor:
    """Return the float32 (P, D) solutions of expressions of at most N = ``max_nodes`` nodes; what is not used is 0."""
    rows = []
    for tree in trees:
        if len(tree) > max_nodes:
            raise ValueError(f"an expression of {len(tree)} nodes does not fit {max_nodes}: {tree}")
        rest = [0.0] * (max_nodes - len(tree))
        rows.append([*(float(code) for code, _ in tree.nodes), *rest, *(number for _, number in tree.nodes), *rest])
    return torch.tensor(rows, dtype=torch.float32).reshape(len(trees), 2 * max_nodes)
