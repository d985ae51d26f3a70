"""Found losses against controls: what a search buys, and what is left of a gain over stopping early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lossforge.evidence.contenders import Role
from lossforge.evidence.judgement import Judged
from lossforge.report.numbers import points


def pair_notes(pairs: Iterable[Judged], roles: Mapping[str, Role], num_diverged: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each found loss and each control that it is held against besides the reference.

    Args:
        pairs: of :class:`lossforge.evidence.judgement.Judgement`.
        roles: of contenders, by name.
        num_diverged: trainings of each that are in no mean.
    """
    for row in pairs:
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
