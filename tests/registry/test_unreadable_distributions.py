"""Distributions with bad metadata: each is told of once, and takes nothing else with it."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lossforge import cli, installed, registry
from lossforge.errors import PluginLoadError
from lossforge.plugins import doctor, isolated
from lossforge.version import __version__

POINTS = b"[lossforge.mutations]\nfoo = mod_a:Foo\n"


def broken(install: Any, monkeypatch: pytest.MonkeyPatch, metadata: bytes, points: bytes = POINTS) -> None:
    install.mutation("toy-steps", "toy_step")
    info: Path = install.folder / "bad_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(metadata)
    (info / "entry_points.txt").write_bytes(points)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "toy-steps,bad-dist")
    registry.refresh()


@pytest.mark.parametrize(
    ("metadata", "points", "cause"),
    [
        (b"Name: bad-dist\nVersion: 1.0\nAuthor: Ren\xe9\n", POINTS, "UnicodeDecodeError"),
        (b"Name: bad-dist\nVersion: 1.0\n", POINTS + b"[other]\njust a line\n", "TypeError|ValueError"),
        (b"Name: bad-dist\nVersion: 1.0\n", b"[x]\nfoo = mod:\xe9\n", "UnicodeDecodeError"),
    ],
)
def test_one_that_cannot_be_read_is_left_out(
    install: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    metadata: bytes,
    points: bytes,
    cause: str,
) -> None:
    broken(install, monkeypatch, metadata, points)
    for _ in range(2):
        assert {"toy_step", "gaussian"} < set(registry.types("mutations"))
    assert "foo" not in registry.types("mutations")
    (message,) = caplog.messages
    assert message.startswith(f"plugin bad-dist is left out, its metadata in {install.folder} cannot be read: ")
    assert any(each in message for each in cause.split("|"))
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "toy-steps")
    assert registry.unreadable() == ()


def test_what_has_nothing_for_lossforge_is_not_read(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(install, monkeypatch, b"Author: Ren\xe9\n", b"[console_scripts]\njust a line\n")
    assert registry.get("mutations", "toy_step").__name__ == "Toy"
    assert registry.unreadable() == ()


@pytest.mark.parametrize(
    ("metadata", "called"), [(b"Version: 1.0\n", r"unknown distribution 1\.0"), (b"Name: bad-dist\n", r"bad-dist \?")]
)
def test_one_without_name_or_version_is_called_unknown(
    install: Any, monkeypatch: pytest.MonkeyPatch, metadata: bytes, called: str
) -> None:
    broken(install, monkeypatch, metadata)
    monkeypatch.delenv(registry.PLUGINS_VARIABLE)
    with pytest.raises(PluginLoadError, match=rf"plugin {called} \(mod_a:Foo\) failed to load"):
        registry.get("mutations", "foo")


@pytest.mark.parametrize("version", ["0.0.1", "bad\xe9", __version__])
def test_another_distribution_called_lossforge_hides_nothing(install: Any, version: str) -> None:
    known = registry.offers("mutations")
    install("lossforge", "[lossforge.mutations]\ngaussian = mod_a:Foo\n", version=version)
    metadata = install.folder / f"lossforge-{version}.dist-info" / "METADATA"
    metadata.write_bytes(metadata.read_text().encode("latin-1"))
    assert registry.offers("mutations") == known
    assert registry.get("mutations", "gaussian").__module__ == "lossforge.mutations.gaussian"


def test_where_the_only_one_has_none_of_its_components_it_is_named_with_its_place(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("lossforge", "[lossforge.mutations]\ngaussian = mod_a:Foo\n", version=__version__)
    in_folder = functools.partial(importlib.metadata.distributions, path=[str(install.folder)])
    monkeypatch.setattr(importlib.metadata, "distributions", in_folder)
    package = Path(registry.__file__).parents[1]
    with pytest.raises(PluginLoadError) as caught:
        registry.types("mutations")
    assert str(caught.value) == (
        f"the components of this lossforge, {__version__} in {package}, are not known: "
        f"the distribution lossforge {__version__} in {install.folder} has none; remove that one"
    )
    assert registry.preset_offers() == ()


def test_without_any_distribution_called_lossforge_it_says_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter(()))
    registry.refresh()
    with pytest.raises(PluginLoadError, match="are not known: no distribution lossforge is installed; install it"):
        registry.get("mutations", "gaussian")
    monkeypatch.undo()
    registry.refresh()


@pytest.mark.parametrize("version", ["0.0.1", __version__])
def test_the_doctor_names_one_that_is_found_before(install: Any, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    install("lossforge", "", version=version)
    well = isolated.Outcome("ok", "well", 0.0)
    monkeypatch.setattr(doctor, "imported", lambda offers, *_: ([well] * len(offers), ""))
    found = doctor.examine_all(1.0)[0]
    text = f"another distribution of this name is found before it, {version} in {install.folder}"
    assert (found.distribution, found.version, found.is_well) == ("lossforge", __version__, False)
    assert (text, "remove it") in [(problem.text, problem.remedy) for problem in found.problems]
    monkeypatch.undo()
    assert installed.ahead() == []


def test_one_that_spoils_the_entry_points_of_all_is_named_by_the_command_line(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when torch or pydantic is imported."""
    broken(install, monkeypatch, b"Name: bad-dist\nVersion: 1.0\n", b"[console_scripts]\njust a line\n")
    monkeypatch.setattr(cli.LossforgeGroup, "get_command", lambda *_: importlib.metadata.entry_points(group="x"))
    outcome = CliRunner().invoke(cli.main, ["presets", "list"])
    start, end = f"error: package bad-dist: its metadata in {install.folder} ", "; reinstall or remove it\n"
    assert (outcome.exit_code, outcome.output[: len(start)], outcome.output[-len(end) :]) == (3, start, end)
    assert outcome.output.count("\n") == 1


def test_an_error_of_anything_else_is_nobodys() -> None:
    assert installed.spoilers(TypeError("x")) == ()
