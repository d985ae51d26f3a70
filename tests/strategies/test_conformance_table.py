"""The committed table of conformance is of the strategies and checks there are, and comes from their outcomes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
CHECKS_WITH_A_FAILURE = """
import pytest

@pytest.fixture(params=["a", "b, c"])
def variant(request):
    return request.param

class TestConformance:
    def test_is_here(self, variant):
        pass

    def test_is_not_a(self, variant):
        assert variant != "a"

def test_of_another_kind():
    raise AssertionError
"""


def load(name: str) -> ModuleType:
    """Import a file beside this one, which is on nobody's path."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


table = load("conformance_table")
LINES = table.TABLE.read_text(encoding="utf-8").splitlines()
REMEDY = f"write the table anew with: {table.COMMAND}"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def legend(lines: list[str]) -> list[str]:
    numbered = (re.fullmatch(r"\d+\. (.*)", line) for line in lines)
    return [match[1] for match in numbered if match]


def test_its_columns_are_the_checks_there_are():
    classes = reversed(load("test_strategy_conformance").TestConformance.__mro__)  # those of a kit come first
    checks = [name for cls in classes for name in vars(cls) if name.startswith("test_")]
    assert legend(LINES) == [table.in_words(check) for check in checks], REMEDY
    header = next(line for line in LINES if line.startswith("| strategy"))
    assert cells(header)[1:] == [str(number) for number in range(1, len(checks) + 1)], REMEDY


def test_its_rows_are_the_strategies_there_are_and_all_are_green():
    rows = {cells(line)[0]: cells(line)[1:] for line in LINES if line.startswith("|")}
    width = len(rows.pop("strategy"))
    del rows["---"]
    assert list(rows) == list(load("test_strategy_conformance").VARIANTS), REMEDY
    assert all(marks == [table.PASSED] * width for marks in rows.values())


def test_a_check_that_fails_is_red(tmp_path):
    tests, written = tmp_path / "test_toy.py", tmp_path / "results" / "toy.md"
    tests.write_text(CHECKS_WITH_A_FAILURE, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, HERE / "conformance_table.py", written, tests], check=False, capture_output=True, cwd=tmp_path
    )
    assert result.returncode == 1
    lines = written.read_text(encoding="utf-8").splitlines()
    assert "3 of 4 checks passed, 2 strategies x 2." in lines
    assert lines[-2:] == [f"| a | {table.PASSED} | {table.FAILED} |", f"| b, c | {table.PASSED} | {table.PASSED} |"]
    assert legend(lines) == ["is here", "is not a"]


def test_what_was_not_run_is_white():
    outcomes = {("a", "test_x"): True, ("b", "test_x"): True, ("b", "test_y"): True}
    assert f"| a | {table.PASSED} | {table.NOT_RUN} |" in table.to_markdown(outcomes).splitlines()
