"""Barron's loss against its formula in 400 digits, near its limits and at them."""

from decimal import Context, Decimal, localcontext
from itertools import pairwise

import pytest
import torch

from lossforge.losses.barron import Barron

EPS = 2.0**-52
ALPHAS = [
    *(2 - EPS, 2 - 1e-15, 2 - 1e-12, 2 - 1e-8, 2 - 1e-4, 1.9, 1.5, 1 + EPS, 1.0, 1 - EPS, 0.5, 0.01),
    *(1e-6, 1e-9, 1.01e-10, 0.99e-10, 1e-12, 1e-300),
    *(-1e-300, -1e-12, -0.99e-10, -1.01e-10, -1e-6, -0.01, -1.0, -2.0, -50.0, -1e4, -1e6),
]
LOG_PROBS = [-1e-12, -1e-6, -1e-3, -0.05, -0.5, -1.0, -3.0, -20.0]


def exact(log_prob: float, alpha: float | str, c: float) -> tuple[float, float]:
    """rho(1 - p, alpha, c), and its derivative in log p, -p x / c^2 (t / |alpha - 2| + 1)^(alpha / 2 - 1)."""
    with localcontext(Context(prec=400)):
        p = Decimal(log_prob).exp()
        x, c = 1 - p, Decimal(c)
        t = (x / c) ** 2
        if alpha == "-inf":
            return float(1 - (-t / 2).exp()), float(-p * x / c**2 * (-t / 2).exp())
        alpha = Decimal(alpha)
        if alpha == 2:
            return float(t / 2), float(-p * x / c**2)
        gap = abs(alpha - 2)
        log_term = (t / gap + 1).ln()
        value = log_term if alpha == 0 else gap / alpha * ((alpha / 2 * log_term).exp() - 1)
        return float(value), float(-p * x / c**2 * ((alpha / 2 - 1) * log_term).exp())


def assert_exact(loss: Barron, dtype: torch.dtype, tolerance: float) -> None:
    log_prob = torch.tensor(LOG_PROBS, dtype=dtype, requires_grad=True)
    value = loss.of_log_prob(log_prob)
    (slope,) = torch.autograd.grad(value.sum(), log_prob)
    pairs = [exact(each, loss.alpha, loss.c) for each in log_prob.tolist()]
    for found, expected in zip((value, slope), zip(*pairs, strict=True), strict=True):
        # p, which torch has as what is left of 1 - p, loses digits as it gets small.
        absolute = 10 * tolerance * max(map(abs, expected))
        torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=tolerance, atol=absolute)


@pytest.mark.parametrize("c", [0.01, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("alpha", [2.0, *ALPHAS, 0.0, "-inf"])
def test_values_and_slopes_are_exact(alpha, c):
    assert_exact(Barron(alpha=alpha, c=c), torch.float64, 2e-14)
    assert_exact(Barron(alpha=alpha, c=c), torch.float32, 2e-6)


@pytest.mark.parametrize("c", [0.1, 1.0])
@pytest.mark.parametrize(
    ("limit", "near"),
    [(2.0, 2 - 1e-9), (0.0, 1e-9), (0.0, -1e-9), ("-inf", -1e6), (1.0, 1 + 1e-9), (1.0, 1 - 1e-9)],
    ids=str,
)
def test_limits_are_approached(limit, near, c):
    log_prob = torch.linspace(-4.0, -1e-4, 50, dtype=torch.float64)
    found, expected = (Barron(alpha=alpha, c=c).of_log_prob(log_prob) for alpha in (near, limit))
    torch.testing.assert_close(found, expected, rtol=1e-3 if limit == "-inf" else 1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "formula"),
    [
        (2.0, lambda t: t / 2),
        (1.0, lambda t: (t + 1).sqrt() - 1),
        (0.0, lambda t: (t / 2 + 1).log()),
        (-2.0, lambda t: 2 * t / (t + 4)),
        ("-inf", lambda t: 1 - (-t / 2).exp()),
    ],
    ids=["2", "1", "0", "-2", "-inf"],
)
def test_losses_with_names(alpha, formula):
    x = torch.tensor([1e-3, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    found = Barron(alpha=alpha, c=0.4).of_log_prob(torch.log1p(-x))
    torch.testing.assert_close(found, formula((x / 0.4) ** 2), rtol=1e-9, atol=0.0)


def test_it_falls_with_alpha():
    log_prob = torch.linspace(-4.0, -0.1, 20, dtype=torch.float64)
    values = [
        Barron(alpha=alpha, c=0.3).of_log_prob(log_prob) for alpha in (2.0, *sorted(ALPHAS, reverse=True), "-inf")
    ]
    for larger, smaller in pairwise(values):
        assert (smaller <= larger * (1 + 1e-12)).all()
    assert values[0][0] > 5 * values[-1][0]
