"""Distributions that are really built and installed, into an environment that all tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from filelock import FileLock

from lossforge.registry import PLUGINS_VARIABLE


@dataclass(frozen=True)
class Outcome:
    """What a process came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment on top of the running one, and further folders on the path."""

    folder: Path
    path: tuple[Path, ...] = field(default=())

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *arguments: str | Path) -> None:
        """Run pip install, without dependencies: those are in the running environment, and no network is needed."""
        offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", *offline, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, *command: str | Path, plugins: str | None = None, cwd: Path | None = None) -> Outcome:
        """Run a program of the environment; ``plugins`` are the distributions to use, None all."""
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self.path)), "COLUMNS": "100"}
        variables.pop(PLUGINS_VARIABLE, None)
        if plugins is not None:
            variables[PLUGINS_VARIABLE] = plugins
        program, *rest = command
        done = subprocess.run(
            [self.python.parent / program, *rest], env=variables, cwd=cwd, capture_output=True, text=True, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def lossforge(self, *arguments: str | Path, plugins: str | None = None, cwd: Path | None = None) -> Outcome:
        """Run a command as a user would."""
        code = "import sys; from lossforge.cli import main; sys.argv[0] = 'lossforge'; main()"
        return self.run("python", "-P", "-c", code, *arguments, plugins=plugins, cwd=cwd)


def created(folder: Path) -> Environment:
    """Return a new environment that sees all packages of the running one."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    below = json.dumps(sysconfig.get_path("purelib"))
    (site / "below.pth").write_text(f"import site; site.addsitedir({below})\n")
    return Environment(folder)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is made once for all processes of a test session; it is locked."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "plugins"
    folder.mkdir(exist_ok=True)
    yield folder


def once(folder: Path, name: str, make: Any) -> Path:
    """Return ``folder/name``, made by ``make(path)`` if no process of this session has made it yet."""
    with FileLock(folder / f"{name}.lock"):
        path, done = folder / name, folder / f"{name}.done"
        if not done.exists():
            make(path)
            done.touch()
    return path


PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "2.5"
dependencies = {dependencies}

[tool.setuptools]
py-modules = {modules}
"""


def write_source(folder: Path, name: str, components: Mapping[str, str], dependencies: tuple[str, ...] = ()) -> Path:
    """Write the source tree of a distribution; ``components``: code by ``kind.type``, each a module with a class Toy."""
    stem = name.replace("-", "_")
    modules = {point: f"{stem}_{point.partition('.')[2]}" for point in components}
    tree = folder / name
    tree.mkdir(parents=True)
    text = PYPROJECT.format(
        name=name, dependencies=json.dumps(dependencies), modules=json.dumps(list(modules.values()))
    )
    for point, module in modules.items():
        kind, _, type_name = point.partition(".")
        header = f'[project.entry-points."lossforge.{kind}"]\n'
        text += ("" if header in text else header) + f'{type_name} = "{module}:Toy"\n'
        (tree / f"{module}.py").write_text(dedent(components[point]))
    (tree / "pyproject.toml").write_text(text)
    return tree
