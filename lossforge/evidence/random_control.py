"""Random members of a found loss's family: what is left of a search when nothing is searched."""

from __future__ import annotations

import json
import math

import torch

from lossforge.artifact import Artifact
from lossforge.errors import SearchError
from lossforge.gradients import gradient_scale
from lossforge.search import Evaluator, apply_gates
from lossforge.spec import SearchSpec

DRAWN_AT_ONCE = 64
LARGEST_NUMBER = 1 << 14
"""How many members are drawn before it is given up that one passes the gates."""


def random_member(artifact: Artifact, search: SearchSpec, seed: int, stream: str, index: int) -> Artifact:
    """Return a member of the family, drawn as a search draws its first, that passes the search's gates.

    It is scaled to the gradient of cross-entropy, as a winner is.

    Args:
        artifact: the found loss.
        search: which found it.
        seed: of the comparison.
        stream: name of the random stream.
        index: of the member; each has draws of its own.

    Raises:
        SearchError: none of 16,384 passes the gates.
    """
    evaluator = Evaluator(search.model_copy(update={"backend": "eager"}), seed, torch.device("cpu"))
    generator = evaluator.generator(stream, index)
    family = search.parameterization
    for _ in range(LARGEST_NUMBER // DRAWN_AT_ONCE):
        solutions_PD = family.init(DRAWN_AT_ONCE, generator)
        population = evaluator.population(solutions_PD)
        passes_P = apply_gates(search.gates, population, evaluator.gate_batch).feasible_P
        for chosen in passes_P.nonzero().squeeze(1).tolist():
            alone = evaluator.population(solutions_PD[chosen : chosen + 1])
            scale = float(gradient_scale(alone, evaluator.fixed_batch("scale")))
            if 0 < scale < math.inf:
                return Artifact(f"{artifact.name}.random", family, solutions_PD[chosen].float(), scale)
    raise SearchError(
        f"none of {LARGEST_NUMBER:,} random members of {family.type!r} passes the gates of the search for "
        f"{artifact.name!r}; set evidence.controls.random: false"
    )


def search_of(artifact: Artifact) -> SearchSpec | None:
    """Return the search that a found loss says it is from; None if it says nothing."""
    search = artifact.evidence.get("search")
    return None if search is None else SearchSpec.model_validate_json(json.dumps(search))
