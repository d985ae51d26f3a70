"""The searches of ``workloads.py`` as an expert writes them in NumPy: candidate by candidate, blocked for the cache."""

from __future__ import annotations

import numpy as np
from cmaes import SepCMA
from workloads import LOG_SCALE, LOGIT_SCALE, LOGIT_SHIFT, NUM_CLASSES, Workload

BLOCK_ITEMS = {1: 8192, 2: 2048}
"""Columns of a block by hidden layers: the fastest of 2,048, 4,096, 8,192 and 20,480 on the machine of the results."""


class NumpySearch:
    """Separable CMA-ES of the library ``cmaes``, and matrix products into buffers that are made once."""

    def __init__(self, workload: Workload, num_solutions: int, num_pairs: int) -> None:
        self.workload, self.num_pairs = workload, num_pairs
        self.rng = np.random.default_rng(0)
        self.optimizer = SepCMA(
            mean=self.rng.standard_normal(workload.num_parameters) / 4, sigma=0.3, population_size=num_solutions, seed=0
        )
        self.block = min(BLOCK_ITEMS[len(workload.hidden)], NUM_CLASSES * num_pairs)
        # A last row of ones makes biases columns of the weights.
        self.inputs = np.ones((3, NUM_CLASSES, num_pairs), np.float32)
        self.hidden = [np.ones((width + 1, self.block), np.float32) for width in workload.hidden]
        self.scratch = np.empty((max(workload.hidden), self.block), np.float32)
        self.out = np.empty(NUM_CLASSES * num_pairs, np.float32)

    def generation(self) -> float:
        """Run one, and return the best fitness."""
        first, second, direction = self._draw()
        solutions = [self.optimizer.ask() for _ in range(self.optimizer.population_size)]
        fitness = [self._discordance(x.astype(np.float32), first, second, direction) for x in solutions]
        self.optimizer.tell(list(zip(solutions, fitness, strict=True)))
        return min(fitness)

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = self.rng.integers(0, NUM_CLASSES, self.num_pairs)
        is_label = np.arange(NUM_CLASSES)[:, None] == labels
        logits = LOGIT_SCALE * self.rng.standard_normal((NUM_CLASSES, self.num_pairs), dtype=np.float32)
        logits += LOGIT_SHIFT * is_label
        logits -= logits.max(axis=0)
        log_probs = logits - np.log(np.exp(logits).sum(axis=0))
        self.inputs[0], self.inputs[1] = log_probs / -LOG_SCALE, is_label
        order = self.rng.permutation(self.num_pairs)
        error = 1 - np.exp(log_probs[labels, np.arange(self.num_pairs)])
        before = np.roll(order, 1)
        return order, before, np.sign(error[order] - error[before])

    def _discordance(self, solution: np.ndarray, first: np.ndarray, second: np.ndarray, direction: np.ndarray) -> float:
        weights, start, columns = [], 0, 3
        for width in self.workload.hidden:
            weights.append(solution[start : start + width * columns].reshape(width, columns))
            start, columns = start + width * columns, width + 1
        output, inputs = solution[start:], self.inputs.reshape(3, -1)
        for begin in range(0, inputs.shape[1], self.block):
            values = inputs[:, begin : begin + self.block]
            size = values.shape[1]
            for weight, hidden in zip(weights, self.hidden, strict=True):
                units = hidden[:-1, :size]
                np.matmul(weight, values, out=units)
                self._activate(units)
                values = hidden[:, :size]
            np.matmul(output, values[:-1], out=self.out[begin : begin + size])
        loss = self.out.reshape(NUM_CLASSES, -1).sum(axis=0)
        concordant = (loss[first] - loss[second]) * direction > 0
        return 1 - np.count_nonzero(concordant) / len(first)

    def _activate(self, units: np.ndarray) -> None:
        if self.workload.activation == "softsign":
            size = self.scratch[: len(units), : units.shape[1]]
            np.abs(units, out=size)
            size += 1
            np.divide(units, size, out=units)
        else:
            np.tanh(units, out=units)
