"""There is a kit for every kind, which says what it needs."""

from __future__ import annotations

import importlib
import sys

import pytest

import lossforge.testing
from lossforge import registry
from lossforge.mutations import GaussianMutation
from lossforge.testing import ComponentKit, MutationKit

KITS = [getattr(lossforge.testing, name) for name in lossforge.testing.__all__ if name != "ComponentKit"]
HEAD = "import pytest\nfrom lossforge.mutations import *\nfrom lossforge.testing import MutationKit\n\n"


def test_every_kind_has_a_kit():
    assert {kit.base.kind for kit in KITS} >= set(registry.KINDS)
    assert len({kit.base for kit in KITS}) == len(KITS)
    assert all(issubclass(kit, ComponentKit) for kit in KITS)


@pytest.mark.parametrize("kit", KITS)
def test_every_check_says_what_it_is_about(kit):
    checks = [value for name, value in vars(kit).items() if name.startswith("test_")]
    assert len(checks) >= 5
    assert all((check.__doc__ or "").strip() for check in checks)
    assert (kit.__doc__ or "").startswith("Checks of a")


def test_without_the_fixture_the_remedy_is_told(pytester_run):
    outcome = pytester_run("class TestMine(MutationKit):\n    pass\n")
    assert "TestMine needs a fixture `component` that returns the component to check" in outcome


def test_a_component_of_another_kind_is_told():
    with pytest.raises(AssertionError, match=r"GaussianMutation does not derive from lossforge\.interfaces\.Loss"):
        lossforge.testing.LossKit().test_it_is_of_its_kind(GaussianMutation())


def test_a_fixture_may_have_parameters(pytester_run):
    outcome = pytester_run(
        "class TestMine(MutationKit):\n"
        "    @pytest.fixture(params=[0.5, 2.0])\n"
        "    def component(self, request):\n"
        "        return PolynomialMutation(eta=request.param)\n"
    )
    checks = [name for name in dir(MutationKit) if name.startswith("test_")]
    assert f"{2 * (len(checks) + 2)} passed" in outcome, "two checks are of two precisions"


@pytest.fixture
def pytester_run(tmp_path, capsys):
    """Run a file of tests, as an author does, and return what pytest prints."""

    def run(text: str) -> str:
        path = tmp_path / f"test_{tmp_path.name}.py"  # a name that no other run has imported
        path.write_text(HEAD + text)
        pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                f"--rootdir={tmp_path}",
                "-c",
                "/dev/null",
                str(path),
            ]
        )
        return capsys.readouterr().out

    return run


def test_without_pytest_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    monkeypatch.delitem(sys.modules, "lossforge.testing")
    with pytest.raises(ImportError, match=r"pip install 'lossforge\[testing\]'"):
        importlib.import_module("lossforge.testing")
