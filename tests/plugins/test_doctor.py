"""The doctor finds what is wrong with each plugin and names what mends it, and survives them all."""

from __future__ import annotations

import json

import pytest

from lossforge import registry
from lossforge.plugins import doctor, requirements


@pytest.fixture(scope="module")
def examined(hostile):
    """What it says of all that misbehave, by distribution, and by type."""
    outcome = hostile.using(
        "toy-missing", "toy-bad", "toy-first", "toy-second", "toy-shadow", "toy-meddler", "toy-death"
    ).lossforge("plugins", "doctor", "--timeout", "4", "--json")
    assert (outcome.code, outcome.err) == (3, "")
    found = json.loads(outcome.out)["distributions"]
    assert found[0]["distribution"] == "lossforge"
    assert found[0]["is_well"]
    findings = {
        (each["distribution"], finding["offer"]["type"]): finding for each in found[1:] for finding in each["findings"]
    }
    return {each["distribution"]: each for each in found}, findings


def test_an_import_that_fails_has_its_traceback_from_the_plugin_on(examined):
    for name, error in (
        ("toy_import", "ImportError: libfoo is not there"),
        ("toy_assert", "AssertionError: wrong torch"),
        ("toy_exit", "SystemExit: no licence"),
        ("toy_interrupt", "KeyboardInterrupt"),
        ("toy_generator", "GeneratorExit"),
    ):
        finding = examined[1]["toy-bad", name]
        assert (finding["status"], finding["text"]) == ("failed", error)
        first, place, _, last = finding["traceback"].splitlines()
        assert (first, last) == ("Traceback (most recent call last):", error)
        assert f"{name}_module.py" in place


def test_classes_that_are_not_what_they_should_be_are_told(examined):
    findings = examined[1]
    assert "its base class belongs to losses" in findings["toy-bad", "toy_base"]["text"]
    assert "mutable list [0.1, 0.2] as default of field 'lengths'" in findings["toy-bad", "toy_mutable"]["text"]
    old = findings["toy-bad", "toy_old"]
    assert old["status"] == "old api"
    assert "written for plugin API 0" in old["text"]
    assert old["remedy"].startswith("pip install --upgrade toy-bad")


def test_names_that_are_taken_are_told_with_the_choice(examined):
    findings = examined[1]
    first, shadow = findings["toy-first", "toy_contested"], findings["toy-shadow", "gaussian"]
    assert (first["status"], shadow["status"]) == ("conflict", "shadowed")
    assert "toy-second 2.5" in first["text"]
    assert "LOSSFORGE_PLUGINS=toy-first" in first["remedy"]


def test_requirements_that_are_not_met_have_their_pip_command(examined):
    problems = examined[0]["toy-missing"]["problems"]
    assert [problem["remedy"] for problem in problems] == [
        "pip install 'A.Package_nobody-has[fast]>=1.12'",
        "pip install 'torch<1'",
    ]
    finding = examined[1]["toy-missing", "toy_missing"]
    assert finding["remedy"] == "pip install 'A.Package_nobody-has[fast]>=1.12'"


def test_what_prints_or_takes_long_is_well_and_told(examined):
    distribution, findings = examined[0]["toy-bad"], examined[1]
    assert distribution["printed"].split() == ["{hello}", "world"]
    assert findings["toy-bad", "toy_loud"]["status"] == findings["toy-bad", "toy_slow"]["status"] == "ok"
    assert findings["toy-bad", "toy_slow"]["seconds"] >= 2.2


def test_what_an_import_changes_for_all_is_told(examined):
    findings = examined[1]
    meddler = findings["toy-meddler", "toy_meddles"]
    assert meddler["status"] == "ok"
    assert meddler["changes"] == ["sys.stderr", "torch's default dtype", "the current folder"]
    assert findings["toy-bad", "toy_loud"]["changes"] == []


def test_imports_that_end_the_process_or_never_end_leave_the_others_be(examined):
    findings = examined[1]
    assert findings["toy-death", "toy_dies"]["text"] == "its import ends the process with exit code 9"
    hung = findings["toy-death", "toy_hangs"]
    assert (hung["status"], hung["seconds"]) == ("hung", None)
    assert "toy_hangs_module.py" in hung["traceback"]
    assert findings["toy-death", "toy_lives"]["status"] == "ok"


@pytest.mark.parametrize(
    ("requires", "remedy"),
    [
        (["other", "sympy>=1.12"], "pip install 'sympy>=1.12'"),
        (["SymPy>=1.12; extra == 'symbolic'"], "pip install 'toy[symbolic]'"),
        (["sympy @ https://example.org/sympy.whl"], "pip install 'sympy @ https://example.org/sympy.whl'"),
        (
            [],
            "toy does not declare the package that has the module 'sympy.core'; if it is called so: pip install sympy",
        ),
        (
            None,
            "toy does not declare the package that has the module 'sympy.core'; if it is called so: pip install sympy",
        ),
        (["what > is = this", "sympy"], "pip install sympy"),
        (["python-nobody>=4", "torch", "a-nobody; extra == 'a'"], "pip install 'python-nobody>=4'"),
        (["python-nobody>=4", "sympy"], "pip install sympy"),
    ],
)
def test_a_missing_module_is_mended_by_what_is_declared(monkeypatch, requires, remedy):
    monkeypatch.setattr(requirements.importlib.metadata, "requires", lambda name: requires)
    assert requirements.remedy_of_missing("sympy.core", "toy") == remedy


def test_a_requirement_that_cannot_be_read_is_a_problem(monkeypatch):
    monkeypatch.setattr(requirements.importlib.metadata, "requires", lambda name: ["what > is = this"])
    (problem,) = requirements.unmet("toy")
    assert "'what > is = this' cannot be read" in problem.text


