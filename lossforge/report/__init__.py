"""The report of a run, one HTML file that needs nothing else, and what tells of comparisons, ablations and losses."""

from lossforge.report.ablation import write_ablation
from lossforge.report.evidence import write_evidence
from lossforge.report.explanation_files import write_explanation
from lossforge.report.html import write_report

__all__ = ["write_ablation", "write_evidence", "write_explanation", "write_report"]
