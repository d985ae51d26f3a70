"""Specs are read from files; a file that cannot be read is told with a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lossforge.errors import SpecError
from lossforge.spec import RunSpec, read_spec, spec_from_text


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    (message,) = caught.value.problems
    return message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spec.yaml"


def test_a_file_is_read_by_function_and_by_class(path: Path, spec_text: str) -> None:
    path.write_text(spec_text)
    assert read_spec(path) == RunSpec.from_yaml(str(path)) == spec_from_text(spec_text)
    assert read_spec(path, ["seed=3"]) == RunSpec.from_yaml(path, ["seed=3"])


def test_messages_name_the_file_as_it_was_given(path: Path, spec_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(spec_text.replace("name: toy", "nmae: toy"))
    monkeypatch.chdir(path.parent)
    with pytest.raises(SpecError, match=r"^spec.yaml:1:1: 'name' is missing\nspec.yaml:1:1: nmae: unknown field"):
        read_spec(Path("spec.yaml"))


def test_a_byte_order_mark_and_windows_line_ends_are_read(path: Path, spec_text: str) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + spec_text.replace("\n", "\r\n").encode())
    assert read_spec(path) == spec_from_text(spec_text)


def test_a_file_that_is_not_there(path: Path) -> None:
    assert refusal(path) == f"{path}: no such file; check the path, or start from a preset ('lossforge presets list')"


def test_a_folder_and_a_folder_of_a_run(tmp_path: Path, spec_text: str) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: a folder, not a spec"
    (tmp_path / "spec.yaml").write_text(spec_text)
    assert refusal(tmp_path) == f"{tmp_path}: a folder, not a spec; did you mean {tmp_path / 'spec.yaml'}?"


def test_a_path_that_leads_through_a_file(path: Path) -> None:
    path.write_text("")
    assert refusal(path / "inner.yaml") == f"{path / 'inner.yaml'}: cannot be read: Not a directory"


@pytest.mark.parametrize(("name", "why"), [("x" * 300, "File name too long"), ("a\0b", "embedded null byte")])
def test_a_path_that_no_file_can_have(tmp_path: Path, name: str, why: str) -> None:
    assert refusal(tmp_path / name) == f"{tmp_path / name}: cannot be read: {why}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(path: Path) -> None:
    path.write_text("")
    path.chmod(0)
    assert refusal(path) == f"{path}: cannot be read: Permission denied"


def test_text_that_is_not_utf_8(path: Path) -> None:
    path.write_bytes(b"name: toy\ndescription: caf\xe9\n")
    assert refusal(path) == f"{path}:2:17: not UTF-8 text; save the file as UTF-8"


def test_a_file_that_is_too_large(path: Path) -> None:
    path.write_bytes(b"#" * 200_001)
    assert refusal(path) == f"{path}: larger than 200,000 bytes; this cannot be a spec"


def test_specs_and_presets_are_read_without_torch() -> None:
    code = (
        "import sys, lossforge.spec, lossforge.presets, lossforge.registry\n"
        "list(map(lossforge.presets.description, lossforge.presets.names()))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0
