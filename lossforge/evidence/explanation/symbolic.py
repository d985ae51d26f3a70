"""A curve over p as a short formula: least squares over all small subsets of a dictionary of terms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOWEST, HIGHEST = 1e-3, 0.99
"""Range of p over which formulas are fitted."""

MOST_TERMS = 3
"""Terms of a formula."""

GOOD = 1e-6
"""Relative error with which no further term is looked for."""

GAIN = 3.0
"""By how much a further term must lower the error to be worth it."""

EXPONENTS = ("1/10", "1/5", "1/4", "3/10", "1/3", "2/5", "1/2", "3/5", "2/3", "7/10", "3/4", "4/5", "9/10")
"""Powers of p between 0 and 1."""


@dataclass(frozen=True)
class Formula:
    """A sum of terms.

    Attributes:
        terms: names of the terms.
        coefficients: their factors.
        error: root mean square of the residual over that of the curve (for a loss, over its deviation from its mean).
        largest_error: largest absolute residual.
    """

    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    error: float
    largest_error: float

    def __str__(self) -> str:
        """Return the formula, as in ``1 + 2 p^2 - 0.5 p log p``."""
        parts: list[str] = []
        for term, coefficient in zip(self.terms, self.coefficients, strict=True):
            if abs(coefficient) < 1e-9 * max(map(abs, self.coefficients)):  # rounding
                continue
            size = f"{abs(coefficient):.4g}"
            text = size if term == "1" else term if size == "1" else f"{size} {term}"
            text = f"{size}{term[1:]}" if term.startswith("1/") else text
            sign = "-" if coefficient < 0 else "+"
            parts.append(f"{sign} {text}" if parts else text if sign == "+" else f"-{text}")
        return " ".join(parts) or "0"


def fit(p: Sequence[float], curve: Sequence[float | None], *, offset: bool = False) -> Formula | None:
    """Return the shortest good formula of a curve.

    Of all subsets of the dictionary with k terms the best is taken, for k = 1, 2, 3; one more term has to lower the
    error by a factor of 3. Points weigh alike, and are evenly spaced in log(p / (1 - p)).

    Args:
        p: abscissae.
        curve: ordinates; None is left out.
        offset: whether a constant belongs to every formula and its error is relative to the deviation from the mean, as
            of a loss, whose offset means nothing.

    Returns:
        None where fewer than ten points are known.
    """
    known = [(x, y) for x, y in zip(p, curve, strict=True) if y is not None and LOWEST <= x <= HIGHEST]
    if len(known) < 10:
        return None
    p_G, y_G = torch.tensor(known, dtype=torch.float64).unbind(1)
    terms = dictionary(p_G)
    size = float(torch.linalg.vector_norm(y_G - y_G.mean() if offset else y_G))
    if size <= 1e-12 * float(y_G.abs().max()) or size == 0:
        constant = float(y_G.mean())
        return Formula(
            ("1",) if constant else (), (constant,) if constant else (), 0.0, float((y_G - constant).abs().max())
        )
    best: Formula | None = None
    for num_terms in range(1, MOST_TERMS + 1):
        found = _best_subset(terms, y_G, num_terms, size, offset)
        if best is None or found.error < best.error / GAIN:
            best = found
        if best.error < GOOD:
            break
    return best


def dictionary(p_G: Tensor) -> dict[str, Tensor]:
    """Return the terms at p, simplest first."""
    log_p, error = p_G.log(), 1 - p_G
    terms = {"1": torch.ones_like(p_G), "p": p_G, "log p": log_p, "p^2": p_G**2, "p^3": p_G**3}
    terms |= {f"(1 - p)^{k}": error**k for k in (2, 3, 4)}
    terms |= {"p log p": p_G * log_p, "(1 - p) log p": error * log_p, "(1 - p)^2 log p": error**2 * log_p}
    terms |= {"p (1 - p) log p": p_G * error * log_p, "p (1 - p)^2 log p": p_G * error**2 * log_p}
    terms |= {"log(1 - p)": error.log(), "1/(1 - p)": 1 / error, "p/(1 - p)": p_G / error}
    for text in EXPONENTS:
        top, bottom = map(int, text.split("/"))
        terms[f"p^({text})"] = p_G ** (top / bottom)
    return terms


def _best_subset(terms: dict[str, Tensor], y_G: Tensor, num_terms: int, size: float, offset: bool) -> Formula:
    """Return the best formula of so many terms, beside the constant where there is an offset."""
    names = list(terms)
    columns_GT = torch.stack(list(terms.values()), dim=1)
    columns_GT = columns_GT / torch.linalg.vector_norm(columns_GT, dim=0)
    free = range(1, len(names)) if offset else range(len(names))
    subsets_SK = torch.tensor([(*((0,) if offset else ()), *each) for each in itertools.combinations(free, num_terms)])
    # An orthogonal basis of each subset: normal equations would lose half the digits to terms that are nearly alike.
    basis_SGK, triangle_SKK = torch.linalg.qr(columns_GT.T[subsets_SK].transpose(1, 2))
    inside_SK = torch.einsum("sgk,g->sk", basis_SGK, y_G)
    residual_SG = y_G - torch.einsum("sgk,sk->sg", basis_SGK, inside_SK)
    dependent_S = triangle_SKK.diagonal(dim1=1, dim2=2).abs().amin(dim=1) < 1e-7
    error_S = torch.linalg.vector_norm(residual_SG, dim=1).masked_fill(dependent_S, torch.inf) / size
    # Of equals the first, which has the simpler terms.
    best = int((error_S <= error_S.min() + 1e-9).int().argmax())
    chosen = [names[index] for index in subsets_SK[best].tolist()]
    matrix = torch.stack([terms[name] for name in chosen], dim=1)
    coefficients = torch.linalg.lstsq(matrix, y_G[:, None], driver="gelsd").solution[:, 0]
    return Formula(
        tuple(chosen),
        tuple(coefficients.tolist()),
        float(error_S[best]),
        float((matrix @ coefficients - y_G).abs().max()),
    )
