"""``run.log``: what happened in a run and when, for those who were not there."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.files import naming

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger("lossforge")


class _File(logging.FileHandler):
    """A log file whose writes fail aloud, as those of every other file of a run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; the error of a failed write names the file."""
        with naming(Path(self.baseFilename)):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the error that is being handled, which logging would only print."""
        raise


def _tell(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        _log.info("interrupted")
    elif isinstance(error, LossforgeError | OSError):
        _log.info("stopped: %s", error)
    else:
        _log.info("crashed", exc_info=error)


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append what lossforge logs, from INFO on, to the file at ``path``, and how the block ends."""
    file = _File(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter(_FORMAT))
    # With a handler of ours logging no longer shows warnings on stderr by itself.
    handlers = [file] if _log.hasHandlers() or logging.lastResort is None else [file, logging.lastResort]
    level = _log.level
    _log.setLevel(min(logging.INFO, level or logging.INFO))
    for handler in handlers:
        _log.addHandler(handler)
    try:
        yield
        _log.info("done")
    except BaseException as error:  # also an exit that a plugin calls for: whatever ends a run is told, and goes on
        with contextlib.suppress(OSError):  # if the log cannot be written either: the error itself says more
            _tell(error)
        raise
    finally:
        for handler in handlers:
            _log.removeHandler(handler)
        _log.setLevel(level)
        with contextlib.suppress(OSError):  # a write that failed was told when it was made
            file.close()
