"""Expressions as sympy has them: simplified, printed, and in LaTeX.

Protections are kept where an argument could reach them; the bound of 1e7 on every value is left out, so that what is
printed is what is evaluated wherever no intermediate value is beyond it.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy  # type: ignore[import-untyped]
from torch import Tensor

from lossforge_gp.functions import EPSILON
from lossforge_gp.grammar import ARITIES, CODE_OF, CONSTANT, P, Y
from lossforge_gp.tree import Tree, decoded

p = sympy.Symbol("p", positive=True)
"""The probability of a class, at most 1."""
y = sympy.Symbol("y", nonnegative=True)
"""1 for the label, 0 for the others."""


def _away_from_zero(x: sympy.Expr) -> sympy.Expr:
    return sympy.Max(sympy.Abs(x), sympy.Float(EPSILON))


_FORMS: dict[str, Callable[..., sympy.Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / sympy.sqrt(1 + b**2),
    "min": sympy.Min,
    "max": sympy.Max,
    "neg": lambda a: -a,
    "sign": sympy.sign,
    "abs": sympy.Abs,
    "square": lambda a: a**2,
    "sqrt": lambda a: sympy.sqrt(_away_from_zero(a)),
    "log": lambda a: sympy.log(a if a == p else _away_from_zero(a)),
    "exp": sympy.exp,
    "inv": lambda a: 1 / _away_from_zero(a),
    "tanh": sympy.tanh,
}
_FORM_OF = {CODE_OF[name]: form for name, form in _FORMS.items()}


def expression(solution: Tensor | Tree) -> sympy.Expr:
    """Return a solution's f(p, y) as a sympy expression in :data:`p` and :data:`y`, term by term."""
    tree = solution if isinstance(solution, Tree) else decoded(solution[None])[0]
    terms: list[sympy.Expr] = []
    for code, constant in reversed(tree.nodes):
        if code in (P, Y):
            terms.append(p if code == P else y)
        elif code == CONSTANT:
            terms.append(_number(constant))
        else:
            terms.append(_FORM_OF[code](*[terms.pop() for _ in range(ARITIES[code])]))
    return terms[0]


def _number(constant: float) -> sympy.Expr:
    return sympy.Integer(int(constant)) if constant == int(constant) else sympy.Float(f"{constant:.9g}")


def by_label(solution: Tensor | Tree) -> tuple[sympy.Expr, sympy.Expr]:
    """Return what the label adds to the loss, f(p, 1), and what each other class adds, f(p, 0), both simplified.

    The loss is (1 / C) [f(p_y, 1) + sum_{c != y} f(p_c, 0)].
    """
    whole = expression(solution)
    return _simplify(whole.subs(y, 1)), _simplify(whole.subs(y, 0))


def _simplify(form: sympy.Expr) -> sympy.Expr:
    """Return the form simplified with what is known of p, 0 < p <= 1, and with a log b in place of log b^a."""

    def is_power(part: sympy.Expr) -> bool:
        return isinstance(part, sympy.log) and part.args[0].is_Pow and bool(part.args[0].base.is_positive)

    def on_unit_interval(part: sympy.Expr) -> sympy.Expr:
        kind, powers = type(part), {each for each in part.args if each.as_base_exp()[0] == p}
        powers = {each for each in powers if each.as_base_exp()[1].is_positive}  # at most 1
        least_ones = {each for each in part.args if each.is_number and each >= 1}
        dropped = powers if kind is sympy.Max and least_ones else least_ones if kind is sympy.Min and powers else set()
        return kind(*(each for each in part.args if each not in dropped))

    form = sympy.simplify(form.xreplace({sympy.Abs(sympy.log(p)): -sympy.log(p)}))
    form = form.replace(is_power, lambda part: part.args[0].exp * sympy.log(part.args[0].base))
    form = form.xreplace({sympy.Abs(sympy.log(p)): -sympy.log(p)})
    return form.replace(lambda part: isinstance(part, sympy.Max | sympy.Min), on_unit_interval)


def simplified(solution: Tensor | Tree) -> sympy.Expr:
    """Return the shorter of f simplified as it is, and of f(p, 0) + y (f(p, 1) - f(p, 0)), equal for y = 0 and 1."""
    label, other = by_label(solution)
    forms = _simplify(expression(solution)), sympy.expand(other + y * (label - other)), other + y * (label - other)
    return min(forms, key=lambda form: (sympy.count_ops(form), len(str(form))))


def latex(solution: Tensor | Tree, digits: int = 4) -> str:
    """Return LaTeX of the simplified loss, averaged over classes, its numbers to so many significant digits."""
    form = rounded(simplified(solution), digits).subs({p: sympy.Symbol("p_c"), y: sympy.Symbol("y_c")})
    return rf"\ell = \frac{{1}}{{C}} \sum_{{c=1}}^{{C}} \left( {sympy.latex(form)} \right)"


def rounded(form: sympy.Expr, digits: int = 4) -> sympy.Expr:
    """Return an expression with its numbers to so many significant digits, for reading."""
    return form.xreplace({number: sympy.Float(number, digits) for number in form.atoms(sympy.Float)})
