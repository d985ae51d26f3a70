"""``plugins``, and what a broken plugin does to the other commands."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

from lossforge import registry
from lossforge.plugins import doctor
from lossforge.plugins.doctor import Examination, Finding
from lossforge.plugins.examine import examine
from lossforge.plugins.requirements import Problem
from lossforge.registry import Offer

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
    def test_every_installed_component_has_an_aligned_line(self, lossforge):
        outcome = lossforge("plugins", "list")
        assert (outcome.code, outcome.err) == (0, "")
        head, *lines = outcome.out.splitlines()
        starts = [head.index(name) for name in ("TYPE", "KIND", "DISTRIBUTION", "VERSION", "STATUS")]
        columns = [[line[start:end].strip() for start, end in pairwise([*starts, 999])] for line in lines]
        assert [tuple(column[:3]) for column in columns] == [
            (name, kind, "lossforge") for kind in registry.KINDS for name in registry.types(kind)
        ]
        assert all(re.fullmatch(r"ok +\S.*", column[4]) for column in columns)

    def test_one_kind(self, lossforge):
        outcome = lossforge("plugins", "list", "--kind", "losses")
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
        for command in (("list",), ("describe", "gaussian"), ("new", "steps")):
            outcome = lossforge("plugins", *command, "--kind", "mutation")
            assert outcome.code == 2
            assert "'mutation' is not one of" in outcome.err
            assert "mutations" in outcome.err

    def test_a_third_party_plugin_is_shown_with_its_distribution(self, lossforge, install):
        install("toy-plugin", "toy_laplace", LAPLACE.format(docstring='"""Laplace steps."""'))
        out = lossforge("plugins", "list", "--kind", "mutations").out
        (line,) = [line for line in out.splitlines() if "toy_laplace" in line]
        assert line.split(maxsplit=5) == ["toy_laplace", "mutations", "toy-plugin", "2.5", "ok", "Laplace steps."]

    def test_a_plugin_that_says_nothing_of_itself(self, lossforge, install):
        install("toy-plugin", "toy_laplace", LAPLACE.format(docstring=""))
        outcome = lossforge("plugins", "list", "--kind", "mutations", "--json")
        assert outcome.code == 0
        assert {row["status"] for row in json.loads(outcome.out)} == {"ok"}

    def test_a_plugin_that_fails_is_listed_as_failed_on_one_line(self, lossforge, install):
        install("toy-broken", "toy_broken", "raise ImportError('of several\\nlines')")
        outcome = lossforge("plugins", "list")
        assert outcome.code == 0
        (line,) = [line for line in outcome.out.splitlines() if " failed " in line]
        assert line.split()[:5] == ["toy_broken", "mutations", "toy-broken", "2.5", "failed"]
        assert "ImportError: of several lines; mend or uninstall" in line


class TestDescribe:
    def test_text_says_all_there_is(self, lossforge):
        outcome = lossforge("plugins", "describe", "chaotic")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("chaotic (mutations)\nlossforge.mutations.chaotic:ChaoticMutation, lossforge ")
        for part in (
            "\nOptions\n  map: ",
            "\n  burn_in: integer, >= 0, <= 1e+06; default 100\n",
            "\nSource\n",
            "arXiv:2605.03722",
            "\nIn a spec\n  search:\n    mutation: chaotic\n",
            "\nWith every option\n  search:\n    mutation:\n      type: chaotic\n      map: logistic\n",
        ):
            assert part in outcome.out, part

    def test_json_has_one_entry_a_kind(self, lossforge):
        found = json.loads(lossforge("plugins", "describe", "polyloss", "--json").out)
        assert [each["kind"] for each in found] == ["parameterizations", "losses"]
        assert found[1]["groups"][0]["options"][1] == {
            "name": "cross_entropy",
            "values": "true or false",
            "default": "`true`",
            "text": "add -log p to the polynomial",
        }
        assert found[1]["example"]["shortest"] == "search:\n  references:\n    - polyloss\n"

    def test_one_without_options_needs_no_second_example(self, lossforge):
        out = lossforge("plugins", "describe", "cauchy").out
        assert "\nNo options.\n" in out
        assert "With every option" not in out

    def test_a_broken_one_of_another_kind_is_a_warning(self, lossforge, install, caplog):
        install("toy-broken", "gce", "raise RuntimeError('out of order')")
        outcome = lossforge("plugins", "describe", "gce")
        assert outcome.code == 0
        assert outcome.out.startswith("gce (losses)")
        assert "out of order" in caplog.text
        assert lossforge("plugins", "describe", "gce", "--kind", "mutations").code == 3

    def test_an_unknown_type(self, lossforge):
        outcome = lossforge("plugins", "describe", "chaotik")
        assert (outcome.code, outcome.out) == (2, "")
        assert "did you mean 'chaotic' of mutations?" in outcome.err


SILENT = LAPLACE.format(docstring="")
GROUP = """
from lossforge.component import Options

