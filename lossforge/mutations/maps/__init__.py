"""Chaotic maps, one a file, with what a source of steps needs to know of each.

Every step of every map is made of operations that IEEE 754 rounds exactly, so an orbit is the same, bit for bit, on any
processor. So are the points where orbits begin, but for the logistic map's, which come from torch's sine.
"""

from __future__ import annotations

from collections.abc import Mapping

from lossforge.mutations.maps.base import ChaoticMap
from lossforge.mutations.maps.chebyshev import ChebyshevMap
from lossforge.mutations.maps.circle import CircleMap
from lossforge.mutations.maps.gauss import GaussMap
from lossforge.mutations.maps.henon import HenonMap
from lossforge.mutations.maps.logistic import LogisticMap
from lossforge.mutations.maps.sine import SineMap
from lossforge.mutations.maps.tent import TentMap

MAPS: Mapping[str, ChaoticMap] = {
    "logistic": LogisticMap(),
    "tent": TentMap(),
    "sine": SineMap(),
    "chebyshev": ChebyshevMap(),
    "gauss": GaussMap(),
    "circle": CircleMap(),
    "henon": HenonMap(),
}
"""Maps by name."""

__all__ = ["MAPS", "ChaoticMap"]