def test_an_installed_requirement_without_a_version_is_told_as_such(monkeypatch):
    monkeypatch.setattr(requirements.importlib.metadata, "requires", lambda name: ["torch>=2", "click"])
    monkeypatch.setattr(requirements.importlib.metadata, "version", lambda name: None)
    (problem,) = requirements.unmet("toy")
    assert problem.text == "needs torch>=2; installed is one whose version is not known"


def test_an_extra_of_which_something_lacks_is_told(tmp_path, monkeypatch):
    needs = ["click", "nobody-has-this; extra == 'fast'", "torch; extra == 'slow'", "torch<1; extra == 'old'"]
    written(tmp_path, "toy-extras", ["fast", "slow", "old"], needs)
    monkeypatch.syspath_prepend(tmp_path)
    assert requirements.extras_not_met("toy-extras") == ["fast", "old"]
    assert requirements.unmet("toy-extras") == []


def written(folder, name, extras, needs):
    """Write the metadata of a distribution with extras and requirements."""
    info = folder / f"{name.replace('-', '_')}-2.5.dist-info"
    info.mkdir()
    lines = [f"Name: {name}", "Version: 2.5", *(f"Provides-Extra: {each}" for each in extras)]
    (info / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {each}" for each in needs]) + "\n")


def test_an_extra_that_refers_to_others_of_its_distribution_lacks_what_they_lack(tmp_path, monkeypatch):
    needs = (
        "click; extra == 'well'",
        "nobody-has-this; extra == 'fast'",
        "Toy_Extras[well]; extra == 'sound'",
        "toy-extras[well,fast]; extra == 'all'",
        "toy-extras[all]; extra == 'everything'",
        "toy-extras[there]; extra == 'back'",
        "toy-extras[back]; extra == 'there'",
        "toy-extras[unknown]; extra == 'odd'",
    )
    names = ("well", "fast", "sound", "all", "everything", "back", "there", "odd")
    written(tmp_path, "toy-extras", names, needs)
    monkeypatch.syspath_prepend(tmp_path)
    assert requirements.extras_not_met("toy-extras") == ["fast", "all", "everything"]
    assert requirements.unmet("toy-extras") == []


def test_a_requirement_with_an_extra_is_met_where_the_extra_is(tmp_path, monkeypatch):
    written(tmp_path, "toy-base", ["fast", "slow"], ["nobody-has-this>=3; extra == 'fast'", "click; extra == 'slow'"])
    written(tmp_path, "toy-user", [], ["toy-base[slow]", "toy-base[fast]>=2"])
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = requirements.unmet("toy-user")
    assert problem.text == "needs toy-base[fast], which needs nobody-has-this>=3, which is not installed"
    assert problem.remedy == "pip install 'toy-base[fast]>=2'"


def test_a_module_of_its_own_that_is_missing_is_mended_by_installing_it_anew(monkeypatch):
    monkeypatch.setattr(requirements.importlib.metadata, "requires", lambda name: ["my-toy[a]; extra == 'all'"])
    assert requirements.remedy_of_missing("my_toy.core", "My.Toy") == "pip install --force-reinstall My.Toy"


@pytest.fixture
def examined_here(tmp_path, monkeypatch):
    """What is said of distributions with presets alone, by their metadata, in this process."""

    def examine(metadata, presets="toy = nobody_has_this"):
        for name, content in metadata.items():
            info = tmp_path / f"{name}-2.5.dist-info"
            info.mkdir()
            (info / "METADATA").write_bytes(content)
            (info / "entry_points.txt").write_text(f"[lossforge.presets]\n{presets}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv(registry.PLUGINS_VARIABLE, ",".join(metadata))
        monkeypatch.setattr(registry, "KINDS", ())
        registry.refresh()
        return doctor.examine_all(1.0)

    yield examine
    monkeypatch.undo()
    registry.refresh()


def test_presets_that_are_no_specs_or_have_the_name_of_another_are_problems(tmp_path, examined_here):
    texts = {"good": "extends: edl\n", "list": "- a\n", "odd": "name: [\n", "twice": "seed: 1\nseed: 2\n", "edl": ""}
    folder = tmp_path / "toy_package" / "presets"
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    metadata = {f"toy_{name}": f"Name: toy-{name}\nVersion: 2.5\n".encode() for name in ("one", "two")}
    one, two = examined_here(metadata, "\n".join(f"{name} = toy_package" for name in texts))
    assert one.presets == two.presets == tuple(sorted(texts))
    problems = [problem.text for problem in one.problems]
    assert [each for each in problems if "also claimed by" in each] == [
        f"preset {name}: also claimed by toy-two 2.5 (toy_package)" for name in ("good", "list", "odd", "twice")
    ]
    assert [each for each in problems if "good" in each and "also claimed by" not in each] == []
    assert "preset edl: the name is lossforge's own, which is used" in problems
    wrong = [each for each in problems if each.endswith("; of plugin toy-one 2.5 (toy_package)")]
    assert [each.partition(":")[0] for each in wrong] == ["preset list", "preset odd", "preset twice"]


def test_presets_and_distributions_that_cannot_be_read_are_problems(examined_here):
    presets, latin = examined_here(
        {"toy_presets": b"Name: toy-presets\nVersion: 2.5\n", "toy_latin": b"Author: Ren\xe9\n"}
    )
    assert not presets.is_well
    assert "no package 'nobody_has_this' with presets/toy.yaml" in presets.problems[0].text
    assert presets.problems[0].remedy == "pip install --upgrade toy-presets or pip uninstall toy-presets"
    assert (latin.distribution, latin.problems[0].remedy) == ("toy-latin", "reinstall or remove it")
    assert "UnicodeDecodeError" in latin.problems[0].text
