"""What signals are called."""

from __future__ import annotations

import signal

import pytest

from lossforge.signals import name_of


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (40, "signal 40")]
)
def test_one_without_a_name_is_numbered(number, name):
    assert name_of(number) == name
