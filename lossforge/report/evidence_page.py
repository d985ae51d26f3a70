"""A comparison under conditions in the report: verdicts, conditions, and what more seeds would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.evidence.contenders import Role
from lossforge.report.condition_page import NOTHING, ConditionSection, Saying, condition_section
from lossforge.report.evidence_content import CLAIMS, Condition, EvidenceContent
from lossforge.report.evidence_rows import Row, power_rows
from lossforge.report.numbers import accuracy_decimals, points

MANY = 3
"""First verdicts that are written large, at the most."""


@dataclass(frozen=True)
class Glance:
    """Differences to the reference: a row for each loss, a cell of difference and outcome for each condition."""

    conditions: tuple[str, ...]
    reference: str
    rows: tuple[tuple[str, Role, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True)
class Power:
    """What numbers of seeds can show: rows of standard deviation and difference."""

    nums: tuple[int, ...]
    rows: tuple[tuple[str, str, tuple[str, ...], str], ...]
    measured: int


@dataclass(frozen=True)
class EvidenceSection:
    """All that the page says of a comparison."""

    conditions: tuple[ConditionSection, ...]
    first: tuple[tuple[str, tuple[Saying, ...]], ...]
    glance: Glance | None
    power: Power | None

    @property
    def has_many_first(self) -> bool:
        """Whether there are too many first verdicts to write them large."""
        return sum(len(sayings) for _, sayings in self.first) > MANY


def evidence_section(evidence: EvidenceContent) -> EvidenceSection:
    """Return what there is to say of a comparison, its verdicts on the found losses first, or on all but controls."""
    sections = tuple(
        condition_section(each, f"condition-{index}", evidence) for index, each in enumerate(evidence.conditions)
    )
    wanted = ("found",) if evidence.found else CLAIMS
    first = tuple((each.name, tuple(say for say in each.sayings if say.role in wanted)) for each in sections)
    return EvidenceSection(
        conditions=sections,
        first=first,
        glance=_glance(evidence.conditions) if len(sections) > 1 else None,
        power=_power(evidence),
    )


def _glance(conditions: Sequence[Condition]) -> Glance:
    names = dict.fromkeys(name for condition in conditions for name in condition.ordered)
    roles = {name: role for condition in conditions for name, role in condition.roles.items()}
    rows = []
    for name in names:
        cells = tuple(_glance_cell(condition, name) for condition in conditions)
        if name != conditions[0].reference:
            rows.append((name, roles[name], cells))
    return Glance(tuple(condition.name for condition in conditions), conditions[0].reference, tuple(rows))


def _glance_cell(condition: Condition, name: str) -> tuple[str, str]:
    row, verdict = condition.judged().get(name), condition.judgement.verdicts.get(name)
    if verdict is None:
        return NOTHING, ""
    known = (
        NOTHING if row is None or row.welch is None else points(row.welch.difference.mean, accuracy_decimals(condition))
    )
    return known, verdict.outcome.value


def _power(evidence: EvidenceContent) -> Power | None:
    settings, sds = evidence.evidence, evidence.measured_sds()
    if not sds:
        return None
    found: dict[tuple[float, float], list[Row]] = {}
    for row in power_rows(sds, settings.margin, settings.confidence, settings.seeds):
        found.setdefault((row["sd"], row["difference"]), []).append(row)
    rows = tuple(
        (
            f"{sd:.2f}",
            f"{difference:g}",
            tuple(f"{100 * row['power']:.0f}" for row in of_pair),
            f"{of_pair[0]['needed']:,}",
        )
        for (sd, difference), of_pair in found.items()
    )
    nums = tuple(row["seeds"] for row in next(iter(found.values())))
    return Power(nums, rows, settings.seeds)
