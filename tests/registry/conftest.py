"""Distributions made up on the spot: a ``*.dist-info`` folder and a module, in a folder on ``sys.path``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from lossforge import registry

MUTATION = """
    from typing import ClassVar, Literal
    from lossforge.component import Component

    class {class_name}(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["{type_name}"] = "{type_name}"
        sigma: float = 0.1
        bounds: tuple[float, float] = (0.0, 1.0)
"""


class Installer:
    """Installs made-up distributions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.modules: list[str] = []
        self._monkeypatch = monkeypatch
        self._names: list[str] = []

    def __call__(
        self, name: str, points: str, code: str = "", *, folder: Path | None = None, version: str = "1.0"
    ) -> None:
        """Write distribution ``name`` with the module ``name`` (dashes as underscores) and its ``entry_points.txt``."""
        folder = folder or self.folder
        module = name.replace("-", "_")
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(dedent(points))
        (folder / f"{module}.py").write_text(dedent(code))
        if module != "lossforge":  # a distribution of that name may be made up; the package itself stays imported
            self.modules.append(module)
        self._names.append(name)
        self._monkeypatch.setenv(registry.PLUGINS_VARIABLE, ",".join(self._names))
        importlib.invalidate_caches()
        registry.refresh()

    def mutation(self, name: str, type_name: str, class_name: str = "Toy") -> None:
        """Write a distribution that offers one mutation."""
        points = f"[lossforge.mutations]\n{type_name} = {name.replace('-', '_')}:{class_name}\n"
        self(name, points, MUTATION.format(class_name=class_name, type_name=type_name))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    registry.refresh()
    installer = Installer(folder, monkeypatch)
    yield installer
    for module in installer.modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    registry.refresh()
