"""Typed subtree crossover.

Koza 1992, section 6.4, with the types of Montana 1995.
"""

from __future__ import annotations

from lossforge_gp.draws import Draws
from lossforge_gp.grammar import Grammar
from lossforge_gp.tree import Tree


def crossed(first: Tree, second: Tree, grammar: Grammar, draws: Draws) -> Tree | None:
    """Return the first expression with one of the second's in place of one of its own, or None where none fits.

    The place is any node, all equally likely, and so is what comes there, of those that types and ``max_nodes`` let in.
    """
    places = first.places()
    start = draws.below(len(first))
    _, nonnegative = places[start]
    room = grammar.max_nodes - (len(first) - len(first.subtree(start)))
    candidates = [second.subtree(place) for place in range(len(second))]
    fitting = [each for each in candidates if len(each) <= room and each.suits(nonnegative)]
    return first.replaced(start, draws.choice(fitting)) if fitting else None
