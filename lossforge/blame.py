"""The code of a plugin may raise anything, and whatever it raises is told as that plugin's fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lossforge.errors import PluginLoadError
from lossforge.signals import signals_seen


@contextlib.contextmanager
def blamed(what: str, remedy: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Have whatever is raised become a PluginLoadError, ``what: the error; remedy``.

    A KeyboardInterrupt alone stays one, where a signal has come, and so do the errors of ``but``.
    """
    with signals_seen() as signals:
        try:
            yield
        except but:
            raise
        except BaseException as cause:  # a SystemExit of a plugin must not end the command
            if isinstance(cause, KeyboardInterrupt) and signals:
                raise
            raise PluginLoadError(f"{what}: {said(cause)}; {remedy}") from cause


def said(error: BaseException) -> str:
    """Return an error's class and text, as Python prints them, whatever it does when its text is asked for."""
    try:
        text = str(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    except KeyboardInterrupt:
        raise
    except BaseException as cause:  # noqa: BLE001  this, too, is code of the plugin
        return f"{type(error).__name__}, whose text raises {type(cause).__name__}"
