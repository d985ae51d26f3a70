"""The table of conformance: runs the checks of ``test_strategy_conformance.py`` and writes what came out.

::

    python tests/strategies/conformance_table.py [FILE]

Rows are strategies with their options, columns are checks. A mark is the outcome of a test that this script has run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

CHECKS = Path(__file__).with_name("test_strategy_conformance.py")
TABLE = Path(__file__).parents[2] / "docs" / "results" / "conformance.md"
COMMAND = "python tests/strategies/conformance_table.py"
PASSED, FAILED, NOT_RUN = "🟢", "🔴", "⚪"

Outcomes = Mapping[tuple[str, str], bool]
"""Whether a variant, the row, passes a check, the column."""


class Collector:
    """A pytest plugin that notes what came of each test of the class ``TestConformance``."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], bool] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Function) -> Iterator[None]:
        report: Any = yield
        if item.cls is not None and item.cls.__name__ == "TestConformance":
            key = (item.callspec.params["variant"], item.originalname)
            self.outcomes[key] = self.outcomes.get(key, True) and report.passed
        return report


def run_checks(tests: Path = CHECKS) -> Outcomes:
    """Run the checks of a file of tests."""
    collector = Collector()
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", f"{tests}::TestConformance"], plugins=[collector])
    return collector.outcomes


def in_words(check: str) -> str:
    """Return the name of a test as the document has it."""
    return check.removeprefix("test_").replace("_", " ")


def to_markdown(outcomes: Outcomes) -> str:
    """Return the document."""
    variants = list(dict.fromkeys(variant for variant, _ in outcomes))
    checks = list(dict.fromkeys(check for _, check in outcomes))
    num_passed = sum(outcomes.values())
    marks = {True: PASSED, False: FAILED, None: NOT_RUN}
    rows = [
        f"| {variant} | " + " | ".join(marks[outcomes.get((variant, check))] for check in checks) + " |"
        for variant in variants
    ]
    return "\n".join(
        [
            "# Conformance of the search strategies",
            "",
            f"{num_passed} of {len(variants) * len(checks)} checks passed, {len(variants)} strategies x {len(checks)}.",
            "Every built-in strategy with every choice among its options; those that use a mutation operator have",
            "Gaussian steps, and with their default options those of all others too.",
            f"{PASSED} passed, {FAILED} failed, {NOT_RUN} not run.",
            "",
            f"Written from the outcomes of `tests/strategies/test_strategy_conformance.py` by `{COMMAND}`.",
            "",
            *(f"{number}. {in_words(check)}" for number, check in enumerate(checks, start=1)),
            "",
            "| strategy | " + " | ".join(map(str, range(1, len(checks) + 1))) + " |",
            "|---|" + "---|" * len(checks),
            *rows,
            "",
        ]
    )


def main(table: Path = TABLE, tests: Path = CHECKS) -> int:
    """Write the document; return 0 if every check passed."""
    outcomes = run_checks(tests)
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(to_markdown(outcomes), encoding="utf-8")
    return 0 if outcomes and all(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
