"""The archive of a search with several goals: what was found and is not dominated by anything else that was found.

It is kept in the state of the search, shared by all searches of a run, and bounded by dropping the most crowded member
until the rest fits: Kukkonen and Deb, "Improved pruning of non-dominated solutions based on crowding distance for
bi-objective optimization problems", CEC 2006. Values of different generations come from different batches, and a lucky
one stays; so at the end all members are judged once more, on one fresh batch. It decides who stays as well as what is
reported, so the ends of what is left are still a little hopeful.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.dominance import crowding_distances, distinct_rows, is_non_dominated
from lossforge.errors import ArtifactError
from lossforge.fields import AnyParameterization
from lossforge.files import to_json, write_atomically
from lossforge.gradients import gradient_scale
from lossforge.interfaces import LossParameterization, Objective
from lossforge.provenance import lost
from lossforge.search import progress
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.history import finite_or_none
from lossforge.search.winner import how_searched
from lossforge.types import Evaluation, State
from lossforge.version import __version__

SOLUTIONS = progress.ARCHIVE + "solutions"
VALUES = progress.ARCHIVE + "values"
FOUND_IN = progress.ARCHIVE + "restart"
"""Keys of the state: the members, what they came to (float64, a column a goal), and which search found each."""

DEFAULT_SIZE = 64
FORMAT_VERSION = 1
"""Version of the archive format this lossforge reads and writes."""

JSON_NAME, TENSORS_NAME = "archive.json", "solutions.safetensors"


@runtime_checkable
class BoundsArchive(Protocol):
    """An objective with an option for the size of the archive."""

    archive_size: int


def size_for(objective: Objective) -> int:
    """Return how many members the archive of an objective may have."""
    return objective.archive_size if isinstance(objective, BoundsArchive) else DEFAULT_SIZE


def after_generation(state: State, solutions_PD: Tensor, assessment: Assessment, size: int) -> State:
    """Return the archive's keys after a generation; none where its objective tells of no trade-offs.

    A member that was evaluated again counts with its new values only: to keep the best of several is to keep luck. One
    that was asked for again but not evaluated, such as one that a gate takes for a copy of itself, stays as it was.
    """
    values_PM = _values(assessment.evaluation)
    if values_PM is None:
        return {}
    restart = progress.integer(state, progress.RESTART)
    enters_P = assessment.feasible_P & values_PM.isfinite().all(dim=1)
    was_evaluated_P = assessment.gates.feasible_P | ~values_PM.isnan().all(dim=1)
    solutions, values = solutions_PD[enters_P], values_PM[enters_P]
    found_in = torch.full((len(solutions),), restart, dtype=torch.int64, device=solutions.device)
    if SOLUTIONS in state:
        members_AD = progress.tensor(state, SOLUTIONS)
        stays_A = _are_absent(members_AD, solutions_PD[was_evaluated_P])
        solutions = torch.cat((members_AD[stays_A], solutions))
        values = torch.cat((progress.tensor(state, VALUES)[stays_A], values))
        found_in = torch.cat((progress.tensor(state, FOUND_IN)[stays_A], found_in))
    index = thinned(values, size)
    return {SOLUTIONS: solutions[index], VALUES: values[index], FOUND_IN: found_in[index]}


def thinned(values_PM: Tensor, size: int) -> Tensor:
    """Return the indices, rising, of at most ``size`` candidates that nobody dominates; of equals the first."""
    index = is_non_dominated(values_PM).nonzero().squeeze(1)
    index = index[_is_first_of_equals(values_PM[index])]
    while len(index) > size:
        most_crowded = crowding_distances(values_PM[index]).argmin()
        index = index[torch.arange(len(index), device=index.device) != most_crowded]
    return index


@dataclass(frozen=True)
class Archive:
    """Trade-offs: losses none of which is at least as good as another in every goal and better in one.

    Attributes:
        name: name of the run.
        parameterization: the family.
        solutions_AD: their parameters, float32 on the CPU.
        members: JSON values of each: ``objectives``, ``metrics``, ``gate_violations``, ``scale``, ``restart``.
        search: JSON values of all: how they were searched.
    """

    name: str
    parameterization: LossParameterization
    solutions_AD: Tensor
    members: tuple[Mapping[str, Any], ...]
    search: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return one line: how many there are, of what family."""
        return f"<Archive {self.name!r}: {len(self.members)} trade-offs of {self.parameterization.type}>"

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The members as losses, called after the run and their number, which counts from 0."""
        return tuple(
            Artifact(
                f"{self.name}-{number}",
                self.parameterization,
                solution_D,
                member["scale"],
                {**self.search, **{key: value for key, value in member.items() if key != "scale"}},
            )
            for number, (solution_D, member) in enumerate(zip(self.solutions_AD, self.members, strict=True))
        )

    def save(self, folder: Path) -> None:
        """Write ``solutions.safetensors`` and ``archive.json`` into ``folder``, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format_version": FORMAT_VERSION,
            "lossforge_version": __version__,
            "name": self.name,
            "parameterization": _ADAPTER.dump_python(self.parameterization, mode="json"),
            "search": self.search,
            "members": self.members,
        }
        write_atomically(folder / TENSORS_NAME, save({"solutions": self.solutions_AD.contiguous()}))
        write_atomically(folder / JSON_NAME, to_json(content))


