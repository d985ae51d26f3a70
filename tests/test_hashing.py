"""Keys of rows: equal for equal rows alone, also where rows are as alike as they can be."""

from __future__ import annotations

import torch

from lossforge.hashing import _factors, hashed, row_keys


def test_equal_rows_have_equal_keys_whatever_is_beside_them():
    rows_ND = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(row_keys(rows_ND[[3, 9, 3]]), row_keys(rows_ND)[[3, 9, 3]])
    assert torch.equal(row_keys(rows_ND), row_keys(rows_ND.double()))


def test_signs_count():
    rows_ND = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [1.0, -2.0], [-1.0, -2.0], [0.0, 2.0], [-0.0, 2.0]])
    assert len(row_keys(rows_ND).unique()) == 6


def test_round_numbers_have_keys_of_their_own():
    """Powers of two differ in few of their bits, all of them high: of half a million rows no two share a key."""
    powers = torch.randint(-30, 30, (500_000, 8), generator=torch.Generator().manual_seed(0))
    rows_ND = (2.0**powers).unique(dim=0)
    assert len(row_keys(rows_ND).unique()) == len(rows_ND)


def test_integers_by_their_definition():
    """A sum of products modulo 2^64, whose high word is folded into the low one."""
    integers = torch.randint(-(2**40), 2**40, (20, 3), generator=torch.Generator().manual_seed(0))
    factors = _factors(3, integers.device).tolist()
    assert all(factor % 2 for factor in factors)
    found = hashed(integers).tolist()
    for row, key in zip(integers.tolist(), found, strict=True):
        total = sum(a * b for a, b in zip(row, factors, strict=True)) % 2**64
        total -= 2**64 if total >= 2**63 else 0
        assert key == total ^ (total >> 32)
