"""The searches of ``workloads.py`` with nevergrad: its optimizer asks and is told, the evaluation is NumPy's."""

from __future__ import annotations

import nevergrad
import numpy as np
from numpy_cmaes import NumpySearch
from workloads import Workload


class NevergradSearch(NumpySearch):
    """Diagonal CMA-ES with the evaluation of :class:`NumpySearch`."""

    def __init__(self, workload: Workload, num_solutions: int, num_pairs: int) -> None:
        super().__init__(workload, num_solutions, num_pairs)
        settings = nevergrad.families.ParametrizedCMA(diagonal=True, popsize=num_solutions)
        self.searcher = settings(
            nevergrad.p.Array(shape=(workload.num_parameters,)).set_mutation(sigma=0.3), budget=10**9, num_workers=1
        )
        self.num_solutions = num_solutions

    def generation(self) -> float:
        """Run one, and return the best fitness."""
        first, second, direction = self._draw()
        asked = [self.searcher.ask() for _ in range(self.num_solutions)]
        fitness = [self._discordance(x.value.astype(np.float32), first, second, direction) for x in asked]
        for x, value in zip(asked, fitness, strict=True):
            self.searcher.tell(x, value)
        return min(fitness)
