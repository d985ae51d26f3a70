"""The report of a run, one HTML file that needs nothing else, the same for the terminal, and that of an ablation."""

from lossforge.report.ablation import write_ablation
from lossforge.report.html import write_report

__all__ = ["write_ablation", "write_report"]
