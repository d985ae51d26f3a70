"""What controls show: what a search buys, what is left of a gain over stopping early, what tuning does by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lossforge.evidence.contenders import Role
from lossforge.evidence.judgement import Judgement
from lossforge.evidence.verdict import Outcome
from lossforge.report.numbers import points


def control_notes(judged: Judgement, roles: Mapping[str, Role], num_diverged: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence where the null arm differs, and for each found loss and control held against each other.

    Args:
        judged: of a condition.
        roles: of contenders, by name.
        num_diverged: trainings of each that are in no mean.
    """
    for name, verdict in judged.verdicts.items():
        if roles[name] == "null" and verdict.outcome in (Outcome.BETTER, Outcome.WORSE) and verdict.difference:
            size = f"{abs(verdict.difference.mean):.2f} points"
            yield (
                f"{name} is the reference once more, and is {verdict.outcome.value} than it by {size}: so much is "
                "chance, that of tuning included, and differences of this size say little of losses here. With more "
                "evidence.tuning.seeds, or more images held out, it is less."
            )
    for row in judged.pairs:
        if row.welch is None:
            continue
        each = row.welch.difference
        difference = f"{points(each.mean, 2)} points [{points(each.low, 2)}, {points(each.high, 2)}]"
        if num_diverged[row.a] or num_diverged[row.b]:
            difference += ", among the trainings that finished"
        if row.b == f"random {row.a}" and roles[row.b] == "random":
            yield f"What the search buys: {row.a} minus random members of its family, {difference}."
        if roles[row.b] == "stopped_early":
            yield f"{row.a} minus {row.b}: {difference}."
