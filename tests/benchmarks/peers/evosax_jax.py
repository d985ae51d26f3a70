"""The searches of ``workloads.py`` in JAX with evosax: a whole generation in one compiled function.

Candidates are mapped over one by one, which XLA fuses well: groups of 2, 4 and 8 were no faster in all three workloads
taken together on the machine of the results.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from evosax.algorithms import Sep_CMA_ES
from workloads import LOG_SCALE, LOGIT_SCALE, LOGIT_SHIFT, NUM_CLASSES, Workload


class EvosaxSearch:
    """Separable CMA-ES; ask, evaluation and tell are one XLA program."""

    def __init__(self, workload: Workload, num_solutions: int, num_pairs: int) -> None:
        self.workload, self.num_pairs = workload, num_pairs
        self.strategy = Sep_CMA_ES(population_size=num_solutions, solution=jnp.zeros(workload.num_parameters))
        self.params = self.strategy.default_params
        self.key = jax.random.key(0)
        self.state = self.strategy.init(self.key, jnp.zeros(workload.num_parameters), self.params)
        self.compiled = jax.jit(self._generation)

    def generation(self) -> float:
        """Run one, and return the best fitness."""
        self.key, key = jax.random.split(self.key)
        self.state, best = self.compiled(key, self.state)
        return float(best)

    def _generation(self, key, state):
        draw, ask, tell = jax.random.split(key, 3)
        phi, is_label, first, second, direction = self._draw(draw)
        solutions, state = self.strategy.ask(ask, state, self.params)

        def fitness_of(solution):
            loss = self._losses(solution, phi, is_label)
            return 1 - jnp.mean((loss[first] - loss[second]) * direction > 0)

        fitness = jax.lax.map(fitness_of, solutions)
        state, _ = self.strategy.tell(tell, solutions, fitness, state, self.params)
        return state, fitness.min()

    def _draw(self, key):
        keys = jax.random.split(key, 3)
        labels = jax.random.randint(keys[0], (self.num_pairs,), 0, NUM_CLASSES)
        is_label = (jnp.arange(NUM_CLASSES)[:, None] == labels).astype(jnp.float32)
        logits = LOGIT_SCALE * jax.random.normal(keys[1], is_label.shape) + LOGIT_SHIFT * is_label
        log_probs = jax.nn.log_softmax(logits, axis=0)
        error = 1 - jnp.exp(log_probs[labels, jnp.arange(self.num_pairs)])
        order = jax.random.permutation(keys[2], self.num_pairs)
        before = jnp.roll(order, 1)
        return -log_probs / LOG_SCALE, is_label, order, before, jnp.sign(error[order] - error[before])

    def _losses(self, solution, phi, is_label):
        """Sum over classes; units are rows, and pairs of all classes the columns."""
        values, start = jnp.stack((phi.ravel(), is_label.ravel())), 0
        for width in self.workload.hidden:
            end = start + width * len(values)
            weight, bias = solution[start:end].reshape(width, -1), solution[end : end + width]
            values, start = weight @ values + bias[:, None], end + width
            values = jax.nn.soft_sign(values) if self.workload.activation == "softsign" else jnp.tanh(values)
        return (solution[start:] @ values).reshape(NUM_CLASSES, -1).sum(axis=0)
