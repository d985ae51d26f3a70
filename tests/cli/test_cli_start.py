"""How the command line starts: quickly, with no torch, and with help where nothing is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import model_serializer

from lossforge.cli.interrupt import is_interrupt
from lossforge.spec import RunSpec
from lossforge.strategies import RandomSearch
from lossforge.version import __version__

WITHOUT_TORCH = """
import contextlib, io, sys

import lossforge
assert "torch" not in sys.modules, "import lossforge"
from lossforge.cli import main

for args in {calls!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main.main(args, prog_name="lossforge")
        except SystemExit as left:
            assert not left.code, (args, left.code)
    assert out.getvalue(), args
    heavy = {{"torch", "torchvision", "scipy", "sklearn", "matplotlib", "numpy"}} & set(sys.modules)
    assert not heavy, (args, heavy)
print("none imported torch")
"""


def test_help_version_presets_and_the_package_import_no_torch(tmp_path):
    calls = [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["train", "--help"],
        ["explain", "--help"],
        ["presets", "list"],
        ["presets", "list", "--json"],
        ["presets", "show", "edl"],
        ["presets", "copy", "edl", str(tmp_path / "edl.yaml")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH.format(calls=calls)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("none imported torch\n", 0), done.stderr


def test_a_run_imports_no_statistics_before_it_needs_them():
    """A search alone has no use for them, and they take a second to import."""
    code = "import sys, lossforge.pipeline; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


COMMANDS = [
    *(
        "run",
        "resume",
        "runs",
        "train",
        "compare",
        "gap",
        "correlate",
        "ablate",
        "explain",
        "validate",
        "show",
        "schema",
        "presets",
        "plugins",
        "report",
        "export",
    )
]


def test_the_installed_command_is_this_one():
    command = Path(sys.executable).with_name("lossforge")
    if not command.exists():
        pytest.skip("lossforge is on the path but not installed beside this Python")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert __version__ in done.stdout


def test_help_lists_every_command_with_a_whole_sentence(lossforge):
    outcome = lossforge("--help")
    assert outcome.code == 0
    commands = outcome.out.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in commands]
    assert names == COMMANDS
    assert [line for line in commands if line.endswith("...")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(lossforge, command):
    outcome = lossforge(command, "--help")
    assert outcome.code == 0
    assert f"Usage: lossforge {command}" in outcome.out


def test_run_help_names_its_options(lossforge):
    out = lossforge("run", "--help").out
    for option in ("SPEC", "--set", "--out", "--seed", "--dry-run", "runs/NAME"):
        assert option in out


@pytest.mark.parametrize("args", [(), ("presets",), ("plugins",)], ids=["lossforge", "presets", "plugins"])
def test_nothing_asked_for_shows_help_and_is_a_mistake(lossforge, args):
    outcome = lossforge(*args)
    assert outcome.code == 2
    assert "Commands:" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("rum",), "rum"),
        (("run",), "SPEC"),
        (("run", "edl", "--sed", "1"), "--sed"),
        (("run", "edl", "--seed", "-1"), "--seed"),
        (("run", "edl", "--seed", "one"), "--seed"),
        (("resume",), "RUN"),
    ],
)
def test_wrong_usage_exits_2_and_names_what_is_wrong(lossforge, args, named):
    outcome = lossforge(*args)
    assert outcome.code == 2
    assert named in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, EOFError])
def test_ctrl_c_before_there_is_a_run_exits_130(lossforge, monkeypatch, stop):
    def interrupt(name: str) -> str:
        raise stop

    monkeypatch.setattr("lossforge.presets.text", interrupt)
    outcome = lossforge("presets", "show", "edl")
    assert outcome.code == 130
    assert outcome.err.strip() == "interrupted"


def test_a_crash_is_not_hidden(monkeypatch):
    from lossforge.cli import main

    monkeypatch.setattr("lossforge.presets.text", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main(["presets", "show", "edl"], prog_name="lossforge")


def test_ctrl_c_is_recognised_inside_an_error_that_pydantic_makes_of_it(search_spec):
    spec = RunSpec.from_yaml(search_spec)

    class Stopping(RandomSearch):
        @model_serializer
        def stop(self) -> dict[str, str]:
            raise KeyboardInterrupt

    search = spec.search.model_copy(update={"strategy": Stopping(), "mutation": None})
    with pytest.raises(Exception, match="KeyboardInterrupt") as caught:
        search.model_dump()
    assert is_interrupt(caught.value)
    assert not is_interrupt(ValueError("KeyboardInterrupt"))
    assert not is_interrupt(None)
