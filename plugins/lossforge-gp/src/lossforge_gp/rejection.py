"""Which expressions are no losses to train with, and which are one loss over again.

EvoMAL asks of an expression that it contain both p and y. Here it is asked for what that is for: labels must matter to
the gradient. The other two checks of AutoLoss-Zero and EvoMAL are the objective ``prediction_descent`` and the gate
``duplicate`` of lossforge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lossforge.errors import SearchError
from lossforge.streams import derive_generator
from lossforge_gp.grammar import Grammar, P, Y
from lossforge_gp.machine import evaluated
from lossforge_gp.tree import Tree, encoded

NUM_ROWS, NUM_CLASSES = 24, 4
ROUNDS, TRIES = 60, 10
"""How often what is rejected for what it computes is drawn, and how often each time for how it is written."""
TOLERANCE, LARGEST = 1e-6, 1e4

T = TypeVar("T")


@functools.cache
def _probe() -> tuple[Tensor, Tensor]:
    """Return fixed float64 log-probabilities (1, 2B, C), B rows twice, and one-hot labels that differ between them."""
    generator = derive_generator(0, "gp.probe")
    logits = 3 * torch.randn(1, NUM_ROWS, NUM_CLASSES, generator=generator, dtype=torch.float64)
    first_B = torch.randint(NUM_CLASSES, (NUM_ROWS,), generator=generator)
    second_B = (first_B + 1 + torch.randint(NUM_CLASSES - 1, (NUM_ROWS,), generator=generator)) % NUM_CLASSES
    return logits.log_softmax(dim=-1).repeat(1, 2, 1), F.one_hot(torch.cat((first_B, second_B)), NUM_CLASSES).double()


def probed(trees: Sequence[Tree]) -> Tensor:
    """Return float64 losses (P, 2, B) on fixed predictions, with one label and with another one."""
    solutions_PD = encoded(trees, max(map(len, trees))).double()
    return evaluated(solutions_PD, *_probe()).mean(dim=2).reshape(-1, 2, NUM_ROWS)


def labels_matter(value_P2B: Tensor) -> Tensor:
    """Return True for losses whose gradient depends on the label; it cannot where p or y is missing.

    Two labels of one prediction then differ in loss by more than a constant: by more than 1e-6 of the losses' size over
    fixed predictions.
    """
    gap_PB = value_P2B[:, 0] - value_P2B[:, 1]
    matters_P: Tensor = gap_PB.abs().amax(dim=1) > TOLERANCE * value_P2B.abs().amax(dim=(1, 2))
    return matters_P


def are_tame(value_P2B: Tensor) -> Tensor:
    """Return True for losses that are at most 1e4 in size on ordinary predictions.

    Near the bound of 1e7, float32 has no digits left for what changes, and half precision no numbers.
    """
    tame_P: Tensor = value_P2B.abs().amax(dim=(1, 2)) <= LARGEST
    return tame_P


def shapes(value_P2B: Tensor) -> Tensor:
    """Return (P, 2B) numbers that losses share which are each other times a positive number, plus a number."""
    value_PB = value_P2B.flatten(1)
    value_PB = value_PB - value_PB.mean(dim=1, keepdim=True)
    scaled_PB: Tensor = value_PB / torch.linalg.vector_norm(value_PB, dim=1, keepdim=True).clamp_min(1e-30)
    return scaled_PB


def repeats(shapes_PB: Tensor, earlier_EB: Tensor) -> Tensor:
    """Return True for shapes that are among the earlier ones, or stand before in their own tensor."""
    all_AB = torch.cat((earlier_EB, shapes_PB))
    alike_AA = (all_AB[:, None] - all_AB).abs().amax(dim=2) < TOLERANCE
    return alike_AA.tril(diagonal=-1).any(dim=1)[len(earlier_EB) :]


def is_acceptable(tree: Tree, grammar: Grammar) -> bool:
    """Return whether an expression is of a grammar in size, depth and types, and has p and y.

    Functions are not looked at.
    """
    return len(tree) <= grammar.max_nodes and tree.depth <= grammar.max_depth and tree.suits(False) and tree.has(P, Y)


def drawn_until_accepted(
    draw: Callable[[T], Tree | None],
    sources: Sequence[T],
    grammar: Grammar,
    instead: Callable[[T], Tree] | None = None,
    differ: bool = False,
) -> list[Tree]:
    """Return one acceptable expression a source, each drawn again until it is, at most 600 times.

    Args:
        draw: returns an expression made of a source, or None where that came to nothing.
        sources: what expressions are made of.
        grammar: what they have to be of.
        instead: what takes the place of one that is still rejected at the end.
        differ: whether an expression is rejected also for being an earlier one over again, up to scale and a constant;
            in half of the rounds alone, since a small grammar may not have enough.

    Raises:
        SearchError: one is still rejected, and there is nothing instead.
    """
    found: list[Tree | None] = [None] * len(sources)
    shapes_EB = torch.empty(0, 2 * NUM_ROWS, dtype=torch.float64)
    for number in range(ROUNDS):
        missing = [index for index, tree in enumerate(found) if tree is None]
        drawn = [(index, tree) for index in missing if (tree := _acceptable(draw, sources[index], grammar))]
        if drawn:
            value_P2B = probed([tree for _, tree in drawn])
            accepted_P, shapes_PB = labels_matter(value_P2B) & are_tame(value_P2B), shapes(value_P2B)
            if differ and number < ROUNDS // 2:
                accepted_P &= ~repeats(shapes_PB, shapes_EB)
                shapes_EB = torch.cat((shapes_EB, shapes_PB[accepted_P]))
            for (index, tree), accepted in zip(drawn, accepted_P.tolist(), strict=True):
                found[index] = tree if accepted else None
        if None not in found:
            break
    return [tree or _instead(instead, source, grammar) for tree, source in zip(found, sources, strict=True)]


def _acceptable(draw: Callable[[T], Tree | None], source: T, grammar: Grammar) -> Tree | None:
    """Return what is drawn, the first of up to 10 that is acceptable as it is written."""
    for _ in range(TRIES):
        tree = draw(source)
        if tree is not None and is_acceptable(tree, grammar):
            return tree
    return None


def _instead(instead: Callable[[T], Tree] | None, source: T, grammar: Grammar) -> Tree:
    if instead is None:
        raise SearchError(
            f"{ROUNDS} draws gave no tame loss whose gradient depends on the label, from the grammar {grammar}; "
            "allow more functions, max_nodes or max_depth"
        )
    return instead(source)
