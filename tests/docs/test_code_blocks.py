"""Every code block of every page runs, in order, as its reader would run it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import markdown
import pytest
from code_blocks import RULES, Block, blocks_of
from page_session import ROOT, PageSession

from lossforge import registry

ELSEWHERE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "plugins/README.md", "examples/adapters/README.md")
PLUGINS = sorted((ROOT / "plugins").glob("*/README.md"))
PAGES = [ROOT / name for name in ELSEWHERE] + PLUGINS + sorted((ROOT / "docs").rglob("*.md"))
BLOCKS = {path.relative_to(ROOT).as_posix(): list(blocks_of(path)) for path in PAGES}
NOT_RUN = {
    "README.md": ["make run"],
    "examples/adapters/README.md": [
        "pip install lightning transformers accelerate timm",
        "python examples/adapters/plain_loop.py runs/quickstart",
    ],
    "plugins/lossforge-taylor/README.md": ["$ python -m pytest plugins/lossforge-taylor"],
    "plugins/lossforge-trackers/README.md": ["tensorboard --logdir runs"],
    "docs/howto/trackers.md": ["tensorboard --logdir runs"],
    "docs/tutorial.md": ["make install"],
}
"""How each block that does not run begins, by its page."""


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageSession]:
    """Somebody with the examples of a clone in an otherwise empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("examples", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    yield PageSession(ROOT / request.param, tmp_path, monkeypatch)
    monkeypatch.undo()
    for name in [name for name, module in sys.modules.items() if _is_in(tmp_path, module)]:
        del sys.modules[name]
    registry.refresh()


def _is_in(folder: Path, module: ModuleType) -> bool:
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(folder)


@pytest.mark.parametrize("reader", [name for name, blocks in BLOCKS.items() if blocks], indirect=True)
def test_the_blocks_of_a_page_run_in_order(reader):
    for block in blocks_of(reader.page):
        reader.run(block)


def test_what_does_not_run_is_known():
    skipped = {
        name: [re.split(r" {2}|\n", block.text)[0] for block in blocks if block.rule("skip") is not None]
        for name, blocks in BLOCKS.items()
    }
    assert {name: lines for name, lines in skipped.items() if lines} == NOT_RUN


def test_a_block_that_does_not_run_says_why():
    reasons = [block.rule("skip") for blocks in BLOCKS.values() for block in blocks]
    assert all(len(reason.split()) > 2 for reason in reasons if reason is not None)


@pytest.mark.parametrize("name", BLOCKS)
def test_all_code_is_in_fences_and_every_rule_before_one(name):
    """What is only indented would not be seen by these tests, nor a rule that stands elsewhere."""
    path, blocks = ROOT / name, BLOCKS[name]
    text = path.read_text(encoding="utf-8")
    html = markdown.markdown(text, extensions=["pymdownx.superfences", "pymdownx.highlight"])
    # What is indented on a generated page is an equation of a docstring.
    assert html.count("<pre>") == len(blocks) or "reference" in path.parts
    assert len(re.findall(r"^ *<!-- test:", text, flags=re.MULTILINE)) == sum(len(block.rules) for block in blocks)
    assert {rule for block in blocks for rule, _ in block.rules} <= RULES


class TestRules:
    """What the tests above would miss, if it did not work."""

    def blocks(self, tmp_path, text):
        (tmp_path / "page.md").write_text(text)
        return list(blocks_of(tmp_path / "page.md"))

    def test_rules_belong_to_the_next_block_alone(self, tmp_path):
        rules = '<!-- test: replace "a = 1" "a = 2" -->\n<!-- test: given b = 3\nc = 4 -->\n'
        text = rules + "```python\na = 1\n```\n\n```python\na\n```\n"
        first, second = self.blocks(tmp_path, text)
        assert (first.tested, first.rule("given"), first.line) == ("a = 2\n", "b = 3\nc = 4", 4)
        assert second.rules == ()

    def test_a_replacement_of_what_is_not_there_is_a_failure(self, tmp_path):
        (block,) = self.blocks(tmp_path, '<!-- test: replace "b" "c" -->\n```python\na = 1\n```\n')
        with pytest.raises(AssertionError, match="line 2: 'b' is not in the block"):
            _ = block.tested

    def test_commands_are_the_prompted_lines_or_all(self, tmp_path):
        text = "```console\n$ a --b \\\n  c\nprinted\n$ d\n```\n\n```console\na  # why\n# only this\n\nb\n```\n"
        first, second = self.blocks(tmp_path, text)
        assert [shlex.split(command) for command in first.commands] == [["a", "--b", "c"], ["d"]]
        assert second.commands == ["a  # why", "b"]

    @pytest.mark.parametrize(
        ("block", "problem"),
        [
            (Block("python", "1 / 0\n", 1, "", ()), "division"),
            (Block("console", "lossforge presets show edll\n", 1, "", ()), "did you mean 'edl'"),
            (Block("console", "lossforge presets list\n", 1, "", (("exits", "2"),)), "presets list"),
            (Block("console", "pip install lossforge-nowhere\n", 1, "", ()), "lossforge-nowhere"),
            (Block("yaml", "generations: -1\n", 1, "", ()), "generations"),
            (Block("yaml", "generation: 1\n", 1, "", ()), "no fields of one section"),
            (Block("text", "b\n", 1, "", (("output", ""),)), "page.md:1"),
            (Block("pycon", ">>> 1 + 1\n3\n", 1, "", ()), "Expected"),
            (Block("python", "nowhere\n", 1, "", (("excerpt", "examples/train.py"),)), "not in examples/train.py"),
            (Block("ruby", "1\n", 1, "", ()), "_ruby"),
        ],
    )
    def test_a_block_that_is_wrong_fails(self, block, problem, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        session = PageSession(tmp_path / "page.md", tmp_path, monkeypatch)
        with pytest.raises((AssertionError, ZeroDivisionError, AttributeError, ModuleNotFoundError), match=problem):
            session.run(block)

    def test_names_and_files_live_as_long_as_the_page(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        session = PageSession(tmp_path / "page.md", tmp_path, monkeypatch)
        session.run(Block("python", "a = 1\n", 1, "", ()))
        session.run(Block("python", "print(a)\n", 2, "b.py", ()))
        assert session.printed == ""
        session.run(Block("python", "print(a)\n", 3, "", (("given", "a += 1"),)))
        session.run(Block("text", "2\n", 4, "", (("output", ""),)))
        assert (tmp_path / "b.py").read_text() == "print(a)\n"
