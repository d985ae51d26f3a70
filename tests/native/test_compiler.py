"""Compiling: what comes out of the cache, what does not, and what is said where it cannot be done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lossforge.native import CompilationError, cache_folder, compiled_library, compiler

MACROS = {"ACTIVATION": "Tanh", "WIDTHS": "2", "HAS_BIAS": 1, "NUM_CLASSES": 2, "COMPARES": 1, "LOG_FEATURES": 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache, and nothing loaded yet."""
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiler._library.cache_clear()
    yield tmp_path / "native"
    compiler._library.cache_clear()


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch) -> Path:
    """A compiler that notes each call and then does what the real one does."""
    script, calls = tmp_path / "cxx", tmp_path / "calls"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {compiler.compiler()[0]} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    calls.touch()
    monkeypatch.setenv("CXX", str(script))
    return calls


def num_calls(calls: Path) -> int:
    return len(calls.read_text().splitlines())


class TestCache:
    def test_is_filled_once(self, cache, recorder):
        first = compiled_library("perceptron.cpp", MACROS)
        assert first.num_parameters() == 2 * 2 + 2 + 2
        assert compiled_library("perceptron.cpp", dict(reversed(MACROS.items()))) is first
        compiler._library.cache_clear()  # as in another process
        assert compiled_library("perceptron.cpp", MACROS).num_parameters() == 8
        assert num_calls(recorder) == 1
        assert [path.suffix for path in cache.iterdir()] == [".so"]
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700

    def test_knows_macros_apart(self, cache, recorder):
        compiled_library("perceptron.cpp", MACROS)
        assert compiled_library("perceptron.cpp", {**MACROS, "WIDTHS": "3"}).num_parameters() == 3 * 2 + 3 + 3
        assert num_calls(recorder) == 2
        assert len(list(cache.iterdir())) == 2

    @pytest.mark.parametrize("changed", ["FLAGS", "_cpu", "compiler"])
    def test_knows_builds_apart(self, cache, recorder, changed, monkeypatch):
        compiled_library("perceptron.cpp", MACROS)
        compiler._library.cache_clear()
        if changed == "FLAGS":
            monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DOTHER"))
        elif changed == "_cpu":
            monkeypatch.setattr(compiler, "_cpu", lambda: ["another machine"])
        else:
            os.utime(recorder.with_name("cxx"), (0, 0))
        compiled_library("perceptron.cpp", MACROS)
        assert num_calls(recorder) == 2

    def test_stands_where_the_environment_says(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "a"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
        assert cache_folder() == tmp_path / "a" / "native"
        monkeypatch.delenv("LOSSFORGE_CACHE")
        assert cache_folder() == tmp_path / "b" / "lossforge" / "native"
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        assert cache_folder() == Path.home() / ".cache" / "lossforge" / "native"


def test_a_compiler_by_way_of_another_command(cache, recorder, monkeypatch):
    monkeypatch.setenv("CXX", f"{recorder.with_name('cxx')} -DBESIDE=1")
    assert compiled_library("perceptron.cpp", MACROS).num_parameters() == 8
    assert recorder.read_text().startswith("-DBESIDE=1 -std=c++17")


class TestWhatCannotBeDone:
    def test_no_compiler(self, cache, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(CompilationError, match=r"no C\+\+ compiler found \(c\+\+, g\+\+, clang\+\+\)"):
            compiled_library("perceptron.cpp", MACROS)

    def test_a_compiler_that_is_named_and_not_there(self, cache, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        with pytest.raises(CompilationError, match=r"no C\+\+ compiler found \(no-such-compiler\)"):
            compiled_library("perceptron.cpp", MACROS)

    def test_code_that_does_not_compile(self, cache):
        with pytest.raises(CompilationError, match=r"failed with 1:\n(.*\n)*.*NoSuchActivation"):
            compiled_library("perceptron.cpp", {**MACROS, "ACTIVATION": "NoSuchActivation"})
        assert list(cache.iterdir()) == []

    def test_a_cache_that_cannot_be_written(self, cache):
        cache.parent.joinpath("native").write_text("a file where the folder should be")
        with pytest.raises(CompilationError, match=str(cache)):
            compiled_library("perceptron.cpp", MACROS)

    def test_a_library_that_is_damaged_is_compiled_again(self, cache, monkeypatch):
        compile_it = compiler._compile
        damaged: list[Path] = []

        def first_half(command, path):
            if damaged:
                compile_it(command, path)
            else:
                damaged.append(path)
                path.write_bytes(b"no library")

        monkeypatch.setattr(compiler, "_compile", first_half)
        cache.mkdir()
        assert compiled_library("perceptron.cpp", MACROS).num_parameters() == 8
        assert len(damaged) == 1

    def test_no_home(self, monkeypatch):
        for name in ("LOSSFORGE_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)

        def homeless(path: Path) -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "expanduser", homeless)
        compiler._library.cache_clear()
        with pytest.raises(
            CompilationError, match=r"Could not determine home directory\.; LOSSFORGE_CACHE chooses where"
        ):
            compiled_library("perceptron.cpp", MACROS)