class Group(Options):
    size: int = 3

Group.__doc__ = 5
"""
BROKEN_HOOK = "    @classmethod\n    def __get_pydantic_json_schema__(cls, schema, handler): "


class TestForeignCodeThatRaises:
    """It is told as a problem of the plugin, by those commands alone that come upon it."""

    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            (SILENT + "\n__doc__ = 5\n", "TypeError: the docstring 5 is not a string"),
            (SILENT + "\nLaplace.__module__ = 'nowhere'\n", "KeyError: 'nowhere'"),
            (GROUP + SILENT + "    group: Group = Group()\n", "TypeError: the docstring 5 is not a string"),
            (
                "from pydantic import Field\n" + SILENT + "    x: object = Field(default_factory=object)\n",
                "PydanticSerializationError: Unable to serialize unknown type: <class 'object'>",
            ),
        ],
    )
    def test_one_that_cannot_be_described_exits_3(self, lossforge, install, code, cause):
        install("toy-odd", "toy_laplace", code)
        (line,) = lossforge("plugins", "describe", "toy_laplace").err.splitlines()
        assert line == (
            "error: plugin toy-odd 2.5 (toy_odd:Laplace) cannot be described as mutations 'toy_laplace': "
            f"{cause}; update or uninstall toy-odd"
        )
        assert lossforge("plugins", "describe", "toy_laplace", "--json").code == 3
        rows = json.loads(lossforge("plugins", "list", "--kind", "mutations", "--json").out)
        assert [row["status"] for row in rows if row["type"] == "toy_laplace"] == ["ok"]

    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            (SILENT + BROKEN_HOOK + "raise SystemExit('no licence')\n", "SystemExit: no licence"),
            (SILENT + BROKEN_HOOK + "return {'anyOf': 3}\n", "TypeError: 'int' object is not iterable"),
            (SILENT + BROKEN_HOOK + "return {'enum': {1}}\n", "TypeError: Object of type set is not JSON serializable"),
            (
                GROUP + SILENT + "    group: Group = Group()\n",
                "AttributeError: 'int' object has no attribute 'expandtabs'",
            ),
        ],
    )
    def test_one_without_a_schema_is_left_out_of_it(self, lossforge, install, code, cause):
        install("toy-odd", "toy_laplace", code)
        outcome = lossforge("schema")
        assert outcome.code == 0
        assert "gaussian" in json.loads(outcome.out)["$defs"]["mutations"]["anyOf"][0]["enum"]
        assert "toy_laplace" not in outcome.out
        assert outcome.err == (
            "warning: left out: plugin toy-odd 2.5 (toy_odd:Laplace): mutations 'toy_laplace' has no JSON schema: "
            f"{cause}; update or uninstall toy-odd\n"
        )

    def test_a_docstring_that_cannot_be_read_is_listed_and_examined_as_failed(self, lossforge, install):
        docstring = "class Text(str):\n    def strip(self): raise SystemExit('no')\nLaplace.__doc__ = Text('x')\n"
        install("toy-odd", "toy_laplace", f"{SILENT}\n{docstring}")
        what = "plugin toy-odd 2.5 (toy_odd:Laplace): its docstring has no summary"
        told = f"{what}: SystemExit: no; update or uninstall toy-odd"
        rows = json.loads(lossforge("plugins", "list", "--kind", "mutations", "--json").out)
        assert [(row["status"], row["summary"]) for row in rows if row["type"] == "toy_laplace"] == [("failed", told)]
        (offer,) = [offer for offer in registry.offers("mutations") if offer.type == "toy_laplace"]
        finding = examine(offer)
        assert (finding["status"], finding["text"]) == ("failed", told)

    def test_a_description_that_is_no_string_is_shown_as_one(self, lossforge, install):
        field = "    x: int = Field(default=1, description=5)\n"
        install("toy-odd", "toy_laplace", f"from pydantic import Field\n{SILENT}{field}")
        assert "  x: integer; default 1\n    5\n" in lossforge("plugins", "describe", "toy_laplace").out


class TestNew:
    def test_it_writes_files_and_says_what_is_next(self, lossforge):
        outcome = lossforge("plugins", "new", "my-steps", "--kind", "mutations")
        assert (outcome.code, outcome.err) == (0, "")
        files, _, following = outcome.out.partition("\nNext:\n")
        assert all(Path(line).is_file() for line in files.splitlines())
        assert {path.as_posix() for path in Path().rglob("*") if path.is_file()} == set(files.splitlines())
        assert following.startswith("  cd lossforge-my-steps\n  pip install -e '.[test]'\n")

    def test_it_overwrites_nothing_and_names_what_is_wrong(self, lossforge):
        Path("there").mkdir()
        Path("there/file").touch()
        occupied = lossforge("plugins", "new", "steps", "--kind", "mutations", "--out", "there")
        taken = lossforge("plugins", "new", "steps", "--kind", "mutations", "--type", "gaussian")
        assert (occupied.code, taken.code) == (2, 2)
        assert "there: exists already" in occupied.err
        assert "'gaussian' is there already" in taken.err
        assert [path.name for path in Path().rglob("*")] == ["there", "file"]


def finding(status="ok", **more):
    return Finding(Offer("mutations", "toy", "toy:Toy", "toy-plugin", "2.5"), status, "of no use", **more)


class TestDoctor:
    def test_what_is_wrong_and_what_mends_it_is_printed(self, lossforge, monkeypatch):
        bad = Examination(
            "toy-plugin",
            "2.5",
            (finding("failed", seconds=0.5, traceback="Traceback\n  line\n", remedy="pip install x"), finding("hung")),
            problems=(Problem("needs x>=2, which is not installed", "pip install 'x>=2'"),),
            printed="hello\n" * 100,
        )
        monkeypatch.setattr(doctor, "examine_all", lambda timeout: [bad])
        monkeypatch.setattr(registry, "hidden", lambda: ("toy-hidden",))
        outcome = lossforge("plugins", "doctor")
        assert (outcome.code, outcome.err) == (3, "")
        assert outcome.out.splitlines() == [
            "toy-plugin 2.5: 2 components, 0.50 s, PROBLEMS",
            "  needs x>=2, which is not installed",
            "    mend: pip install 'x>=2'",
            "  prints to standard output while it is imported: 'hello'",
            "  mutations toy (toy:Toy): failed, 0.50 s",
            "    Traceback",
            "      line",
            "    of no use",
            "    mend: pip install x",
            "  mutations toy (toy:Toy): hung",
            "    of no use",
            "    mend: ",
            "left out by LOSSFORGE_PLUGINS: toy-hidden",
            "1 of 1 distributions have problems: toy-plugin",
        ]

    def test_where_all_is_well_it_says_so_and_exits_with_0(self, lossforge, monkeypatch):
        well = Examination("toy-plugin", "2.5", (finding(seconds=3.0),))
        monkeypatch.setattr(doctor, "examine_all", lambda timeout: [well])
        monkeypatch.setattr(registry, "hidden", lambda: ())
        outcome = lossforge("plugins", "doctor")
        assert (outcome.code, outcome.out.splitlines()) == (
            0,
            [
                "toy-plugin 2.5: 1 component, 3.00 s, ok",
                "  mutations toy (toy:Toy): ok, 3.00 s, slow to import",
                "all is well",
            ],
        )
        assert json.loads(lossforge("plugins", "doctor", "--json").out)["distributions"][0]["is_well"]


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
        assert manifest["plugins"] == [
            {"distribution": "toy-broken", "version": "2.5", "components": {"mutations": ["toy_broken"]}}
        ]


def test_a_working_plugin_searches_resumes_and_leaves_its_name_in_the_manifest(lossforge, install, search_spec):
    install("toy-plugin", "toy_laplace", LAPLACE.format(docstring=""))
    assert lossforge("run", search_spec, "--set", "search.mutation=toy_laplace", "--out", "run").code == 0
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["plugins"] == [
        {"distribution": "toy-plugin", "version": "2.5", "components": {"mutations": ["toy_laplace"]}}
    ]
    history = Path("run/history.jsonl").read_bytes()
    assert lossforge("resume", "run").code == 0
    assert Path("run/history.jsonl").read_bytes() == history
