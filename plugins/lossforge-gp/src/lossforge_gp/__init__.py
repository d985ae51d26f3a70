"""Symbolic losses for lossforge: expression trees, evolved by genetic programming.

The names below are imported when they are first used; those of ``symbolic`` alone need sympy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossforge_gp.equivalence import equivalent as equivalent
    from lossforge_gp.family import GPExpression as GPExpression
    from lossforge_gp.generational import GPGenerational as GPGenerational
    from lossforge_gp.grammar import Grammar as Grammar
    from lossforge_gp.mutation import GPMutation as GPMutation
    from lossforge_gp.symbolic import by_label as by_label
    from lossforge_gp.symbolic import expression as expression
    from lossforge_gp.symbolic import latex as latex
    from lossforge_gp.symbolic import simplified as simplified
    from lossforge_gp.tree import Tree as Tree
    from lossforge_gp.tree import decoded as decoded
    from lossforge_gp.tree import encoded as encoded

_HOMES = {
    "GPExpression": "family",
    "GPGenerational": "generational",
    "GPMutation": "mutation",
    "Grammar": "grammar",
    "Tree": "tree",
    "by_label": "symbolic",
    "decoded": "tree",
    "encoded": "tree",
    "equivalent": "equivalence",
    "expression": "symbolic",
    "latex": "symbolic",
    "simplified": "symbolic",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"lossforge_gp.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lossforge_gp' has no attribute {name!r}")
