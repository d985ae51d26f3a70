"""What is timed: networks summed over ten classes, ranked by pairwise discordance, and nothing else.

A *pair* is a prediction with its label, a *pair-evaluation* one candidate's loss on one pair. Networks see the class
and whether it is the label. Every pair is compared with its neighbour on a random cycle, and batches are fresh in each
generation: predictions are softmax(z), z_y ~ N(3, 2^2), z_j ~ N(0, 2^2), labels uniform.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

NUM_CLASSES = 10
LOG_SCALE = 10.0
LOGIT_SCALE, LOGIT_SHIFT = 2.0, 3.0

SIZES = [(64, 256), (256, 4096), (1024, 1024), (4096, 65536)]
"""Candidates P and pairs B."""


@dataclass(frozen=True)
class Workload:
    """A network 2-hidden-1 with biases in the hidden layers."""

    hidden: tuple[int, ...]
    activation: str

    @property
    def num_parameters(self) -> int:
        sizes = (2, *self.hidden)
        return sum(n * m + m for n, m in pairwise(sizes)) + self.hidden[-1]

    @property
    def flop(self) -> int:
        """Floating-point operations of a pair-evaluation in products and their sums alone, two for each weight."""
        sizes = (2, *self.hidden, 1)
        return 2 * NUM_CLASSES * sum(n * m for n, m in pairwise(sizes))


WORKLOADS = {
    "W1": Workload((16, 16), "tanh"),
    "W1 rational": Workload((16, 16), "rational_tanh"),
    "W2": Workload((16,), "tanh"),
    "W2 rational": Workload((16,), "rational_tanh"),
    "W3": Workload((16,), "softsign"),
}


def search_options(name: str, num_solutions: int, num_pairs: int) -> dict:
    """Return the search, as the ``search`` part of a spec: the default strategy, and no gate but that on finiteness."""
    workload = WORKLOADS[name]
    return {
        "parameterization": {
            "type": "classwise_mlp",
            "hidden": list(workload.hidden),
            "activation": workload.activation,
            "log_scale": LOG_SCALE,
        },
        "sampler": {"type": "logit_normal", "scale": LOGIT_SCALE, "shift": LOGIT_SHIFT},
        "objective": {"type": "ranking_consistency", "same_prediction_share": 0.0},
        "strategy": {"type": "mu_comma_lambda", "population_size": num_solutions},
        "mutation": {"type": "chaotic"},
        "generations": 1_000_000,
        "num_classes": NUM_CLASSES,
        "batch_size": num_pairs,
        "gates": {"weight_band": None, "signs": None, "same_prediction": None, "duplicate": None},
    }
