"""What is compared: losses, and the controls that show what a difference between them is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn

from lossforge.artifact import Artifact
from lossforge.errors import SpecError
from lossforge.evidence.random_control import random_member, search_of
from lossforge.interfaces import Loss
from lossforge.losses import FixedLoss
from lossforge.spec import SearchSpec
from lossforge.spec.evidence import EvidenceSpec, is_noisy
from lossforge.spec.training import TrainingSpec

Role = Literal["found", "published", "given", "null", "rescaled", "random", "stopped_early"]

TUNING, FINAL = "evidence.tuning", "evidence.training"
"""Streams of the training seeds: those of the final trainings are fresh."""


@dataclass(frozen=True)
class ContenderLoss:
    """What a contender is trained with at one seed.

    Attributes:
        identity: a string that changes with what it computes.
        module: gives it.
    """

    identity: str
    module: Callable[[], nn.Module]


@dataclass(frozen=True)
class Contender:
    """A loss, or a control, that is tuned and trained like every other.

    Attributes:
        name: of folders and in tables.
        role: ``found``, ``published``, a module ``given`` in Python, or that of a control.
        identity: a string that changes with what it is, whatever the seed.
        loss: from a stream and a seed index to what it is trained with.
        changes: options of the training that make it what it is.
        suffix: of the streams of its training seeds; contenders with one suffix are trained from the same initial
            weights on the same batches.
    """

    name: str
    role: Role
    identity: str
    loss: Callable[[str, int], ContenderLoss]
    changes: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""

    @property
    def is_control(self) -> bool:
        """Whether it is there to show what the differences of others are worth."""
        return self.role not in ("found", "published", "given")


class Rescaled(nn.Module):
    """A loss times a factor."""

    def __init__(self, loss: nn.Module, factor: float) -> None:
        super().__init__()
        self.loss, self.factor = loss, factor

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return factor loss(logits, target)."""
        value: Tensor = self.loss(logits, target) * self.factor
        return value


def published(loss: Loss) -> Contender:
    """Return a published loss as a contender."""
    return always(loss.label, "published", repr(loss), lambda: FixedLoss(loss))


def found(artifact: Artifact) -> Contender:
    """Return a found loss as a contender."""
    return always(artifact.name, "found", artifact.identity(), artifact.loss)


def given(name: str, module: nn.Module) -> Contender:
    """Return any loss module as a contender; by content nothing is known of it but its name."""
    return always(name, "given", name, lambda: module)


def always(name: str, role: Role, identity: str, module: Callable[[], nn.Module]) -> Contender:
    """Return a contender that has one loss at every seed.

    Args:
        name: of it.
        role: of it.
        identity: a string that changes with what the loss computes.
        module: gives the loss.
    """
    loss = ContenderLoss(identity, module)
    return Contender(name, role, identity, lambda stream, index: loss)


def control_names(evidence: EvidenceSpec, training: TrainingSpec, found: Sequence[str]) -> dict[str, Role]:
    """Return the names and roles of the controls that a comparison asks for under a condition.

    Args:
        evidence: of the comparison.
        training: under the condition.
        found: names of the found losses.
    """
    spec, reference = evidence.controls, evidence.reference.label
    if spec is None:
        return {}
    names: dict[str, Role] = {}
    if spec.null_arm:
        names[f"{reference} again"] = "null"
    if spec.rescaled is not None:
        names[f"{spec.rescaled:g} x {reference}"] = "rescaled"
    if spec.early_stopping and is_noisy(training):
        names[f"{reference} stopped early"] = "stopped_early"
    if spec.random:
        names |= {f"random {name}": "random" for name in found}
    return names


def controls(
    evidence: EvidenceSpec, training: TrainingSpec, artifacts: Sequence[Artifact], seed: int
) -> list[Contender]:
    """Return the controls that a comparison asks for under a condition.

    Raises:
        SearchError: no random member of a family passes the gates.
        SpecError: a found loss does not say how it was searched.
    """
    reference, members_of = published(evidence.reference), {f"random {each.name}": each for each in artifacts}

    def control(name: str, role: Role) -> Contender:
        match role:
            case "rescaled":
                assert evidence.controls is not None
                assert evidence.controls.rescaled is not None
                return _rescaled(reference, name, evidence.controls.rescaled)
            case "random":
                return _random(members_of[name], name, seed)
            case "stopped_early":
                return replace(reference, name=name, role=role, changes={"select_epoch": "best_validation"})
            case "null":
                return replace(reference, name=name, role=role, suffix=".null")
            case _:
                raise AssertionError(f"{role} is no control")

    names = control_names(evidence, training, [artifact.name for artifact in artifacts])
    return [control(name, role) for name, role in names.items()]


def checked_search(name: str, search: SearchSpec | None) -> SearchSpec:
    """Return the search of a found loss, or raise SpecError where it is not known: its family is not, either."""
    if search is None:
        raise SpecError([f"{name}: does not say how it was searched; set evidence.controls.random: false"])
    return search


def _rescaled(reference: Contender, name: str, factor: float) -> Contender:
    loss = reference.loss(FINAL, 0)
    identity = f"{factor!r} times {loss.identity}"
    return always(name, "rescaled", identity, lambda: Rescaled(loss.module(), factor))


def _random(artifact: Artifact, name: str, seed: int) -> Contender:
    search = checked_search(artifact.name, search_of(artifact))
    judged_by = f"{search.sampler!r}, {search.num_classes} classes, scaled on {search.selection_batch_size}"
    family = f"random member of {search.parameterization!r} that passes {search.gates!r}, judged by {judged_by}"

    def loss(stream: str, index: int) -> ContenderLoss:
        stream = f"{stream}.random_control"
        identity = f"{family}, seed {seed}, {stream}, {index}"
        return ContenderLoss(identity, lambda: random_member(artifact, search, seed, stream, index).loss())

    return Contender(name, "random", family, loss)
