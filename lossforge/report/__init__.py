"""The report of a run, one HTML file that needs nothing else, the same for the terminal, an ablation's, a loss's."""

from lossforge.report.ablation import write_ablation
from lossforge.report.explanation_files import write_explanation
from lossforge.report.html import write_report

__all__ = ["write_ablation", "write_explanation", "write_report"]
