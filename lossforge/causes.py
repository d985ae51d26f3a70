"""What an error comes from."""

from __future__ import annotations

from collections.abc import Iterator


def causes(
    error: BaseException | None, *, contexts: bool = True, until: BaseException | None = None
) -> Iterator[BaseException]:
    """Yield an error and what it comes from, each once, however they refer to each other.

    Args:
        error: the last one.
        contexts: whether what was being handled is followed, too, where no cause is named and the context is not
            suppressed, as in a traceback; and the members of groups.
        until: an error that is left out, with what it comes from: one that was there before.
    """
    waiting, seen = [error], {id(until)}
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if contexts and isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        follows = contexts and each.__cause__ is None and not each.__suppress_context__
        waiting.append(each.__context__ if follows else each.__cause__)
