"""The changes that mutation makes to an expression; None where one has nothing to change.

Subtree, point, hoist and shrink mutation as in R. Poli, W. B. Langdon and N. F. McPhee, "A Field Guide to Genetic
Programming", 2008, sections 2.4 and 5.2; types are kept, or else the child is rejected by whoever asked for it.
"""

from __future__ import annotations

from lossforge_gp.draws import Draws
from lossforge_gp.grammar import ARITIES, CONSTANT, FIRST_FUNCTION, Grammar
from lossforge_gp.growth import function_codes, half_and_half, terminal
from lossforge_gp.tree import Tree

NEW_DEPTH = 2
"""Greatest depth of a new subexpression, as in EvoMAL's code."""


def subtree(tree: Tree, grammar: Grammar, draws: Draws) -> Tree:
    """Put a random expression, of depth 0 to 2, in place of a node and all below it."""
    start = draws.below(len(tree))
    _, nonnegative = tree.places()[start]
    return tree.replaced(start, half_and_half(grammar, 0, NEW_DEPTH, nonnegative, draws))


def point(tree: Tree, grammar: Grammar, draws: Draws) -> Tree:
    """Put another function of as many arguments in place of one, or a terminal in place of a terminal."""
    start = draws.below(len(tree))
    _, nonnegative = tree.places()[start]
    arity = ARITIES[tree.nodes[start][0]]
    node = (draws.choice(function_codes(grammar, nonnegative, arity)), 0.0) if arity else terminal(draws, nonnegative)
    return Tree((*tree.nodes[:start], node, *tree.nodes[start + 1 :]))


def jitter(tree: Tree, sigma: float, draws: Draws) -> Tree | None:
    """Add sigma times N(0, 1) to every constant; where it must not be negative, its size counts."""
    if not tree.has(CONSTANT):
        return None
    nodes = []
    for (code, constant), (_, nonnegative) in zip(tree.nodes, tree.places(), strict=True):
        if code == CONSTANT:
            constant += sigma * draws.normal()
            constant = abs(constant) if nonnegative else constant
        nodes.append((code, constant))
    return Tree(tuple(nodes))


def hoist(tree: Tree, draws: Draws) -> Tree | None:
    """Put a part of a subexpression in place of the whole of it."""
    start = _function(tree, draws)
    if start is None:
        return None
    _, nonnegative = tree.places()[start]
    whole = tree.subtree(start)
    parts = [part for part in map(whole.subtree, range(1, len(whole))) if part.suits(nonnegative)]
    return tree.replaced(start, draws.choice(parts)) if parts else None


def shrink(tree: Tree, draws: Draws) -> Tree | None:
    """Put a terminal in place of a function and all below it."""
    start = _function(tree, draws)
    if start is None:
        return None
    _, nonnegative = tree.places()[start]
    return tree.replaced(start, Tree((terminal(draws, nonnegative),)))


def _function(tree: Tree, draws: Draws) -> int | None:
    """Return the place of a function, drawn at random; None in a terminal."""
    places = [place for place, (code, _) in enumerate(tree.nodes) if code >= FIRST_FUNCTION]
    return draws.choice(places) if places else None
