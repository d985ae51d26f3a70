"""The report of a run: one HTML file that needs nothing else, and the same facts for the terminal."""

from lossforge.report.html import write_report

__all__ = ["write_report"]
