"""Random expressions: full, grown, and the two ramped half and half.

J. R. Koza, "Genetic Programming", MIT Press, 1992, section 6.2; with types, Montana 1995.
"""

from __future__ import annotations

from lossforge_gp.draws import Draws
from lossforge_gp.grammar import ARITIES, CONSTANT, Grammar, P, Y, asked_of_arguments, is_allowed
from lossforge_gp.tree import Node, Tree

TERMINALS = (P, Y, CONSTANT)


def terminal(draws: Draws, nonnegative: bool) -> Node:
    """Return p, y or a constant, all equally likely; a constant is 1 or, where it may be, -1."""
    code = draws.choice(TERMINALS)
    if code != CONSTANT:
        return code, 0.0
    return code, 1.0 if nonnegative else draws.choice((1.0, -1.0))


def function_codes(grammar: Grammar, nonnegative: bool, arity: int | None = None) -> list[int]:
    """Return the functions that may stand in a place, all or those of an arity."""
    codes = [code for code in grammar.function_codes if is_allowed(code, 0.0, nonnegative)]
    return [code for code in codes if arity in (None, ARITIES[code])]


def grown(grammar: Grammar, depth: int, full: bool, nonnegative: bool, draws: Draws) -> Tree:
    """Return a random expression of at most ``depth``.

    Args:
        grammar: what it is made of.
        depth: all its branches are so deep if ``full``, as far as types let them; else each node below the root is a
            terminal as often as the share of terminals in all that may stand there.
        full: see there.
        nonnegative: whether it must not be negative.
        draws: source of all randomness.
    """
    nodes: list[Node] = []
    open_places = [(0, nonnegative)]
    while open_places:
        level, asked = open_places.pop()
        codes = function_codes(grammar, asked) if level < depth else []
        stops = not (full or level == 0) and draws.below(len(codes) + len(TERMINALS)) >= len(codes)
        node = terminal(draws, asked) if stops or not codes else (draws.choice(codes), 0.0)
        nodes.append(node)
        open_places.extend((level + 1, each) for each in reversed(asked_of_arguments(node[0], asked)))
    return Tree(tuple(nodes))


def half_and_half(grammar: Grammar, shallow: int, deep: int, nonnegative: bool, draws: Draws) -> Tree:
    """Return an expression that is full or grown, as likely, of a depth from ``shallow`` to ``deep``."""
    depth = shallow + draws.below(deep - shallow + 1)
    return grown(grammar, depth, draws.below(2) == 0, nonnegative, draws)
