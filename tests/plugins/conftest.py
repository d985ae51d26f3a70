"""Distributions that are really built by pip and setuptools and installed, some of which misbehave."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from filelock import FileLock

from lossforge.registry import PLUGINS_VARIABLE

OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
"""Dependencies are those of the running environment, and no network is needed."""

DRIVER = """
import contextlib, io, json, sys
from lossforge.cli import main
outcomes = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main(arguments, prog_name="lossforge")
        except SystemExit as left:
            code = left.code or 0
    outcomes.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(outcomes))
"""


BUILDER = """
import os, sys
from setuptools import build_meta
what, wheels, *trees = sys.argv[1:]
for tree in trees:
    os.chdir(tree)
    getattr(build_meta, f"build_{what}")(wheels)
"""


def built(folder: Path, *trees: Path, what: str = "wheel") -> list[Path]:
    """Return the wheels of source trees, in order, made by what pip has make them, but all in one process."""
    made = []
    done = subprocess.run([sys.executable, "-c", BUILDER, what, folder, *trees], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for tree in trees:
        made += folder.glob(f"{tree.name.replace('-', '_')}-*.whl")
    assert len(made) == len(trees)
    return made


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment on top of the running one, with further folders on its path."""

    folder: Path
    path: tuple[Path, ...] = ()
    plugins: str | None = None
    """Distributions to use, as the environment variable lists them; None: all."""

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def using(self, *plugins: str) -> Environment:
        return replace(self, plugins=",".join(plugins))

    def install(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", *OFFLINE, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> Outcome:
        """Run Python with these arguments."""
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self.path)), "COLUMNS": "100"}
        variables.pop(PLUGINS_VARIABLE, None)
        if self.plugins is not None:
            variables[PLUGINS_VARIABLE] = self.plugins
        done = subprocess.run(
            [self.python, "-P", *arguments], env=variables, cwd=cwd, capture_output=True, text=True, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def lossforge(self, *arguments: str | Path, cwd: Path | None = None) -> Outcome:
        """Run a command in a process of its own, as a user does."""
        return self.run("-c", "from lossforge.cli import main; main()", *arguments, cwd=cwd)

    def commands(self, *commands: tuple[str, ...], cwd: Path) -> list[Outcome]:
        """Run several commands, all in one process."""
        done = self.run("-c", DRIVER, json.dumps(commands), cwd=cwd)
        assert done.code == 0, done.err
        return [Outcome(*each) for each in json.loads(done.out)]


def created(folder: Path) -> Environment:
    """Return a new environment that sees all packages of the running one."""
    venv.create(folder, with_pip=False, symlinks=True)
    below = sysconfig.get_path("purelib")
    site = folder / Path(below).relative_to(sys.prefix)
    (site / "below.pth").write_text(f"import site; site.addsitedir({below!r})\n")
    return Environment(folder)


@pytest.fixture
def new_environment() -> Callable[[Path], Environment]:
    """``new_environment(folder)`` is one with nothing installed."""
    return created


@pytest.fixture
def editable_wheels() -> Callable[..., list[Path]]:
    """``editable_wheels(folder, *trees)`` makes those that ``pip install --editable`` installs."""
    return functools.partial(built, what="editable")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``once(name, make)`` returns a folder that the first process of this session to need it has made."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        with FileLock(base / f"{name}.lock"):
            path, done = base / name, base / f"{name}.done"
            if not done.exists():
                path.mkdir()
                make(path)
                done.touch()
        return path

    return folder


MUTATION = '''
{before}
from typing import ClassVar, Literal

from lossforge.interfaces import MutationOperator


class Toy(MutationOperator):
    """Steps of no use."""

    type: Literal["{type}"] = "{type}"
    {extra}

    def init(self, num, dim, generator):
        return {{}}

    def mutate(self, parents_PD, sigma, state, generator):
        return parents_PD + sigma, state
'''

FAMILY = '''
from typing import Literal

from lossforge.parameterizations import Power


class Toy(Power):
    """Another name for Power."""

    type: Literal["toy_family"] = "toy_family"
'''

WRONG_BASE = '''
from typing import Literal

from lossforge.interfaces import LocalLoss


class Toy(LocalLoss):
    """A loss that is registered as a mutation."""

    type: Literal["toy_base"] = "toy_base"

    def of_log_prob(self, log_prob):
        return -log_prob
'''


def mutation(type_name: str, before: str = "", extra: str = "") -> str:
    return MUTATION.format(type=type_name, before=before, extra=extra)


MEDDLING = """
import os, random, sys, torch
os.chdir("/")
sys.stdout.close()
sys.stderr = None
torch.set_default_dtype(torch.float64)
random.seed(1)
"""

SOURCES = {
    "toy-missing": {"mutations.toy_missing": "import a_package_nobody_has.inner"},
    "toy-bad": {
        "mutations.toy_import": "raise ImportError('libfoo is not there')",
        "mutations.toy_assert": "assert False, 'wrong torch'",
        "mutations.toy_exit": "raise SystemExit('no licence')",
        "mutations.toy_interrupt": "raise KeyboardInterrupt",
        "mutations.toy_generator": "raise GeneratorExit",
        "mutations.toy_loud": mutation("toy_loud", before="import os; print('{hello}'); os.write(1, b'world\\n')"),
        "mutations.toy_slow": mutation("toy_slow", before="import time; time.sleep(2.5)"),
        "mutations.toy_old": mutation("toy_old", extra="api_version: ClassVar[int] = 0"),
        "mutations.toy_base": WRONG_BASE,
        "mutations.toy_mutable": mutation("toy_mutable", extra="lengths: list[float] = [0.1, 0.2]"),
    },
    "toy-first": {"mutations.toy_contested": mutation("toy_contested")},
    "toy-second": {"mutations.toy_contested": mutation("toy_contested")},
    "toy-meddler": {"mutations.toy_meddles": mutation("toy_meddles", before=MEDDLING)},
    "toy-shadow": {"mutations.gaussian": mutation("gaussian")},
    "toy-crash": {
        "mutations.toy_crashes": "import ctypes; ctypes.string_at(0)",
        "mutations.toy_quits": "import ctypes; ctypes.CDLL(None)._exit(9)",
        "mutations.toy_survives": mutation("toy_survives"),
    },
    "toy-death": {
        "mutations.toy_dies": "import os; os._exit(9)",
        "mutations.toy_hangs": "import time; time.sleep(3600)",
        "mutations.toy_lives": mutation("toy_lives"),
    },
}
"""Code of the components of each distribution that misbehaves."""

GOOD = {"mutations.toy_good": mutation("toy_good"), "parameterizations.toy_family": FAMILY}

DEPENDENCIES = ("A.Package_nobody-has[fast]>=1.12", "torch<1", "nothing; python_version < '3'")
"""Those of toy-missing."""

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


def write_source(folder: Path, name: str, components: Mapping[str, str]) -> Path:
    """Write a distribution's source tree; ``components``: code by ``kind.type``, each a module with a class Toy."""
    modules = {point: point.partition(".")[2] + "_module" for point in components}
    tree = folder / name
    tree.mkdir(parents=True)
    dependencies = json.dumps(DEPENDENCIES if name == "toy-missing" else [])
    text = PYPROJECT.format(name=name, dependencies=dependencies, modules=json.dumps(list(modules.values())))
    for point, module in modules.items():
        kind, _, type_name = point.partition(".")
        header = f'[project.entry-points."lossforge.{kind}"]\n'
        text += ("" if header in text else header) + f'{type_name} = "{module}:Toy"\n'
        (tree / f"{module}.py").write_text(components[point])
    (tree / "pyproject.toml").write_text(text)
    return tree


@pytest.fixture(scope="session")
def hostile(once: Callable[[str, Callable[[Path], object]], Path]) -> Environment:
    """An environment with all that misbehave; ``using(...)`` chooses."""

    def make(folder: Path) -> None:
        trees = [write_source(folder / "sources", name, components) for name, components in SOURCES.items()]
        created(folder / "environment").install(*built(folder, *trees))

    return Environment(once("hostile", make) / "environment")


@pytest.fixture(scope="session")
def good(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder in which ``toy-good`` is installed, which does all that it should."""

    def make(folder: Path) -> None:
        (wheel,) = built(folder, write_source(folder / "sources", "toy-good", GOOD))
        created(folder / "environment").install("--target", folder / "site", wheel)

    return once("good", make) / "site"
