"""Gates: tests a candidate must pass, each a violation >= 0 that is 0 where it is passed.

Gates rank, they do not kill (Deb, "An efficient constraint handling method for genetic algorithms", Computer Methods in
Applied Mechanics and Engineering 186, 2000): candidates that pass are ordered by fitness, the others after them by
violation, so that a search finds its way into the feasible region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lossforge import devices
from lossforge.certificates import surely_finite
from lossforge.chunks import chunks
from lossforge.finite import all_finite
from lossforge.gradients import band_violation, profile_grid, relative_to_mean, sign_violation
from lossforge.interfaces import LossParameterization, Population, stated_form
from lossforge.ranks import shared_ranks
from lossforge.search.fingerprint import Memory, fingerprints, repeats
from lossforge.search.population import ParameterPopulation
from lossforge.spec import GateSpec, SamePredictionGate, WeightBandGate
from lossforge.threads import one_thread
from lossforge.types import PredictionBatch


@dataclass(frozen=True)
class GateResult:
    """Violations of a population, gate by gate.

    Attributes:
        violations: gate name to violation_P >= 0, 0 where it is passed.
        keys_PG: fingerprints of the candidates' losses; none are taken where there is no gate against duplicates.
    """

    violations: Mapping[str, Tensor]
    keys_PG: Tensor | None = None

    @cached_property
    def total_P(self) -> Tensor:
        """Sum over gates; 0 for a feasible candidate, infinite for one without finite losses and gradients."""
        return torch.stack(tuple(self.violations.values())).sum(dim=0)

    @cached_property
    def feasible_P(self) -> Tensor:
        """True for candidates that pass every gate."""
        return self.total_P == 0


def apply_gates(
    spec: GateSpec, population: ParameterPopulation, batch: PredictionBatch, memory: Memory | None = None
) -> GateResult:
    """Return the violations of every gate of ``spec``.

    Args:
        spec: the gates.
        population: the candidates.
        batch: fixed for the whole search.
        memory: what the search has evaluated so far; without it nothing is taken for a duplicate.
    """
    with one_thread():
        return _applied(spec, population, batch, memory)


def _applied(
    spec: GateSpec, population: ParameterPopulation, batch: PredictionBatch, memory: Memory | None
) -> GateResult:
    numbers = batch.log_probs_BC.numel() * NUMBERS_AN_ITEM
    parts = [_judged(spec, chunk, batch, memory is not None) for chunk in chunks(population, numbers)]
    violations = {name: torch.cat([part.violations[name] for part in parts]) for name in parts[0].violations}
    if parts[0].keys_PG is None or memory is None:
        return GateResult(violations)
    keys_PG = torch.cat([part.keys_PG for part in parts if part.keys_PG is not None])
    repeated_P = repeats(keys_PG, population.solutions_PD, memory).to(violations["finite"].dtype)
    # A candidate that is not finite fails the first gate alone; the others would only repeat it.
    violations["duplicate"] = torch.where(violations["finite"] == 0, repeated_P, 0.0)
    return GateResult(violations, keys_PG)


NUMBERS_AN_ITEM = 12
"""Float32 numbers in memory at once for every (candidate, pair, class): gradients, and fingerprints in float64."""


def _judged(spec: GateSpec, population: ParameterPopulation, batch: PredictionBatch, with_keys: bool) -> GateResult:
    """Return the violations of every gate but ``duplicate``, and for that one the fingerprints."""
    skipped = skipped_gates(spec, population.parameterization)
    asked_for = {name for name in EQUIVARIANCE_GATES if getattr(spec, name) is not None} - {*skipped}
    if not asked_for and not (with_keys and spec.duplicate is not None):
        return GateResult({"finite": _infinity(population, batch)})
    gradient_PBC = population.gradients(batch.log_probs_BC[None], batch.labels_B)
    loss_PB = population.losses(batch.log_probs_BC[None], batch.labels_B)
    finite_P = all_finite(loss_PB) & all_finite(gradient_PBC)
    violations = {}
    if spec.weight_band is not None and "weight_band" not in skipped:
        violations["weight_band"] = _weight_band(spec.weight_band, population, batch)
    if spec.signs is not None and "signs" not in skipped:
        violations["signs"] = sign_violation(gradient_PBC, batch, spec.signs.p_max, spec.signs.tolerance)
    if spec.same_prediction is not None and "same_prediction" not in skipped:
        violations["same_prediction"] = _same_prediction(spec.same_prediction, loss_PB, population, batch)
    passed_on = {
        name: torch.where(finite_P, violation_P.nan_to_num(nan=torch.inf, posinf=torch.inf), 0.0)
        for name, violation_P in violations.items()
    }
    keys_PG = None
    if with_keys and spec.duplicate is not None:
        keys_PG = fingerprints(gradient_PBC, spec.duplicate.resolution)
    return GateResult({"finite": _infinity_unless(finite_P), **passed_on}, keys_PG)


def _infinity(population: ParameterPopulation, batch: PredictionBatch) -> Tensor:
    """Return 0 for candidates with finite losses and gradients, else infinity.

    On the CPU most are never evaluated for it; a GPU would have to be asked which ones need not be.
    """
    form, solutions_PD = stated_form(population.parameterization), population.solutions_PD
    if form is None or devices.is_queued(solutions_PD.device):
        return _infinity_unless(_is_finite(population, batch))
    finite_P = surely_finite(form, solutions_PD, batch.log_probs_BC)
    if not finite_P.all():
        open_P = (~finite_P).nonzero().squeeze(1)
        finite_P[open_P] = _is_finite(population.take(open_P), batch)
    return _infinity_unless(finite_P)


def _infinity_unless(holds_P: Tensor) -> Tensor:
    return torch.full(holds_P.shape, torch.inf, device=holds_P.device).masked_fill_(holds_P, 0.0)


def _is_finite(population: ParameterPopulation, batch: PredictionBatch) -> Tensor:
    inputs = batch.log_probs_BC[None], batch.labels_B
    return all_finite(population.losses(*inputs)) & all_finite(population.gradients(*inputs))


EQUIVARIANCE_GATES = ("weight_band", "signs", "same_prediction")
"""Gates that mean something only for families that treat classes alike."""


def skipped_gates(spec: GateSpec, parameterization: LossParameterization) -> tuple[str, ...]:
    """Return the gates of ``spec`` that take equivariance for granted, if the family does not have it.

    The weight band looks at one label only; two labels of one prediction compare only if classes are treated alike; and
    a loss that knows which classes are alike may well push up a rival.
    """
    if parameterization.class_count is None:
        return ()
    return tuple(name for name in EQUIVARIANCE_GATES if getattr(spec, name) is not None)


def constrained_rank(fitness_P: Tensor, violation_P: Tensor) -> Tensor:
    """Return ranks (float, 0 is best): feasible by fitness, then the others by violation; equals share a rank.

    A feasible candidate whose fitness is not finite ranks last, with those of infinite violation.
    """
    passes_P = violation_P == 0
    feasible_P = passes_P & (fitness_P.abs() < torch.inf)
    key_P = torch.where(feasible_P, fitness_P, violation_P.masked_fill(passes_P, torch.inf)).nan_to_num(
        nan=torch.inf, posinf=torch.inf
    )
    return shared_ranks(~feasible_P, key_P).to(key_P.dtype)


def _same_prediction(
    gate: SamePredictionGate, loss_PB: Tensor, population: Population, batch: PredictionBatch
) -> Tensor:
    """Share of predictions on which the less likely of two labels does not have the higher loss, beyond tolerance.

    The second label of row i is 1 + (i mod (C - 1)) places after the first, so that all rivals have their turn.
    """
    num_pairs, num_classes = batch.log_probs_BC.shape
    shift_B = 1 + torch.arange(num_pairs, device=batch.labels_B.device) % (num_classes - 1)
    rivals_B = (batch.labels_B + shift_B) % num_classes
    rival_loss_PB = population.losses(batch.log_probs_BC[None], rivals_B)
    p_BC = batch.log_probs_BC.exp()
    lead_B = (p_BC.gather(1, batch.labels_B[:, None]) - p_BC.gather(1, rivals_B[:, None])).squeeze(1)
    counted_B = lead_B.abs() > gate.margin
    # What is not a number is wrong as well.
    wrong_PB = ~((rival_loss_PB - loss_PB) * lead_B.sign() > 0) & counted_B
    share_P = wrong_PB.sum(dim=1) / counted_B.sum().clamp_min(1)
    return (share_P - gate.tolerance).clamp_min(0.0).to(loss_PB.dtype)


def _weight_band(gate: WeightBandGate, population: Population, batch: PredictionBatch) -> Tensor:
    p_G = profile_grid(gate.p_min, gate.p_max, gate.p_top, gate.num_points, batch.log_probs_BC.device)
    relative_P2G, is_negative_P = relative_to_mean(population.weight_profile(p_G) / p_G**gate.exponent)
    return band_violation(relative_P2G, gate.minimum, gate.maximum, is_top_free=True) + is_negative_P
