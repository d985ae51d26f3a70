"""Names become classes, and a plugin that is at fault is felt only by those who ask for it."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from stevedore import DriverManager, ExtensionManager

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import PluginConflictError, PluginLoadError, PluginVersionError, UnknownComponentError
from lossforge.plugin_field import Plugin

MUTATION = """
    from typing import ClassVar, Literal
    from lossforge.component import Component

    class {class_name}(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["{type_name}"] = "{type_name}"
"""
ONE_MUTATION = "[lossforge.mutations]\n{type_name} = {module}:Toy\n"


def test_a_new_distribution_is_found_at_once_after_refresh(install: Any) -> None:
    assert "toy_step" not in registry.types("mutations")
    install.mutation("toy-steps", "toy_step")
    assert "toy_step" in registry.types("mutations")
    loaded = registry.get("mutations", "toy_step")
    assert issubclass(loaded, Component)
    assert loaded.__name__ == "Toy"


def test_an_offer_names_its_distribution_version_and_target(install: Any) -> None:
    install.mutation("toy-steps", "toy_step")
    (offer,) = (offer for offer in registry.offers("mutations") if offer.type == "toy_step")
    assert offer == registry.Offer("mutations", "toy_step", "toy_steps:Toy", "toy-steps", "1.0")
    assert str(offer) == "toy-steps 1.0 (toy_steps:Toy)"


def test_listing_imports_nothing(install: Any) -> None:
    install("toy-broken", ONE_MUTATION.format(type_name="toy_broken", module="toy_broken"), "raise ImportError('x')")
    assert "toy_broken" in registry.types("mutations")
    assert [offer.type for offer in registry.offers("mutations")] == sorted(registry.types("mutations"))
    assert "toy_broken" not in sys.modules


def test_an_unknown_type_is_told_with_the_nearest_and_all_installed(install: Any) -> None:
    install.mutation("toy-steps", "toy_step")
    with pytest.raises(UnknownComponentError) as caught:
        registry.get("mutations", "toy_stepp")
    assert str(caught.value) == (
        "unknown type 'toy_stepp' (did you mean 'toy_step'?); "
        f"installed mutations: {', '.join(registry.types('mutations'))}"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownComponentError, match=r"^unknown type 'qqq'; installed mutations: "):
        registry.get("mutations", "qqq")


@pytest.mark.parametrize("call", [registry.offers, registry.types, Plugin])
def test_an_unknown_kind_is_a_mistake_of_the_caller(call: Any) -> None:
    with pytest.raises(ValueError, match="unknown kind 'mutation'; kinds: parameterizations, "):
        call("mutation")


def test_a_name_claimed_twice_is_refused_and_the_others_work(install: Any) -> None:
    install.mutation("toy-first", "toy_contested")
    install.mutation("toy-second", "toy_contested")
    install.mutation("toy-third", "toy_other")
    with pytest.raises(PluginConflictError) as caught:
        registry.get("mutations", "toy_contested")
    message = str(caught.value)
    assert "toy-first 1.0 (toy_first:Toy) and by toy-second 1.0 (toy_second:Toy)" in message
    assert registry.PLUGINS_VARIABLE in message
    assert caught.value.exit_code == 3
    assert registry.get("mutations", "toy_other").__module__ == "toy_third"


def test_one_of_two_claimants_can_be_chosen(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install.mutation("toy-first", "toy_contested")
    install.mutation("toy-second", "toy_contested")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, " Toy_Second ,")
    assert registry.get("mutations", "toy_contested").__module__ == "toy_second"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import a_package_nobody_has", "ModuleNotFoundError: No module named 'a_package_nobody_has'"),
        ("raise ImportError('libfoo is missing')", "ImportError: libfoo is missing"),
        ("assert False, 'wrong torch'", "AssertionError: wrong torch"),
        ("raise KeyboardInterrupt('by itself')", "KeyboardInterrupt: by itself"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import os\nos._exit(9)", r"SystemExit: os._exit(9)"),
        ("def broken(:", "SyntaxError: "),
        ("", "AttributeError: module 'toy_broken' has no attribute 'Toy'"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told_in_full(install: Any, code: str, cause: str) -> None:
    install("toy-broken", ONE_MUTATION.format(type_name="toy_broken", module="toy_broken"), code, version="2.5")
    install.mutation("toy-sound", "toy_sound")
    with pytest.raises(PluginLoadError) as caught:
        registry.get("mutations", "toy_broken")
    message = str(caught.value)
    assert message.startswith("plugin toy-broken 2.5 (toy_broken:Toy) failed to load as mutations 'toy_broken': ")
    assert cause in message
    assert message.endswith("mend or uninstall toy-broken")
    assert caught.value.exit_code == 3
    assert caught.value.__cause__ is not None
    assert registry.get("mutations", "toy_sound").__module__ == "toy_sound"


def test_an_interrupt_during_an_import_is_not_taken_for_a_broken_plugin(install: Any) -> None:
    points = ONE_MUTATION.format(type_name="toy_slow", module="toy_slow")
    install("toy-slow", points, "import signal\nsignal.raise_signal(signal.SIGINT)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            registry.get("mutations", "toy_slow")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_handler_that_an_import_sets_stays(install: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)" + dedent(
        MUTATION.format(class_name="Toy", type_name="toy_calm")
    )
    install("toy-calm", ONE_MUTATION.format(type_name="toy_calm", module="toy_calm"), code)
    own = signal.getsignal(signal.SIGINT)
    try:
        registry.get("mutations", "toy_calm")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGINT, own)


HEADER = """
from abc import abstractmethod
from typing import ClassVar, Literal
from pydantic import BaseModel
from lossforge.component import Component
"""
ODD = """
class Toy(Component):
    kind: ClassVar[str] = 'mutations'
    type: Literal['toy_odd'] = 'toy_odd'
"""


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("Toy = 3", "3 is not a lossforge Component class"),
        ("class Toy: ...", "is not a lossforge Component class"),
        ("class Toy(BaseModel): ...", "is not a lossforge Component class"),
        (
            "class Toy(Component):\n    kind: ClassVar[str] = 'losses'\n    type: Literal['toy_odd'] = 'toy_odd'",
            "is registered as mutations but its base class belongs to losses",
        ),
        (
            "class Toy(Component):\n    type: Literal['toy_odd'] = 'toy_odd'",
            "is registered as mutations but its base class belongs to none",
        ),
        (
            "class Toy(Component):\n    kind: ClassVar[str] = 'mutations'\n    type: Literal['other'] = 'other'",
            "declares type 'other', its entry point says 'toy_odd'",
        ),
        (
            "class Toy(Component):\n    kind: ClassVar[str] = 'mutations'\n    type: Literal['toy_odd'] = 'toy_odd'\n"
            "    @abstractmethod\n    def mutate(self): ...\n    @abstractmethod\n    def init(self): ...",
            "lacks init, mutate",
        ),
        ("class Toy(Component):\n    api_version = '1'", "has the api_version '1', which is not an integer"),
        ("class Toy(Component):\n    api_version = None", "has the api_version None, which is not an integer"),
        (ODD + "Toy.__doc__ = 5", "has the docstring 5, which is not a string"),
    ],
)
def test_a_plugin_that_is_not_what_it_promises_is_refused(install: Any, code: str, problem: str) -> None:
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), HEADER + code)
    with pytest.raises(PluginLoadError) as caught:
        registry.get("mutations", "toy_odd")
    message = str(caught.value)
    assert message.startswith("plugin toy-odd 1.0 (toy_odd:Toy): ")
    assert problem in message
    assert message.endswith("; update or uninstall toy-odd")


@pytest.mark.parametrize("method", ["__deepcopy__", "__hash__", "__repr__"])
def test_a_default_that_cannot_be_looked_at_is_a_load_error(install: Any, method: str) -> None:
    code = f"""
class Boom(list):
    def {method}(self, *_): raise RuntimeError('boom')
{ODD}    x: object = Boom()
"""
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), HEADER + code)
    with pytest.raises(PluginLoadError, match=r"plugin toy-odd 1\.0 .* RuntimeError: boom; mend or uninstall toy-odd"):
        registry.get("mutations", "toy_odd")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd",
            "Odd, whose text raises SystemExit",
        ),
        ("class Odd:\n    def __repr__(self): raise SystemExit('no')\nToy = Odd()", "SystemExit: no"),
    ],
)
def test_what_cannot_be_quoted_is_a_load_error(install: Any, code: str, told: str) -> None:
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), code)
    with pytest.raises(PluginLoadError, match=rf"plugin toy-odd 1\.0 .*: {told}; mend or uninstall toy-odd"):
        registry.get("mutations", "toy_odd")


@pytest.mark.parametrize(("version", "stale"), [(0, "toy-odd"), (99, "lossforge")])
def test_a_plugin_for_another_version_of_the_interface_says_what_to_upgrade(
    install: Any, version: int, stale: str
) -> None:
    code = f"""
class Toy(Component):
    kind: ClassVar[str] = 'mutations'
    api_version: ClassVar[int] = {version}
    type: Literal['toy_odd'] = 'toy_odd'
"""
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), HEADER + code)
    with pytest.raises(PluginVersionError) as caught:
        registry.get("mutations", "toy_odd")
    assert caught.value.api_version == version
    assert f"was written for plugin API {version}, this lossforge has 1; " in str(caught.value)
    assert str(caught.value).endswith(f"pip install --upgrade {stale}")


def test_whatever_an_import_raises_is_a_load_error(install: Any) -> None:
    code = "class Skipped(BaseException): ...\nraise Skipped('as pytest does')"
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), code)
    with pytest.raises(PluginLoadError, match="Skipped: as pytest does"):
        registry.get("mutations", "toy_odd")


def test_a_name_of_lossforges_own_is_lossforges(
    install: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.mutation("toy-usurper", "gaussian")
    for _ in range(2):
        assert registry.get("mutations", "gaussian").__module__ == "lossforge.mutations.gaussian"
    assert caplog.messages == [
        "mutations 'gaussian' is lossforge's own; that of plugin toy-usurper 1.0 (toy_usurper:Toy) is not used"
    ]
    assert registry.is_registered(registry.get("mutations", "gaussian")(type="gaussian"))
    (offer,) = [offer for offer in registry.offers("mutations") if offer.distribution == "toy-usurper"]
    assert registry.load(offer).__module__ == "toy_usurper"


def test_what_is_printed_while_a_plugin_is_imported_is_no_result(
    install: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    code = "print('hello')\n" + dedent(MUTATION.format(class_name="Toy", type_name="toy_loud"))
    install("toy-loud", ONE_MUTATION.format(type_name="toy_loud", module="toy_loud"), code)
    for _ in range(2):
        registry.get("mutations", "toy_loud")
    assert capsys.readouterr() == ("", "hello\n")
    assert caplog.messages == [
        "plugin toy-loud 1.0 (toy_loud:Toy) prints while it is imported; that went to standard error"
    ]


def test_what_an_import_changes_for_all_of_the_process_is_put_back_and_told_once(
    install: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    code = "import os, sys\nos.chdir('/')\nsys.stdout.close()\nsys.stdout = sys.stderr = None\n"
    install.mutation("toy-sound", "toy_sound")
    code += dedent(MUTATION.format(class_name="Toy", type_name="toy_odd"))
    install("toy-odd", ONE_MUTATION.format(type_name="toy_odd", module="toy_odd"), code)
    before = Path.cwd(), sys.stdout, sys.stderr
    for name in ("toy_odd", "toy_sound", "toy_odd"):
        registry.get("mutations", name)
    assert (Path.cwd(), sys.stdout, sys.stderr) == before
    print("whole", file=sys.stderr)
    print("sound")
    assert capsys.readouterr() == ("sound\n", "whole\n")
    assert caplog.messages == [
        "plugin toy-odd 1.0 (toy_odd:Toy) changes sys.stdout and sys.stderr and the current folder while it is "
        "imported; that was undone"
    ]


def test_a_plugin_that_fails_leaves_the_process_as_it_was(install: Any) -> None:
    points = ONE_MUTATION.format(type_name="toy_odd", module="toy_odd")
    install("toy-odd", points, "import os\nos.chdir('/')\nraise ImportError")
    before = Path.cwd()
    with pytest.raises(PluginLoadError):
        registry.get("mutations", "toy_odd")
    assert Path.cwd() == before


def test_a_plugin_that_is_left_out_is_named_to_those_who_ask_for_it(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.mutation("toy-steps", "toy_step")
    assert "toy-steps" not in registry.hidden()
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    assert "toy-steps" in registry.hidden()
    message = r"unknown type 'toy_step' \(that of toy-steps is left out by LOSSFORGE_PLUGINS\); installed mutations: "
    with pytest.raises(UnknownComponentError, match=message):
        registry.get("mutations", "toy_step")


def test_an_entry_point_that_is_no_path_to_an_object_is_a_load_error(install: Any) -> None:
    install("toy-odd", "[lossforge.mutations]\ntoy_odd = this is not a target\n")
    with pytest.raises(PluginLoadError, match=r"plugin toy-odd 1\.0 \(this is not a target\) failed to load"):
        registry.get("mutations", "toy_odd")


def test_no_plugins_leaves_the_built_ins(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install.mutation("toy-steps", "toy_step")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    assert "toy_step" not in registry.types("mutations")
    assert {offer.distribution for offer in registry.offers("mutations")} == {"lossforge"}
    assert "gaussian" in registry.types("mutations")


def test_only_listed_plugins_are_used(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install.mutation("toy-first", "toy_one")
    install.mutation("toy-second", "toy_two")
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "toy_first")
    assert "toy_one" in registry.types("mutations")
    assert "toy_two" not in registry.types("mutations")
    with pytest.raises(UnknownComponentError):
        registry.get("mutations", "toy_two")


def test_a_distribution_seen_twice_on_the_path_is_one_offer(
    install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.mutation("toy-steps", "toy_step")
    points = ONE_MUTATION.format(type_name="toy_step", module="toy_steps")
    install("toy-steps", points, folder=tmp_path / "other")
    monkeypatch.syspath_prepend(tmp_path / "other")
    monkeypatch.syspath_prepend(install.folder)
    registry.refresh()
    assert [offer.type for offer in registry.offers("mutations")].count("toy_step") == 1
    assert registry.get("mutations", "toy_step").__name__ == "Toy"


def test_metadata_is_read_once_for_all_that_a_distribution_offers_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    distribution = importlib.metadata.PathDistribution
    read_text = distribution.read_text
    monkeypatch.setattr(distribution, "read_text", lambda self, name: read.append(name) or read_text(self, name))
    registry.refresh()
    registry.offers("mutations")
    once = read.count("METADATA")
    for _ in range(3):
        registry.offers("mutations")
        registry.get("mutations", "gaussian")
    assert once > 0
    assert read.count("METADATA") == once


def test_the_remains_of_an_uninstalled_distribution_break_nothing(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.mutation("toy-steps", "toy_step")
    install("toy-remains", ONE_MUTATION.format(type_name="toy_gone", module="toy_gone"))
    (install.folder / "toy_remains-1.0.dist-info" / "METADATA").unlink()
    monkeypatch.delenv(registry.PLUGINS_VARIABLE)
    registry.refresh()
    assert registry.get("mutations", "toy_step").__name__ == "Toy"
    with pytest.raises(PluginLoadError, match=r"plugin unknown distribution \? \(toy_gone:Toy\) failed to load"):
        registry.get("mutations", "toy_gone")


def test_stevedore_takes_entry_points_from_the_cache_that_is_filled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the one detail of stevedore that the registry relies on."""
    group = "lossforge.made_up_for_this_test"
    point = importlib.metadata.EntryPoint("the_path", "pathlib:PurePath", group)
    monkeypatch.setitem(ExtensionManager.ENTRY_POINT_CACHE, group, [point])
    manager: DriverManager[Any] = DriverManager(group, "the_path")
    assert manager.driver is __import__("pathlib").PurePath
    assert manager.list_entry_points() == [point]


def test_a_plugin_installed_after_stevedore_looked_is_seen(install: Any) -> None:
    install.mutation("toy-first", "toy_one")
    registry.get("mutations", "toy_one")
    install.mutation("toy-second", "toy_two")
    assert registry.get("mutations", "toy_two").__module__ == "toy_second"


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, lossforge.registry as r; r.types('losses'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
