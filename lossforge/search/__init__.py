"""The search for a loss: one loop for every strategy, and what it evaluates candidates with."""

from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.gates import GateResult, apply_gates, constrained_rank
from lossforge.search.loop import Search
from lossforge.search.population import ParameterPopulation
from lossforge.search.resolution import existing_device, resolve, resolve_device
from lossforge.search.runner import run_search

__all__ = [
    "Assessment",
    "Evaluator",
    "GateResult",
    "ParameterPopulation",
    "Search",
    "apply_gates",
    "constrained_rank",
    "existing_device",
    "resolve",
    "resolve_device",
    "run_search",
]
