"""Atomic writes and the one form of JSON."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from lossforge import files
from lossforge.files import append, cache_root, naming, to_json, write_atomically


def test_text_and_bytes_are_written(tmp_path):
    write_atomically(tmp_path / "text", "naïve\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "text").read_bytes() == "naïve\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"


def test_an_existing_file_is_replaced_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "spec.yaml"
    write_atomically(path, "a longer first content")
    write_atomically(path, "short")
    assert path.read_text() == "short"
    assert os.listdir(tmp_path) == ["spec.yaml"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "loss.json"
    write_atomically(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, "new")
    assert caught.value.filename == str(tmp_path / f".loss.json.{os.getpid()}.tmp")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["loss.json"]


def test_the_content_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "history", []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (events.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append("rename"), replace(self, to))[1])
    write_atomically(path, "x")
    assert events == ["sync", "rename", "sync"], "the file, then its name"
    assert path.read_text() == "x"


def test_appended_content_follows_what_is_there(tmp_path):
    append(tmp_path / "log", b"a\n")
    append(tmp_path / "log", b"b\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


def test_an_error_without_a_file_is_given_one(tmp_path):
    with pytest.raises(OSError, match=r"Input/output error: '.*log'"), naming(tmp_path / "log"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_error_keeps_the_file_it_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), naming(tmp_path / "log"):
        (tmp_path / "absent").read_bytes()


def test_caches_are_kept_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_root() == tmp_path / "a"
    monkeypatch.setenv("LOSSFORGE_CACHE", "")
    assert cache_root() == tmp_path / "b" / "lossforge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "lossforge"


def test_json_is_sorted_indented_and_ends_with_a_newline():
    assert to_json({"b": [1, 2.5], "a": None}) == '{\n  "a": null,\n  "b": [\n    1,\n    2.5\n  ]\n}\n'


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**53 + 1])
def test_json_numbers_read_back_exactly(value):
    back = json.loads(to_json({"x": value}))["x"]
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_not_a_number(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"x": value})
