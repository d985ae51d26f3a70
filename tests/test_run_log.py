"""The log of a run: what goes into it, what leaves it alone, and what a full disk does to it."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path

import pytest

from lossforge.errors import SearchError
from lossforge.run_log import logged_to

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) (.*)")


def entries(path: Path) -> list[tuple[str, str]]:
    found = [LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [match.groups() for match in found if match]


def test_it_takes_what_lossforge_logs_from_info_on_and_appends(tmp_path):
    path, logger = tmp_path / "run.log", logging.getLogger("lossforge.search")
    for text in ("first", "second"):
        with logged_to(path):
            logger.info(text)
            logger.debug("not this")
            logging.getLogger("another").error("nor this")
        logger.info("nor what comes after")
    assert entries(path) == [("INFO", text) for text in ("first", "done", "second", "done")]


def test_the_level_and_the_handlers_are_as_before(tmp_path):
    logger = logging.getLogger("lossforge")
    before = logger.level, list(logger.handlers)
    with logged_to(tmp_path / "run.log"):
        assert logger.isEnabledFor(logging.INFO)
    assert (logger.level, logger.handlers) == before


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (SearchError("nothing was found"), "stopped: nothing was found"),
        (OSError(errno.EROFS, "Read-only file system"), "stopped: [Errno 30] Read-only file system"),
    ],
)
def test_what_ends_a_run_is_told_in_a_line(tmp_path, error, told):
    with pytest.raises(type(error)), logged_to(tmp_path / "run.log"):
        raise error
    assert (tmp_path / "run.log").read_text().count("\n") == 1
    assert entries(tmp_path / "run.log") == [("INFO", told)]


def test_a_crash_comes_with_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), logged_to(tmp_path / "run.log"):
        1 / 0  # noqa: B018  it is the crash
    text = (tmp_path / "run.log").read_text()
    assert "INFO crashed\nTraceback (most recent call last):" in text
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_a_path_that_is_not_text_can_be_logged(tmp_path, monkeypatch):
    # Else pytest keeps the message, which cannot be sent from one process of it to another.
    monkeypatch.setattr(logging.getLogger("lossforge"), "propagate", False)
    with logged_to(tmp_path / "run.log"):
        logging.getLogger("lossforge").info("in %s", b"\xff".decode("utf-8", "surrogateescape"))
    assert entries(tmp_path / "run.log") == [("INFO", "in \\udcff"), ("INFO", "done")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_once_and_names_the_file(tmp_path):
    (tmp_path / "run.log").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught, logged_to(tmp_path / "run.log"):
        logging.getLogger("lossforge").info("x")
    assert caught.value.filename == str(tmp_path / "run.log")
