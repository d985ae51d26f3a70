"""A new plugin: a distribution with one component that works, rendered from ``template``.

``template/kinds/<kind>`` holds what differs between kinds: the module, its test, and the spec that uses it.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jinja2
from packaging.utils import canonicalize_name

from lossforge import registry
from lossforge.errors import OutputError, ProjectError
from lossforge.installed import OWN
from lossforge.spec.scalars import resolve
from lossforge.version import __version__

PREFIX = "lossforge-"
TEMPLATE = Path(__file__).parent / "template"
LONGEST = 32
"""Characters of a type; generated lines with a longer name would not fit."""


@dataclass(frozen=True)
class Project:
    """The names of a new plugin."""

    distribution: str
    module: str
    kind: str
    type: str

    @classmethod
    def named(cls, name: str, kind: str, type_name: str | None = None) -> Self:
        """Return the project called ``lossforge-<name>``, whether ``name`` has that prefix or not.

        Raises:
            ProjectError: a name is not valid, or taken.
        """
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise ProjectError(f"{name!r} is no name of a distribution: letters, digits and - only, a letter first")
        stem = canonicalize_name(name).removeprefix(PREFIX)
        if stem == OWN:
            raise ProjectError(f"{name!r} is the name of lossforge itself; name the plugin after what it adds")
        module = f"{PREFIX}{stem}".replace("-", "_")
        project = cls(PREFIX + stem, module, kind, type_name or stem.replace("-", "_"))
        for problem in project._problems():
            raise ProjectError(problem)
        return project

    @property
    def noun(self) -> str:
        """The kind in the singular."""
        for ending, singular in (("ies", "y"), ("sses", "ss"), ("s", "")):
            if self.kind.endswith(ending):
                return self.kind.removesuffix(ending) + singular
        return self.kind

    @property
    def class_name(self) -> str:
        """The component's class: the type and the kind in camel case."""
        return "".join(part.capitalize() for part in (*self.type.split("_"), self.noun))

    def _problems(self) -> Iterator[str]:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.type) or len(self.type) > LONGEST:
            allowed = f"lower-case letters, digits and _, a letter first, at most {LONGEST} characters"
            yield f"type {self.type!r}: only {allowed}; name it with --type"
        if not isinstance(resolve(self.type), str):
            yield f"type {self.type!r}: a spec would read it as {resolve(self.type)!r}; name it with --type"
        for offer in registry.offers(self.kind):
            if offer.type == self.type:
                yield f"{self.kind} {self.type!r} is there already, of {offer}; choose another with --type"
        if _is_installed(self.distribution):
            yield f"{self.distribution} is installed already; choose another name, or pip uninstall {self.distribution}"
        if importlib.util.find_spec(self.module) is not None:
            yield f"a module {self.module} can be imported already; choose another name"


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def render(project: Project) -> dict[str, str]:
    """Return the text of each file by its path in the project.

    Raises:
        ProjectError: there is no template for the kind, or the class would be called like one that it needs.
    """
    kinds = sorted(path.name for path in (TEMPLATE / "kinds").iterdir() if path.is_dir())
    if project.kind not in kinds:
        raise ProjectError(f"there is no template for {project.kind}; there are: {', '.join(kinds)}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # code, not markup
    )
    names = {name: getattr(project, name) for name in ("distribution", "module", "kind", "type", "noun", "class_name")}
    names["lossforge"] = ".".join(__version__.split(".")[:2])
    texts = {path: environment.get_template(name).render(names) for path, name in _files(project).items()}
    for node in ast.walk(ast.parse(texts[f"src/{project.module}.py"])):
        if isinstance(node, ast.ImportFrom) and project.class_name in {alias.name for alias in node.names}:
            raise ProjectError(f"the class would be called {project.class_name}, like its base; choose another --type")
    return texts


def _files(project: Project) -> dict[str, str]:
    """Return the template of each file."""
    folder = f"kinds/{project.kind}"
    return {
        "pyproject.toml": "pyproject.toml.jinja",
        "README.md": "README.md.jinja",
        ".gitignore": "gitignore.jinja",
        ".github/workflows/test.yml": "ci.yml.jinja",
        f"src/{project.module}.py": f"{folder}/module.py.jinja",
        f"tests/test_{project.type}.py": f"{folder}/test.py.jinja",
        f"examples/{project.type}.yaml": f"{folder}/example.yaml.jinja",
    }


def write(project: Project, folder: Path) -> list[Path]:
    """Write the project into a new or empty folder, and return its files.

    Raises:
        OutputError: something is there already, or it cannot be written.
        ProjectError: as :func:`render` does.
    """
    texts = render(project)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder}: exists already; choose another with --out, or remove it")
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise OutputError(f"{folder}: cannot be written: {cause.strerror}") from cause
    return [folder / name for name in texts]
