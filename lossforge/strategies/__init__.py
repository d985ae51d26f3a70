"""Search algorithms in ask / tell form."""

from lossforge.strategies.mu_comma_lambda import MuCommaLambda
from lossforge.strategies.mu_plus_lambda import MuPlusLambda
from lossforge.strategies.random_search import RandomSearch

__all__ = ["MuCommaLambda", "MuPlusLambda", "RandomSearch"]
