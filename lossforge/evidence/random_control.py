"""Random members of a found loss's family: what is left of a search when nothing is searched."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.errors import SearchError
from lossforge.gradients import gradient_scale
from lossforge.interfaces import LossParameterization
from lossforge.search import Evaluator, ParameterPopulation, apply_gates
from lossforge.spec import GateSpec, SearchSpec
from lossforge.types import PredictionBatch

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
    drawn = drawn_member(
        search.parameterization,
        search.gates,
        evaluator.gate_batch,
        evaluator.fixed_batch("scale"),
        evaluator.generator(stream, index),
    )
    if drawn is not None:
        return Artifact(f"{artifact.name}.random", search.parameterization, *drawn)
    raise SearchError(
        f"none of {LARGEST_NUMBER:,} random members of {search.parameterization.type!r} passes the gates of the search "
        f"for {artifact.name!r}; set evidence.controls.random: false"
    )


def drawn_member(
    family: LossParameterization,
    gates: GateSpec,
    gate_batch: PredictionBatch,
    scale_batch: PredictionBatch,
    generator: torch.Generator,
) -> tuple[Tensor, float] | None:
    """Return the first draw from a family's prior that passes gates, and its scale; None: there is none in 16,384.

    Args:
        family: to draw from.
        gates: to pass; finite losses and gradients are always asked for.
        gate_batch: what gates look at.
        scale_batch: on which the gradient's norm becomes that of cross-entropy; it must be possible.
        generator: of the draws, on the CPU.
    """
    num_classes = gate_batch.log_probs_BC.shape[1]
    for _ in range(LARGEST_NUMBER // DRAWN_AT_ONCE):
        solutions_PD = family.init(DRAWN_AT_ONCE, generator)
        passes_P = apply_gates(gates, ParameterPopulation(family, solutions_PD, num_classes), gate_batch).feasible_P
        for chosen in passes_P.nonzero().squeeze(1).tolist():
            alone = ParameterPopulation(family, solutions_PD[chosen : chosen + 1], num_classes)
            scale = float(gradient_scale(alone, scale_batch))
            if 0 < scale < math.inf:
                return solutions_PD[chosen].float(), scale
    return None


def search_of(artifact: Artifact) -> SearchSpec | None:
    """Return the search that a found loss says it is from; None if it says nothing."""
    search = artifact.evidence.get("search")
    return None if search is None else SearchSpec.model_validate_json(json.dumps(search))
