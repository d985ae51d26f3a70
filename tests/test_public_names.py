"""Names that users may rely on: they resolve, and everything public says what it is."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import lossforge

PACKAGE = Path(lossforge.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_public_names():
    assert set(lossforge.__all__) == {
        "AblationSpec",
        "GapSpec",
        "RunSpec",
        "Search",
        "SearchSpec",
        "TrainingSpec",
        "__version__",
        "ablate",
        "compare",
        "explain",
        "gap",
        "correlate",
        "interfaces",
        "load_loss",
        "losses",
        "presets",
        "resume",
        "run",
        "train",
    }
    assert dir(lossforge) == sorted(lossforge.__all__)


@pytest.mark.parametrize("name", lossforge.__all__)
def test_each_resolves(name):
    assert getattr(lossforge, name) is not None


def test_they_are_the_ones_of_their_modules():
    from lossforge import artifact, evidence, losses, pipeline, search, spec

    assert lossforge.run is pipeline.run
    assert lossforge.resume is pipeline.resume
    assert lossforge.Search is search.Search
    assert lossforge.RunSpec is spec.RunSpec
    assert lossforge.AblationSpec is spec.AblationSpec
    assert lossforge.ablate is evidence.ablate
    assert lossforge.load_loss is artifact.load_loss
    assert lossforge.losses is losses


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lossforge' has no attribute 'runn'"):
        lossforge.runn  # noqa: B018


def test_star_import_gives_all_of_them():
    names: dict[str, object] = {}
    exec("from lossforge import *", names)
    assert set(lossforge.__all__) <= names.keys()


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_what_a_package_lists_it_has_and_what_is_public_has_a_docstring(path):
    undocumented = list(_undocumented(ast.parse(path.read_text(encoding="utf-8")), module_name(path)))
    assert undocumented == []
    module = importlib.import_module(module_name(path))
    missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert missing == []


def _undocumented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str):
    if not ast.get_docstring(node):
        yield name
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            is_definition = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if is_definition and not child.name.startswith("_") and not _is_overload(child):
                yield from _undocumented(child, f"{name}.{child.name}")


def _is_overload(node: ast.AST) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


def test_the_walk_finds_what_is_undocumented():
    code = "class A:\n    '''Doc.'''\n    def method(self): ...\n    def _private(self): ...\ndef f(): ...\n"
    assert list(_undocumented(ast.parse(code), "m")) == ["m", "m.A.method", "m.f"]
