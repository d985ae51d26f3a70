"""The runs in a folder: in what state each is, what it came to, and which of them compare.

Reading only, and without torch: components are looked at as plain values, and no plugin is imported.
"""

from lossforge.runs.grouping import Group, grouped
from lossforge.runs.reading import find, summarise
from lossforge.runs.summary import TRAINED, RunSummary, Trained

__all__ = ["TRAINED", "Group", "RunSummary", "Trained", "find", "grouped", "summarise"]
