"""What an error comes from, in the order of a traceback."""

from __future__ import annotations

import itertools

from lossforge.causes import causes


def linked(*errors: BaseException, by: str = "__cause__") -> BaseException:
    for error, source in itertools.pairwise(errors):
        setattr(error, by, source)
    return errors[0]


def test_causes_come_before_contexts_and_suppressed_ones_not_at_all():
    first, cause, context = ValueError(), KeyError(), OSError()
    linked(first, context, by="__context__")
    assert list(causes(first)) == [first, context]
    assert list(causes(first, contexts=False)) == [first]
    linked(first, cause)
    assert list(causes(first)) == [first, cause]
    first.__cause__ = None  # as ``raise ... from None``
    assert list(causes(first)) == [first]
    assert list(causes(None)) == []


def test_each_comes_once_in_a_cycle():
    first, second = ValueError(), KeyError()
    assert list(causes(linked(first, second, first))) == [first, second]
    assert list(causes(linked(second, second, by="__context__"))) == [second, first]


def test_members_of_groups_are_among_them():
    member = KeyboardInterrupt()
    group = BaseExceptionGroup("several", [member])
    assert set(causes(group)) == {group, member}
    assert list(causes(group, contexts=False)) == [group]


def test_what_was_there_before_is_left_out():
    first, before = ValueError(), KeyboardInterrupt()
    assert list(causes(linked(first, before, by="__context__"), until=before)) == [first]
