"""A new plugin is complete: it installs, is seen at once, passes its own tests and is well formatted, of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest

from lossforge import registry
from lossforge.errors import OutputError, ProjectError
from lossforge.plugins.scaffold import LONGEST, Project, render, write


def ruff(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_plugins_of_every_kind_are_seen_at_once_and_pass_their_tests_as_written(
    new_environment, editable_wheels, tmp_path
):
    projects = [Project.named(f"new-{kind}", kind) for kind in registry.KINDS]
    trees = [tmp_path / project.distribution for project in projects]
    for project, tree in zip(projects, trees, strict=True):
        write(project, tree)
    environment = new_environment(tmp_path / "environment").using(*(project.distribution for project in projects))
    environment.install(*editable_wheels(tmp_path, *trees))
    listed = environment.lossforge("plugins", "list", "--json")
    rows = [row for row in json.loads(listed.out) if row["distribution"] != "lossforge"]
    assert [(row["kind"], row["type"], row["distribution"], row["status"]) for row in rows] == [
        (project.kind, project.type, project.distribution, "ok") for project in projects
    ]
    ini = (
        "-c",
        trees[0] / "pyproject.toml",
        "--rootdir",
        tmp_path,
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
    )
    tested = environment.run("-m", "pytest", "--quiet", "-rs", *ini, *(tree / "tests" for tree in trees), cwd=tmp_path)
    assert tested.code == 0, tested.out
    skipped = [line for line in tested.out.splitlines() if line.startswith("SKIPPED")]
    assert all(line.endswith("the kit's attribute `library` names none") for line in skipped), tested.out


@pytest.mark.parametrize("type_name", ["x", "y" * LONGEST])
def test_what_is_written_is_formatted_and_linted_whatever_the_name(tmp_path, type_name):
    for kind in registry.KINDS:
        write(Project.named(f"of-{kind}", kind, type_name), tmp_path / kind)
    ruff("format", "--check", cwd=tmp_path)
    ruff("check", cwd=tmp_path)


def test_a_project_is_complete_and_says_what_it_offers():
    texts = render(Project.named("Lossforge-My.Steps", "mutations", "wide"))
    assert list(texts) == [
        "pyproject.toml",
        "README.md",
        ".gitignore",
        ".github/workflows/test.yml",
        "src/lossforge_my_steps.py",
        "tests/test_wide.py",
        "examples/wide.yaml",
    ]
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["name"] == "lossforge-my-steps"
    assert project["entry-points"] == {"lossforge.mutations": {"wide": "lossforge_my_steps:WideMutation"}}
    assert project["optional-dependencies"]["test"][0] == "lossforge[testing]"
    assert all("{{" not in text and "{%" not in text for text in texts.values())


@pytest.mark.parametrize(
    ("name", "kind", "type_name", "problem"),
    [
        ("1st", "mutations", None, "'1st' is no name of a distribution"),
        ("../steps", "mutations", None, "'../steps' is no name of a distribution"),
        (
            "Lossforge",
            "losses",
            None,
            "'Lossforge' is the name of lossforge itself; name the plugin after what it adds",
        ),
        ("lossforge-lossforge", "losses", "steps", "is the name of lossforge itself"),
        ("steps", "mutations", "Wide", "type 'Wide': only lower-case letters"),
        ("steps", "mutations", "y" * (LONGEST + 1), "at most 32 characters"),
        ("gaussian", "mutations", None, "mutations 'gaussian' is there already, of lossforge"),
        ("null", "mutations", None, "type 'null': a spec would read it as None; name it with --type"),
        ("steps", "mutations", "true", "type 'true': a spec would read it as True; name it with --type"),
        ("local", "losses", None, "the class would be called LocalLoss, like its base"),
    ],
)
def test_names_that_would_not_work_are_refused(name, kind, type_name, problem):
    with pytest.raises(ProjectError, match=problem):
        render(Project.named(name, kind, type_name))


def test_what_is_installed_already_is_refused(monkeypatch, tmp_path):
    (tmp_path / "lossforge_steps-1.0.dist-info").mkdir()
    (tmp_path / "lossforge_steps-1.0.dist-info" / "METADATA").write_text("Name: lossforge-steps\nVersion: 1.0\n")
    (tmp_path / "lossforge_other.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProjectError, match="lossforge-steps is installed already"):
        Project.named("steps", "mutations")
    with pytest.raises(ProjectError, match="a module lossforge_other can be imported already"):
        Project.named("other", "mutations")


@pytest.mark.parametrize("name", ["torch", "numpy", "json"])
def test_a_name_of_another_package_hides_it_from_nobody(name):
    project = Project.named(name, "losses")
    files = [path.removesuffix(".py") for path in render(project) if path.startswith("src/")]
    assert (project.module, files) == (f"lossforge_{name}", [f"src/lossforge_{name}"])


def test_nothing_is_overwritten(tmp_path):
    project = Project.named("steps", "mutations")
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputError, match="exists already; choose another with --out"):
            write(project, folder)
    with pytest.raises(OutputError, match="cannot be written"):
        write(project, tmp_path / "file" / "inside")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kind_without_a_template_is_told():
    with pytest.raises(
        ProjectError, match=f"there is no template for trees; there are: {', '.join(sorted(registry.KINDS))}"
    ):
        render(Project("lossforge-x", "lossforge_x", "trees", "x"))
