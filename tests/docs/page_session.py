"""A reader who types what a page shows, block after block, in one empty folder."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.metadata
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from code_blocks import Block
from ruamel.yaml import YAML

from lossforge import presets, registry
from lossforge.cli import main
from lossforge.errors import LossforgeError, SpecError
from lossforge.spec import AblationSpec, CompareSpec, RunSpec, SearchSpec, TrainingSpec, spec_from_text

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps")


class PageSession:
    """The current folder, the names that Python knows, and what was printed last."""

    def __init__(self, page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.page, self.folder, self._monkeypatch = page, folder, monkeypatch
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""

    def run(self, block: Block) -> None:
        """Do what the reader would do with the block, and what its rules say."""
        if block.rule("skip") is not None:
            return
        if (excerpt := block.rule("excerpt")) is not None:
            _check_excerpt(block, ROOT / excerpt)
            return
        if (given := block.rule("given")) is not None:
            exec(given, self.names)
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.tested, encoding="utf-8")
        if block.rule("output") is not None:
            assert _stripped(block.text) == _stripped(self.printed), f"{self.page.name}:{block.line}"
        elif not (block.title and block.language == "python"):
            getattr(self, f"_{block.language}")(block)

    def _python(self, block: Block) -> None:
        code = "\n" * block.line + block.tested  # so that a traceback names the line of the page
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, str(self.page), "exec"), self.names)
        self.printed = out.getvalue()

    def _pycon(self, block: Block) -> None:
        names, name = dict(self.names), f"{self.page.name}:{block.line}"
        test = doctest.DocTestParser().get_doctest(block.tested, names, name, str(self.page), block.line)
        report = io.StringIO()
        outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.write)
        assert outcome.attempted > 0
        assert outcome.failed == 0, report.getvalue()

    def _console(self, block: Block) -> None:
        exits = int(block.rule("exits") or 0)
        for number, command in enumerate(block.commands, 1):
            code, out, err = self._command(shlex.split(command, comments=True), block)
            self.printed = out or err
            expected = exits if number == len(block.commands) else 0
            assert code == expected, f"{self.page.name}:{block.line}: {command}\n{out}{err}"

    def _command(self, words: list[str], block: Block) -> tuple[int, str, str]:
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            self._monkeypatch.setenv(*words.pop(0).split("=", 1))
        if words[0] == "lossforge":
            return _lossforge([*words[1:], *block.added(words[1])])
        if words[0] == "python" and words[1] != "-m":
            self._monkeypatch.setattr(sys, "argv", words[1:])
            with contextlib.redirect_stdout(io.StringIO()) as out:
                runpy.run_path(words[1], run_name="__main__")
            return 0, out.getvalue(), ""
        if words[:2] == ["pip", "install"]:
            return self._install([word for word in words[2:] if word != "-e"])
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def _install(self, what: list[str]) -> tuple[int, str, str]:
        """Install what the page has written where this process finds it; from here on these plugins are used."""
        names = [re.sub(r"\[[\w,]+\]$", "", each) for each in what]
        folders = [name for name in names if (self.folder / name / "pyproject.toml").is_file()]
        target = self.folder / ".installed"
        out = err = ""
        if folders:
            done = subprocess.run([*PIP, "--target", str(target), *folders], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            out, err = done.stdout, done.stderr
            self._monkeypatch.syspath_prepend(target)
            self._monkeypatch.setenv("PYTHONPATH", str(target))
        self._monkeypatch.setenv(registry.PLUGINS_VARIABLE, ",".join(map(self._distribution, names)))
        importlib.invalidate_caches()
        registry.refresh()
        return 0, out, err

    def _distribution(self, name: str) -> str:
        """Return what the page's folder is called by its project, or the name of what is installed already."""
        if (self.folder / name).is_dir():
            return str(tomllib.loads((self.folder / name / "pyproject.toml").read_text())["project"]["name"])
        return importlib.metadata.distribution(name).name

    def _yaml(self, block: Block) -> None:
        data = YAML(typ="safe").load(block.tested)
        if block.rule("invalid") is not None:
            with pytest.raises(SpecError):
                spec_from_text(block.tested, self.page.name)
            return
        if "variants" in data:
            path = self.folder / (block.title or "ablation.yaml")
            path.write_text(block.tested, encoding="utf-8")
            AblationSpec.from_yaml(path)
        elif block.title is not None and "evidence" in data and "search" not in data:
            path = self.folder / block.title
            path.write_text(block.tested, encoding="utf-8")
            CompareSpec.from_yaml(path)
        elif "extends" in data or ("search" in data and "schema_version" in data):
            spec_from_text(block.tested, self.page.name)
        else:
            _check_part(data)

    def _toml(self, block: Block) -> None:
        assert tomllib.loads(block.tested)

    def _json(self, block: Block) -> None:
        assert json.loads(block.tested)

    def _text(self, block: Block) -> None:
        """What is for reading alone."""


def _lossforge(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main.main(arguments, prog_name="lossforge")
    return int(left.value.code or 0), out.getvalue(), err.getvalue()


def _check_part(data: dict[str, Any]) -> None:
    """Check a part of a spec, put where its keys belong, in the first preset that takes it."""
    sections = {"": RunSpec, "search.": SearchSpec, "training.": TrainingSpec}
    (place,) = [each for each, model in sections.items() if set(data) <= set(model.model_fields)][:1] or [None]
    assert place is not None, f"{', '.join(data)} are no fields of one section of a spec"
    training = ["training={dataset: digits, model: resnet8}"] * (place == "training." or "evidence" in data)
    overrides = [f"{place}{key}={json.dumps(value)}" for key, value in data.items()]
    problems = []
    for preset in presets.names():
        try:
            presets.load(preset, [*training, *overrides])
        except LossforgeError as error:
            problems.append(str(error))
    assert len(problems) < len(presets.names()), problems[0]


def _check_excerpt(block: Block, path: Path) -> None:
    lines = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()}
    missing = [line for line in block.text.splitlines() if line.strip() not in lines]
    assert missing == [], f"not in {path.relative_to(ROOT)}: {missing[0]}"


def _stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
