"""The site builds without a warning, needs no other host, and has a place for every public name."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from page_session import ROOT

import lossforge

CONFIG = ROOT / "docs" / "site" / "mkdocs.yml"
PUBLIC = ("interfaces", "types", "errors", "losses", "presets", "evidence", "testing")


class Resources(HTMLParser):
    """What a browser fetches to show a page, and the ids of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note sources, and links that are no anchors."""
        for name, value in attributes:
            if value and (name in ("src", "srcset", "poster") or (name == "href" and tag not in ("a", "base"))):
                self.fetched.append(value)
            if value and name == "id":
                self.ids.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of any part of mkdocs fails it, as strict builds do."""
    folder, told = tmp_path_factory.mktemp("site"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        build(load_config(str(CONFIG), site_dir=str(folder), strict=True))
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
    assert told == []
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Resources]:
    return {path.relative_to(site).as_posix(): Resources(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_every_markdown_file_of_docs_is_a_page(pages):
    sources = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    assert sources <= set(pages)
    plugins = {f"project/plugins/{path.parent.name}/index.html" for path in ROOT.glob("plugins/*/README.md")}
    assert len(plugins) >= 3
    assert plugins <= set(pages)
    assert {"project/CHANGELOG.html", "project/CONTRIBUTING.html", "project/plugins/index.html"} <= set(pages)


def test_pages_fetch_nothing_from_other_hosts(pages):
    fetched = {url for page in pages.values() for url in page.fetched}
    assert len(fetched) > 10
    assert [url for url in fetched if re.match(r"(\w+:)?//", url)] == []


def test_stylesheets_fetch_nothing_from_other_hosts(site):
    sheets = list(site.rglob("*.css"))
    assert len(sheets) >= 3
    assert [
        path.name for path in sheets if re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text("utf-8"))
    ] == []


def test_examples_that_pages_link_to_are_in_the_site(site):
    for name in ("adapters/plain_loop.py", "searches/trade-offs.yaml", "cifar10.yaml"):
        assert (site / "project" / "examples" / name).read_bytes() == (ROOT / "examples" / name).read_bytes()


def public_names(module: ModuleType) -> list[str]:
    """Return what a module offers: its ``__all__``, or what it defines under a name without underscore."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if name != "__version__"]
    names = [name for node in ast.parse(inspect.getsource(module)).body for name in _defined(node)]
    return [name for name in names if not name.startswith("_")]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def resolved(name: str) -> Any:
    """Return the object that an anchor of a reference page stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture(scope="module")
def documented(pages) -> dict[str, Any]:
    """What has an anchor on a page of the Python reference: objects by full name."""
    modules = {"lossforge", *(f"lossforge.{name}" for name in PUBLIC)}
    anchors = {each for name, page in pages.items() if name.startswith("api/") for each in page.ids}
    return {anchor: resolved(anchor) for anchor in sorted(anchors) if anchor.rpartition(".")[0] in modules}


@pytest.mark.parametrize("module", ["lossforge", *(f"lossforge.{name}" for name in PUBLIC)])
def test_no_public_name_is_undocumented(module, documented, pages):
    package = importlib.import_module(module)
    names = public_names(package)
    assert len(names) >= 4
    objects = {id(value) for value in documented.values()}
    for name in names:
        value = getattr(package, name)
        if isinstance(value, ModuleType):
            assert f"api/{name}.html" in pages
        else:
            assert f"{module}.{name}" in documented or id(value) in objects, f"{module}.{name} is on no reference page"
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name} has no docstring"


def test_public_modules_have_a_page_each(pages):
    assert {f"api/{name}.html" for name in ("lossforge", *PUBLIC)} == {
        name for name in pages if name.startswith("api/")
    }


def test_methods_of_base_classes_are_on_their_page(pages):
    ids = set(pages["api/interfaces.html"].ids)
    bases = [each for each in vars(lossforge.interfaces).values() if inspect.isabstract(each)]
    for base in (each for each in bases if each.__module__ == "lossforge.interfaces"):
        for method in base.__abstractmethods__:
            owner = next(each for each in base.__mro__ if method in vars(each))
            assert f"lossforge.interfaces.{owner.__name__}.{method}" in ids


class TestWarnings:
    @pytest.mark.parametrize(
        ("text", "warning"),
        [
            ("[there](nowhere.md)", "not found among documentation files"),
            ("[there](page.md#nowhere)", "no such anchor"),
            ("::: lossforge.nothing", "nothing"),
        ],
    )
    def test_what_leads_nowhere_fails_the_build(self, text, warning, tmp_path, caplog):
        folder = tmp_path / "docs" / "site"
        folder.mkdir(parents=True)
        for name in ("outside.py", "docstrings.py"):
            shutil.copy(CONFIG.parent / name, folder)
        config = CONFIG.read_text("utf-8").partition("\nnav:")[0] + "\nnav: [page.md]\n"
        (folder / "mkdocs.yml").write_text(config.replace("paths: [../..]", f"paths: [{ROOT}]"))
        (tmp_path / "docs" / "page.md").write_text(f"# Page\n\n{text}\n")
        with pytest.raises(Exception, match="Aborted with"):
            build(load_config(str(folder / "mkdocs.yml"), site_dir=str(tmp_path / "built"), strict=True))
        assert warning in caplog.text
