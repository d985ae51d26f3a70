"""Search algorithms in ask / tell form."""

from lossforge.strategies.cma_es import CMAES
from lossforge.strategies.differential_evolution import DifferentialEvolution
from lossforge.strategies.mu_comma_lambda import MuCommaLambda
from lossforge.strategies.mu_plus_lambda import MuPlusLambda
from lossforge.strategies.openai_es import OpenAIES
from lossforge.strategies.random_search import RandomSearch
from lossforge.strategies.sep_cma_es import SepCMAES
from lossforge.strategies.snes import SNES

__all__ = [
    "CMAES",
    "SNES",
    "DifferentialEvolution",
    "MuCommaLambda",
    "MuPlusLambda",
    "OpenAIES",
    "RandomSearch",
    "SepCMAES",
]