def judged(state: State, evaluator: Evaluator, name: str) -> Archive | None:
    """Return the members that nobody dominates on the stream ``archive``, which no search has seen, in rising order.

    Left out is what is not finite there, and what has no gradient to be scaled to that of cross-entropy.
    """
    if SOLUTIONS not in state:
        return None
    family, solutions_AD = evaluator.spec.parameterization, progress.tensor(state, SOLUTIONS)
    index = torch.zeros(0, dtype=torch.int64, device=solutions_AD.device)
    members: tuple[Mapping[str, Any], ...] = ()
    if len(solutions_AD):
        assessment = evaluator.assess_afresh(solutions_AD, "archive")
        scale_A = gradient_scale(evaluator.population(solutions_AD), evaluator.fixed_batch("scale"))
        index = _best_first(assessment, scale_A)
        found_in = progress.tensor(state, FOUND_IN)
        members = tuple(
            {"restart": int(found_in[place]), "scale": float(scale_A[place]), **_figures(assessment, place)}
            for place in index.tolist()
        )
    return Archive(name, family, solutions_AD[index].float().cpu(), members, how_searched(evaluator))


def load_archive(path: Path | str) -> tuple[Artifact, ...]:
    """Read the trade-offs of a run directory, or of its ``archive`` folder, as losses.

    Raises:
        ArtifactError: there are none, or a file is damaged or was written by another version.
        PluginError: their parameterization belongs to a plugin that fails.
    """
    folder = next((each for each in (Path(path), Path(path) / "archive") if (each / JSON_NAME).is_file()), None)
    if folder is None:
        raise ArtifactError(
            f"{path}: no {JSON_NAME} here or in {Path(path) / 'archive'}; only a finished run whose objective has "
            "trade-offs, such as pareto, leaves one"
        )
    try:
        content = json.loads((folder / JSON_NAME).read_bytes())
        if content["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{folder / JSON_NAME}: format_version {content['format_version']}, this lossforge {__version__} reads "
                f"{FORMAT_VERSION}; use the version that wrote it ({content.get('lossforge_version', 'unknown')})"
            )
        solutions_AD = load((folder / TENSORS_NAME).read_bytes())["solutions"]
        family = _ADAPTER.validate_python(content["parameterization"])
        if solutions_AD.shape != (len(content["members"]), family.num_parameters):
            raise ValueError(f"solutions of shape {tuple(solutions_AD.shape)} do not fit the members")
        if not (solutions_AD.is_floating_point() and solutions_AD.isfinite().all()):
            raise ValueError("the solutions are not all finite floating point numbers")
        return Archive(content["name"], family, solutions_AD, tuple(content["members"]), content["search"]).artifacts
    except ValidationError as cause:
        problems = "; ".join(error["msg"] for error in cause.errors())
        lines = lost(folder.parent / "manifest.json", json.dumps(content["parameterization"]))
        raise ArtifactError("\n".join([f"{folder / JSON_NAME}: parameterization: {problems}", *lines])) from cause
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as cause:
        raise ArtifactError(f"{folder}: cannot be read: {cause}; 'lossforge resume' writes it anew") from cause


_ADAPTER: TypeAdapter[LossParameterization] = TypeAdapter(AnyParameterization)


def _values(evaluation: Evaluation) -> Tensor | None:
    """Return values_PM in float64, a column a goal, or None where there are no trade-offs."""
    columns = [values_P.double() for values_P in evaluation.trade_offs.values()]
    return torch.stack(columns, dim=1) if columns else None


def _best_first(assessment: Assessment, scale_A: Tensor) -> Tensor:
    """Return the indices of the members that are kept, in rising order of their first goal, then the others."""
    values_AM = _values(assessment.evaluation)
    assert values_AM is not None
    is_usable_A = values_AM.isfinite().all(dim=1) & scale_A.isfinite() & (scale_A > 0)
    index = is_usable_A.nonzero().squeeze(1)
    index = index[is_non_dominated(values_AM[index])]
    for column_A in reversed(values_AM.T):
        index = index[column_A[index].argsort(stable=True)]
    return index


def _are_absent(members_AD: Tensor, solutions_PD: Tensor) -> Tensor:
    """Return True for members that are none of the solutions; one at a time, to hold no (A, P, D) tensor."""
    absent_A = torch.ones(len(members_AD), dtype=torch.bool, device=members_AD.device)
    for place, member_D in enumerate(members_AD):
        absent_A[place] = ~(solutions_PD == member_D).all(dim=1).any()
    return absent_A


def _is_first_of_equals(values_PM: Tensor) -> Tensor:
    _, place_P = distinct_rows(values_PM)
    position_P = torch.arange(len(place_P), device=place_P.device)
    first_U = torch.full_like(position_P, len(place_P)).scatter_reduce(0, place_P, position_P, "amin")
    return position_P == first_U[place_P]


def _figures(assessment: Assessment, index: int) -> dict[str, Any]:
    parts = {
        "objectives": assessment.evaluation.trade_offs,
        "metrics": assessment.evaluation.metrics,
        "gate_violations": assessment.gates.violations,
    }
    return {part: {name: finite_or_none(float(each[index])) for name, each in of.items()} for part, of in parts.items()}
