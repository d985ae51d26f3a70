"""Run directories: begun where nothing is, opened again where a run is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lossforge import registry, run_directory
from lossforge.environment import PACKAGES
from lossforge.errors import RunDirectoryError
from lossforge.run_directory import RunDirectory
from lossforge.spec import RunSpec, spec_from_text

SPEC = """\
name: tiny
device: cpu
search:
  parameterization: classwise_mlp
  sampler: mixture
  objective: ranking_consistency
  strategy: random_search
"""


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return spec_from_text(SPEC)


class TestUnused:
    def test_the_name_itself_where_nothing_is(self, tmp_path):
        assert run_directory.unused(tmp_path / "runs", "edl") == tmp_path / "runs" / "edl"
        assert list(tmp_path.iterdir()) == [], "it only looks"

    def test_the_first_free_number(self, tmp_path):
        for name in ("edl", "edl-2", "edl-4"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "something").touch()
        assert run_directory.unused(tmp_path, "edl") == tmp_path / "edl-3"

    def test_an_empty_folder_is_free_and_a_file_is_not(self, tmp_path):
        (tmp_path / "edl").touch()
        (tmp_path / "edl-2").mkdir()
        assert run_directory.unused(tmp_path, "edl") == tmp_path / "edl-2"

    def test_hidden_files_count(self, tmp_path):
        (tmp_path / "edl").mkdir()
        (tmp_path / "edl" / ".precious").touch()
        assert run_directory.unused(tmp_path, "edl") == tmp_path / "edl-2"


class TestBegin:
    def test_it_makes_the_folder_with_spec_and_manifest(self, tmp_path, spec):
        directory = run_directory.begin(tmp_path / "some" / "where", spec)
        assert directory == RunDirectory(tmp_path / "some" / "where")
        assert sorted(path.name for path in directory.path.iterdir()) == [
            ".lock",
            "checkpoint",
            "manifest.json",
            "spec.yaml",
        ]
        assert (directory.checkpoint / "spec.yaml").read_bytes() == directory.spec.read_bytes()
        assert list(directory.path.parent.iterdir()) == [directory.path]
        assert RunSpec.from_yaml(directory.spec) == spec
        assert json.loads(directory.manifest.read_text())["device"] == "cpu"

    def test_the_manifest_names_the_command_and_the_plugins(self, tmp_path, spec, monkeypatch):
        offers = {
            "losses": [
                registry.Offer("losses", "b", "m:B", "plug-b", "2"),
                registry.Offer("losses", "c", "m:C", "plug-b", "2"),
                registry.Offer("losses", "ce", "lossforge.m:CE", "lossforge", "1"),
            ],
            "models": [registry.Offer("models", "a", "m:A", "plug-a", "1")],
        }
        monkeypatch.setattr("sys.argv", ["/somewhere/bin/lossforge", "run", "my spec.yaml"])
        monkeypatch.setattr(registry, "offers", lambda kind: offers.get(kind, ()))
        manifest = json.loads(run_directory.begin(tmp_path / "run", spec).manifest.read_text())
        assert manifest["command"] == ["lossforge", "run", "my spec.yaml"]
        assert manifest["plugins"] == [
            {"distribution": "plug-a", "version": "1", "components": {"models": ["a"]}},
            {"distribution": "plug-b", "version": "2", "components": {"losses": ["b", "c"]}},
        ]
        assert set(PACKAGES) < manifest.keys()

    def test_an_empty_folder_is_taken(self, tmp_path, spec):
        assert run_directory.begin(tmp_path, spec).spec.is_file()

    def test_a_run_is_never_begun_twice(self, tmp_path, spec):
        run_directory.begin(tmp_path / "a run", spec)
        with pytest.raises(RunDirectoryError, match=r"holds a run already.*lossforge resume '.*/a run'$"):
            run_directory.begin(tmp_path / "a run", spec)

    def test_other_files_are_left_alone(self, tmp_path, spec):
        (tmp_path / ".precious").write_text("precious")
        with pytest.raises(RunDirectoryError, match="is not empty; choose another directory with --out"):
            run_directory.begin(tmp_path, spec)
        assert [path.name for path in tmp_path.iterdir()] == [".precious"]

    @pytest.mark.parametrize("below", [(), ("run",)], ids=["a file", "below a file"])
    def test_a_file_is_no_place(self, tmp_path, spec, below):
        file = tmp_path / "file"
        file.write_text("precious")
        with pytest.raises(RunDirectoryError, match="--out"):
            run_directory.begin(file.joinpath(*below), spec)
        assert file.read_text() == "precious"

    def test_what_the_system_refuses_is_told(self, tmp_path, spec):
        with pytest.raises(RunDirectoryError, match="cannot be written: File name too long; choose another"):
            run_directory.begin(tmp_path / ("x" * 300), spec)

    def test_a_full_disk_is_told(self, tmp_path, spec, monkeypatch):
        def refuse(path: Path, content: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(run_directory, "write_atomically", refuse)
        with pytest.raises(RunDirectoryError, match="No space left on device"):
            run_directory.begin(tmp_path / "run", spec)


class TestReopen:
    def test_a_run(self, tmp_path, spec):
        begun = run_directory.begin(tmp_path / "run", spec)
        assert run_directory.reopen(tmp_path / "run") == begun

    @pytest.mark.parametrize("name", ["empty", "missing", "file"])
    def test_anything_else_is_refused(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").touch()
        with pytest.raises(RunDirectoryError, match=f"{name}: not a run directory"):
            run_directory.reopen(tmp_path / name)


def test_times_are_appended(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.record_time(generation=0, seconds=0.5)
    directory.record_time(loss="gce", seed_index=1, seconds=2.0)
    assert [json.loads(line) for line in directory.timing.read_text().splitlines()] == [
        {"generation": 0, "seconds": 0.5},
        {"loss": "gce", "seed_index": 1, "seconds": 2.0},
    ]


class TestBeginning:
    def test_an_empty_folder_behind_a_link_is_taken(self, tmp_path, spec):
        (tmp_path / "disk").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "disk")
        run_directory.begin(tmp_path / "run", spec)
        assert (tmp_path / "disk" / "spec.yaml").is_file()

    def test_what_fails_leaves_nothing(self, tmp_path, spec, monkeypatch):
        def refuse(path: Path, content: str) -> None:
            if path.name == "spec.yaml":
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(run_directory, "write_atomically", refuse)
        with pytest.raises(RunDirectoryError, match="No space left on device"):
            run_directory.begin(tmp_path / "run", spec)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "given").mkdir()
        with pytest.raises(RunDirectoryError, match="No space left on device"):
            run_directory.begin(tmp_path / "given", spec)
        assert [child.name for child in (tmp_path / "given").iterdir()] == [".lock"]


class TestOccupied:
    def test_two_at_once_are_kept_apart(self, tmp_path, spec):
        directory = run_directory.begin(tmp_path / "run", spec)
        refused = pytest.raises(RunDirectoryError, match="run: another process is at work in this run")
        with directory.occupied(), refused, RunDirectory(directory.path).occupied():
            pass
        with directory.occupied():
            pass

    def test_what_a_killed_process_left_is_cleared(self, tmp_path, spec):
        directory = run_directory.begin(tmp_path / "run", spec)
        half = directory.path / "training" / "gce" / ".seed-0.json.123.tmp"
        half.parent.mkdir(parents=True)
        half.write_text("{")
        directory.timing.write_text('{"generation": 0, "seconds": 1.0}\n{"genera')
        with directory.occupied():
            directory.record_time(generation=1, seconds=2.0)
        assert not half.exists()
        assert [json.loads(line)["generation"] for line in directory.timing.read_text().splitlines()] == [0, 1]

    def test_a_file_that_cannot_be_written_is_told_with_the_way_on(self, tmp_path, spec):
        directory = run_directory.begin(tmp_path / "a run", spec)
        with pytest.raises(RunDirectoryError) as caught, directory.occupied():
            raise OSError(28, "No space left on device", str(directory.history))
        assert str(caught.value) == (
            f"{directory.history}: No space left on device; what was saved before is whole: once this is mended, "
            f"go on with: lossforge resume '{directory.path}'"
        )

    def test_an_error_of_another_place_is_left_alone(self, tmp_path, spec):
        directory = run_directory.begin(tmp_path / "run", spec)
        with pytest.raises(FileNotFoundError), directory.occupied():
            (tmp_path / "images").read_bytes()


def test_a_run_of_an_earlier_format_cannot_be_compared(tmp_path, spec):
    directory = run_directory.begin(tmp_path / "run", spec)
    (directory.checkpoint / "spec.yaml").unlink()
    with pytest.raises(RunDirectoryError, match=r"checkpoint/spec\.yaml: No such file .*; it says what the run began"):
        run_directory.refuse_changed(directory, spec)


def test_a_run_begun_without_back_ends_is_told_apart_from_a_changed_one(tmp_path, spec):
    """Its user has changed nothing, and cannot undo anything."""
    directory = run_directory.begin(tmp_path / "run", spec)
    begun_with = directory.checkpoint / "spec.yaml"
    lines = begun_with.read_text().splitlines(keepends=True)
    begun_with.write_text("".join(line for line in lines if not line.startswith("  backend:")))
    assert begun_with.read_text() != "".join(lines)
    with pytest.raises(
        RunDirectoryError, match=r"begun by a lossforge without search\.backend, .* go on with that version"
    ):
        run_directory.refuse_changed(directory, spec)


@pytest.mark.parametrize("before", ["  generations_per_launch: 16\n", ""])
def test_a_run_may_go_on_with_launches_of_another_size(tmp_path, spec, before):
    """They change no number; a run may also have been begun before there were any."""
    directory = run_directory.begin(tmp_path / "run", spec)
    begun_with = directory.checkpoint / "spec.yaml"
    text = begun_with.read_text()
    other = re.sub(r"^  generations_per_launch: .*\n", before, text, flags=re.MULTILINE)
    assert other != text
    begun_with.write_text(other)
    run_directory.refuse_changed(directory, spec)


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("given", [False, True], ids=["a new folder", "a folder that is there"])
@pytest.mark.parametrize("name", ["manifest.json", "spec.yaml"])
def test_a_start_that_was_killed_can_be_repeated(tmp_path, spec, monkeypatch, given, name):
    """Before the spec is there nothing has begun, whatever else lies there already."""
    path, write = tmp_path / "run", run_directory.write_atomically
    if given:
        path.mkdir()

    def kill(file: Path, content: str) -> None:
        if file == path / name:
            raise KilledError
        write(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "write_atomically", kill)
        with pytest.raises(KilledError):
            run_directory.begin(path, spec)
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        run_directory.reopen(path)
    assert run_directory.unused(tmp_path, "run") == path
    directory = run_directory.begin(path, spec)
    with directory.occupied():
        pass
    assert sorted(child.name for child in path.iterdir()) == [".lock", "checkpoint", "manifest.json", "spec.yaml"]
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_begin_at_once_one_is_refused(tmp_path, spec, monkeypatch):
    """The other has begun between the look and the lock."""
    real, looks = run_directory.refuse_occupied, []

    def look(path: Path) -> None:
        real(path)
        if not looks:
            looks.append(path)
            run_directory.begin(path, spec)

    monkeypatch.setattr(run_directory, "refuse_occupied", look)
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        run_directory.begin(tmp_path / "run", spec)
    assert RunSpec.from_yaml(tmp_path / "run" / "spec.yaml") == spec


def test_the_lock_is_free_at_once_after_an_error(tmp_path, spec):
    """Also while the error, and with it the frame that held the lock, is still alive."""
    directory = run_directory.begin(tmp_path / "run", spec)
    try:
        with directory.occupied():
            raise OSError(28, "No space left on device", str(directory.history))
    except RunDirectoryError:
        with RunDirectory(directory.path).occupied():
            pass
