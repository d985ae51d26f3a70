"""A library that a tracker needs, where it is not installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from lossforge.errors import PluginError


@contextlib.contextmanager
def needed(extras: Mapping[str, str]) -> Iterator[None]:
    """Have a missing library told with the command that installs it.

    Args:
        extras: top-level module to the extra of this distribution that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as cause:
        module = (cause.name or "").partition(".")[0]
        if module not in extras:
            raise
        command = f"pip install 'lossforge-trackers[{extras[module]}]'"
        raise PluginError(f"{module} is not installed; install it with: {command}") from cause
