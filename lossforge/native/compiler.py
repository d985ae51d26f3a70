"""C++ to a shared library, once a machine: compiled when it is first needed, and kept in a cache.

The name of a library is a hash of all that it follows from: sources, macros, flags, compiler and CPU. Whoever needs one
that another process is compiling compiles it, too; the first to finish is overwritten by an equal one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lossforge.files import cache_root

SOURCES = Path(__file__).parent

COMPILERS = ("c++", "g++", "clang++")
"""Tried in this order where the environment variable CXX names none."""

FLAGS = (
    "-std=c++17",
    "-O2",
    "-ffp-contract=fast",  # products and sums become fused ones
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
    "-shared",
    "-fPIC",
    "-pthread",
)


class CompilationError(Exception):
    """There is no compiler, or it does not compile our sources; the message says which, and what it printed."""


def compiled_library(source: str, macros: Mapping[str, str | int]) -> ctypes.CDLL:
    """Return the library of one of our sources, compiled for this CPU if it is not in the cache.

    Args:
        source: file name of the source, beside this module.
        macros: what is defined for it.

    Raises:
        CompilationError: it cannot be compiled or kept.
    """
    return _library(source, tuple(sorted(macros.items())))


def cache_folder() -> Path:
    """Return where libraries are kept."""
    return cache_root() / "native"


def compiler() -> list[str]:
    """Return the command of the C++ compiler: its path, and what CXX may add, as in ``ccache g++``.

    Raises:
        CompilationError: there is none.
    """
    chosen = os.environ.get("CXX")
    for name, *rest in [shlex.split(chosen)] if chosen else [[name] for name in COMPILERS]:
        if path := shutil.which(name):
            return [path, *rest]
    raise CompilationError(
        f"no C++ compiler found ({chosen or ', '.join(COMPILERS)}); install one, such as g++, or name it in CXX"
    )


def compiler_version() -> str:
    """Return what the compiler calls itself.

    Raises:
        CompilationError: there is none.
    """
    done = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def cpu_name() -> str:
    """Return the name of this CPU's model, or of its architecture where the system tells no other."""
    named = [line.partition(":")[2].strip() for line in _cpu() if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@functools.lru_cache(maxsize=256)
def _library(source: str, macros: tuple[tuple[str, str | int], ...]) -> ctypes.CDLL:
    command = [*compiler(), *FLAGS, cpu_flag(), *(f"-D{name}={value}" for name, value in macros)]
    try:
        path = cache_folder() / f"{Path(source).stem}-{_key(source, command)}.so"
        if not path.exists():
            _compile([*command, str(SOURCES / source)], path)
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # it is damaged, as by a crash of the machine
            path.unlink()
            _compile([*command, str(SOURCES / source)], path)
            return ctypes.CDLL(str(path))
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        raise CompilationError(
            f"the compiled code cannot be kept or loaded: {error}; LOSSFORGE_CACHE chooses where"
        ) from error


def _compile(command: list[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # In the same folder, so that the rename is atomic; of another name, so that nobody loads half a library.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".compiling-") as folder:
        unfinished = Path(folder) / path.name
        done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True, check=False)
        if done.returncode:
            first = "\n".join(done.stderr.strip().splitlines()[:10])
            raise CompilationError(f"{command[0]} failed with {done.returncode}:\n{first}")
        unfinished.replace(path)


def cpu_flag() -> str:
    """Return the flag that has code made for the CPU that it is compiled on."""
    return "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


def _key(source: str, command: list[str]) -> str:
    parts = [*command, *_cpu()]
    for word in command:  # the compiler, by way of others or not
        if (found := shutil.which(word)) is not None:
            stat = Path(found).resolve().stat()
            parts += [str(Path(found).resolve()), str(stat.st_size), str(stat.st_mtime_ns)]
    parts += [path.read_text() for path in (SOURCES / source, *sorted(SOURCES.glob("*.h")))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _cpu() -> list[str]:
    """Return what tells this CPU from others that may share the cache."""
    described = [platform.machine(), platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        first = cpuinfo.read_text().split("\n\n")[0].splitlines()
        described += [line for line in first if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return described
