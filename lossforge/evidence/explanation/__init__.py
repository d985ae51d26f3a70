"""What a loss is like: its weight profile, field, minimisers, neighbours, formula and bounds."""

from lossforge.evidence.explanation.bounds import Bounds, Extreme
from lossforge.evidence.explanation.consistency import Consistency, Order, Top
from lossforge.evidence.explanation.explanation import Explanation, explain
from lossforge.evidence.explanation.field import Field
from lossforge.evidence.explanation.minimiser import End, Minimisers
from lossforge.evidence.explanation.nearest import Neighbour
from lossforge.evidence.explanation.profile import Profile
from lossforge.evidence.explanation.symbolic import Formula

__all__ = [
    "Bounds",
    "Consistency",
    "End",
    "Explanation",
    "Extreme",
    "Field",
    "Formula",
    "Minimisers",
    "Neighbour",
    "Order",
    "Profile",
    "Top",
    "explain",
]
