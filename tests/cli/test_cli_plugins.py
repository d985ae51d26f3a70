"""``plugins``, and what a broken plugin does to the other commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from lossforge import registry

LAPLACE = """
import torch
from typing import Literal
from lossforge.interfaces import MutationOperator

class Laplace(MutationOperator):
    {docstring}
    type: Literal["toy_laplace"] = "toy_laplace"

    def init(self, num, dim, generator):
        return {{}}

    def mutate(self, parents_PD, sigma, state, generator):
        uniform = torch.rand(parents_PD.shape, generator=generator) - 0.5
        return parents_PD - sigma / 2**0.5 * uniform.sign() * torch.log1p(-2 * uniform.abs()), state
"""


class Installer:
    """Writes a distribution with one module and one mutation."""

    def __init__(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.modules: list[str] = []
        self._monkeypatch = monkeypatch
        self._names: list[str] = []

    def __call__(self, name: str, type_name: str, code: str, attribute: str = "Laplace") -> None:
        module = name.replace("-", "_")
        info = self.site / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[lossforge.mutations]\n{type_name} = {module}:{attribute}\n")
        (self.site / f"{module}.py").write_text(dedent(code))
        self.modules.append(module)
        self._names.append(name)
        self._monkeypatch.setenv(registry.PLUGINS_VARIABLE, ",".join(self._names))
        registry.refresh()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    installer = Installer(site, monkeypatch)
    yield installer
    for module in installer.modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    registry.refresh()


class TestList:
    def test_every_installed_component_has_a_line(self, lossforge):
        outcome = lossforge("plugins", "list")
        assert (outcome.code, outcome.err) == (0, "")
        blocks = {block.splitlines()[0]: block.splitlines()[1:] for block in outcome.out.split("\n\n")}
        assert set(blocks) == {kind for kind in registry.KINDS if registry.types(kind)}
        for kind, lines in blocks.items():
            assert [line.split()[0] for line in lines if line] == list(registry.types(kind))
        assert "FAILED" not in outcome.out

    def test_one_kind(self, lossforge):
        outcome = lossforge("plugins", "list", "--kind", "losses")
        assert outcome.out.splitlines()[0] == "losses"
        assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == list(registry.types("losses"))

    def test_json(self, lossforge):
        rows = json.loads(lossforge("plugins", "list", "--kind", "mutations", "--json").out)
        assert [row["type"] for row in rows] == list(registry.types("mutations"))
        for row in rows:
            assert row["kind"] == "mutations"
            assert row["distribution"] == "lossforge"
            assert row["status"] == "ok"
            assert row["summary"]

    def test_an_unknown_kind(self, lossforge):
        outcome = lossforge("plugins", "list", "--kind", "mutation")
        assert outcome.code == 2
        assert "'mutation' is not one of" in outcome.err
        assert "mutations" in outcome.err

    def test_a_third_party_plugin_is_shown_with_its_distribution(self, lossforge, install):
        install("toy-plugin", "toy_laplace", LAPLACE.format(docstring='"""Laplace steps."""'))
        out = lossforge("plugins", "list", "--kind", "mutations").out
        (line,) = [line for line in out.splitlines() if "toy_laplace" in line]
        assert line.split(maxsplit=1) == ["toy_laplace", "[toy-plugin 2.5] Laplace steps."]

    def test_a_plugin_that_says_nothing_of_itself(self, lossforge, install):
        install("toy-plugin", "toy_laplace", LAPLACE.format(docstring=""))
        outcome = lossforge("plugins", "list", "--kind", "mutations", "--json")
        assert outcome.code == 0
        assert {row["status"] for row in json.loads(outcome.out)} == {"ok"}

    def test_a_plugin_that_fails_is_listed_as_failed_and_the_others_are_well(self, lossforge, install):
        install("toy-broken", "toy_broken", "import a_module_that_nobody_has")
        outcome = lossforge("plugins", "list")
        assert outcome.code == 0
        (line,) = [line for line in outcome.out.splitlines() if "FAILED" in line]
        assert line.split()[0] == "toy_broken"
        assert "[toy-broken 2.5]" in line
        assert "No module named 'a_module_that_nobody_has'" in line
        rows = json.loads(lossforge("plugins", "list", "--json").out)
        assert [row["type"] for row in rows if row["status"] == "failed"] == ["toy_broken"]

    def test_two_plugins_of_one_name_are_both_failed(self, lossforge, install):
        for name in ("toy-one", "toy-two"):
            install(name, "toy_laplace", LAPLACE.format(docstring=""))
        rows = json.loads(lossforge("plugins", "list", "--json").out)
        failed = [row for row in rows if row["status"] == "failed"]
        assert [row["distribution"] for row in failed] == ["toy-one", "toy-two"]
        assert all("toy-one" in row["summary"] and "toy-two" in row["summary"] for row in failed)


class TestABrokenPlugin:
    @pytest.fixture(autouse=True)
    def broken(self, install: Installer) -> None:
        install("toy-broken", "toy_broken", "raise RuntimeError('out of order')")

    @pytest.mark.parametrize("command", ["run", "validate", "show"])
    def test_a_spec_that_asks_for_it_exits_3(self, lossforge, folder, search_spec, command):
        outcome = lossforge(command, search_spec, "--set", "search.mutation=toy_broken")
        assert (outcome.code, outcome.out) == (3, "")
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: plugin toy-broken 2.5 (toy_broken:Laplace) failed to load as mutations")
        assert "RuntimeError: out of order" in line
        assert line.endswith("mend or uninstall toy-broken")
        assert not (folder / "runs").exists()

    def test_every_other_command_works(self, lossforge, finished, search_spec):
        assert lossforge("validate", search_spec).code == 0
        assert lossforge("show", "edl").code == 0
        assert lossforge("presets", "list").code == 0
        assert lossforge("export", finished.path).code == 0
        assert lossforge("run", search_spec, "--set", "search.generations=1", "--out", "run").code == 0
        manifest = json.loads(Path("run/manifest.json").read_text())
        assert manifest["plugins"] == [{"distribution": "toy-broken", "version": "2.5"}]


def test_a_working_plugin_searches_resumes_and_leaves_its_name_in_the_manifest(lossforge, install, search_spec):
    install("toy-plugin", "toy_laplace", LAPLACE.format(docstring=""))
    assert lossforge("run", search_spec, "--set", "search.mutation=toy_laplace", "--out", "run").code == 0
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["plugins"] == [{"distribution": "toy-plugin", "version": "2.5"}]
    history = Path("run/history.jsonl").read_bytes()
    assert lossforge("resume", "run").code == 0
    assert Path("run/history.jsonl").read_bytes() == history
