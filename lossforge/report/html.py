"""``report.html``: one page without scripts, and without anything to fetch."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lossforge.evidence import is_compared
from lossforge.files import write_atomically
from lossforge.report.comparison_page import comparison_page
from lossforge.report.content import page
from lossforge.report.reading import read_run

_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
_WITHIN_INTERVAL = re.compile(r"(?<=\d), (?=[+\N{MINUS SIGN}]\d)")
_BREAKS = re.compile(r"(?<=[_.])(?=\w)")


def write_report(directory: Path) -> Path:
    """Write ``report.html`` from the files of a finished run or comparison, and return its path.

    The same files give the same bytes.

    Raises:
        RunDirectoryError: a file is missing or damaged.
    """
    path = directory / "report.html"
    write_atomically(path, _render(directory))
    return path


def _render(directory: Path) -> str:
    environment = Environment(
        loader=PackageLoader("lossforge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"minus": _minus, "breakable": _breakable, "joined": _joined}
    if is_compared(directory):
        return environment.get_template("comparison.html").render(page=comparison_page(directory))
    return environment.get_template("run.html").render(page=page(read_run(directory)))


def _minus(text: str) -> str:
    """Return ``text`` with minus signs for the hyphens before numbers, and intervals kept on one line."""
    return _WITHIN_INTERVAL.sub(",\N{NO-BREAK SPACE}", _MINUS.sub("\N{MINUS SIGN}", text))


def _joined(text: str) -> str:
    """Return ``text`` with ``n = 3`` kept on one line."""
    return text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _breakable(name: str) -> Markup:
    """Return a name that may break after an underscore or a full stop."""
    return Markup("<wbr>").join(escape(part) for part in _BREAKS.split(name))
