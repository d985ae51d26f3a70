"""Expressions as sympy prints and simplifies them."""

from __future__ import annotations

import pytest
import sympy
import torch

from lossforge_gp import GPExpression, Grammar, by_label, decoded, expression, latex, simplified
from lossforge_gp.equivalence import NUM_POINTS, values
from lossforge_gp.symbolic import p, rounded, y
from lossforge_gp.text import parsed
from lossforge_gp.tree import encoded


def numbers_of(form: sympy.Expr) -> list[list[float]]:
    """f(p, y) at the points of ``values``."""
    points = [(index + 0.5) / NUM_POINTS for index in range(NUM_POINTS)]
    return [[sympy.lambdify((p, y), form, "math")(point, label) for point in points] for label in (0, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mul(-1, mul(y, log(p)))", "-y*log(p)"),
        ("square(sub(y, p))", "(p - y)**2"),
        ("mul(y, mul(y, inv(p)))", "y/Max(1.0e-7, p)"),
        ("sub(p, sub(p, mul(y, mul(y, p))))", "p*y"),
        ("abs(mul(-2, p))", "2*p"),
        ("sqrt(square(p))", "sqrt(Max(1.0e-7, p**2))"),
        ("div(1.5, y)", "1.5/sqrt(y**2 + 1)"),
        ("sign(add(1, p))", "1"),
        ("mul(y, abs(log(p)))", "-y*log(p)"),
        ("max(p, max(1, square(p)))", "1"),
        ("min(2, p)", "p"),
        ("max(p, 0.5)", "Max(0.5, p)"),
    ],
)
def test_what_is_simple_is_printed_so(text, expected):
    assert str(rounded(simplified(parsed(text)), 3)) == expected


def test_label_and_other_classes_apart():
    label, other = by_label(parsed("sub(mul(y, mul(-1, log(p))), mul(sub(1, y), log(sub(1, mul(p, 0.5)))))"))
    assert label == -sympy.log(p)
    assert not other.has(y)


@pytest.mark.parametrize("functions", ["evomal", "autoloss_zero", "glo"])
def test_simplified_it_has_the_same_values(functions):
    family = GPExpression(grammar=Grammar(functions=functions), init_max_depth=3)
    for tree in decoded(family.init(4, torch.Generator().manual_seed(5))):
        expected = values(encoded([tree], 20)[0])
        for form in (expression(tree), simplified(tree)):
            found = torch.tensor(numbers_of(form), dtype=torch.float64)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, msg=f"{tree}: {form}")


def test_it_is_printed_in_latex():
    text = latex(parsed("mul(-1.2345678, mul(y, log(p)))"))
    assert text.startswith(r"\ell = \frac{1}{C} \sum_{c=1}^{C}")
    assert r"1.235 y_{c} \log{\left(p_{c} \right)}" in text


def test_a_solution_may_be_given_in_place_of_its_tree():
    solution_D = encoded([parsed("mul(y, tanh(p))")], 20)[0]
    assert expression(solution_D) == y * sympy.tanh(p)
    assert latex(solution_D) == latex(decoded(solution_D[None])[0])
