"""A user's machine: an environment of its own with lossforge installed from a wheel, and a folder to work in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TERMINAL = re.compile("\x1b|\r")
"""What only a terminal understands."""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Machine:
    """An environment and a working folder."""

    environment: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def __call__(self, *command: str | Path, code: int = 0, **variables: str) -> Done:
        """Run a command of the environment to its end, its output redirected, and check its exit code."""
        process = self.start(*command, **variables)
        out, err = process.communicate(timeout=500)
        assert process.returncode == code, f"{command} left with {process.returncode}\n{out}\n{err}"
        assert not TERMINAL.search(out + err), command
        return Done(process.returncode, out, err)

    def start(self, *command: str | Path, **variables: str) -> subprocess.Popen[str]:
        program, *arguments = map(str, command)
        unset = ("LOSSFORGE_PLUGINS", "PYTHONPATH", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        ours = {name: value for name, value in os.environ.items() if name not in unset}
        return subprocess.Popen(
            [str(self.environment / "bin" / program), *arguments],
            cwd=self.folder,
            env={**ours, "COLUMNS": "100", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, process: subprocess.Popen[str], number: signal.Signals, once: Path) -> Done:
        """Send a signal once a file is there that holds a line, and wait for the end."""
        while not (once.is_file() and once.read_bytes().count(b"\n")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
        return Done(process.returncode, out, err)

    def install(self, *sources: str | Path, editable: bool = False) -> None:
        """Install distributions that need nothing but what is there; nothing is fetched."""
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        options = ["--no-index", "--no-deps", "--no-build-isolation"]
        named = [part for source in sources for part in (["--editable", source] if editable else [source])]
        subprocess.run([*pip, *options, *named], cwd=self.folder, check=True)

    def uninstall(self, name: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", self.python, "uninstall", "--quiet", "--yes", name]
        subprocess.run(pip, cwd=self.folder, check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The libraries are those of this environment, through a path file; lossforge itself is not."""
    home = tmp_path_factory.mktemp("machine")
    source, environment, folder = (home / name for name in ("source", "environment", "work"))
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "lossforge", source / "lossforge", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # With addsitedir, libraries that are installed as path files themselves are found as well; named to come last.
    (site / "zz_libraries.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    folder.mkdir()
    machine = Machine(environment, folder)
    machine.install(source)
    return machine
