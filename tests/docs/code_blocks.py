"""The code blocks of a page, and what its comments say about how to test them.

A comment ``<!-- test: RULE -->`` on lines of its own before a block is a rule for it:

* ``add COMMAND OPTIONS``: every ``lossforge COMMAND`` of the block has these options, too, so that it takes seconds;
* ``replace "A" "B"``: B stands for A;
* ``given CODE``: Python that runs before the block;
* ``exits N``: the last command of the block ends with this exit code;
* ``invalid``: the spec has mistakes, which a later block tells;
* ``output``: the block (of ``text``) is what the block before it prints, and it prints just that;
* ``excerpt FILE``: its lines all stand in the file, an example that is tested elsewhere, and do not run here;
* ``skip REASON``: the block does not run; ``test_code_blocks.py`` lists those.

A block whose fence has ``title="FILE"`` is written to that file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)```(\S*)([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
RULE = re.compile(r"^ *<!-- test: (\w+) ?(.*?) -->\n", re.DOTALL | re.MULTILINE)
RULES = {"add", "replace", "given", "exits", "invalid", "output", "excerpt", "skip"}


@dataclass(frozen=True)
class Block:
    """A fenced block, its text as shown."""

    language: str
    text: str
    line: int
    title: str
    rules: tuple[tuple[str, str], ...]

    def rule(self, name: str) -> str | None:
        """Return what a rule says; None where the block has no such rule."""
        return next((text for each, text in self.rules if each == name), None)

    def added(self, command: str) -> list[str]:
        """Return the options that a command is given besides its own."""
        rules = [shlex.split(text) for name, text in self.rules if name == "add"]
        return [word for name, *options in rules if name == command for word in options]

    @property
    def tested(self) -> str:
        """The text after replacements."""
        text = self.text
        for old, new in (shlex.split(rule) for name, rule in self.rules if name == "replace"):
            assert old in text, f"line {self.line}: {old!r} is not in the block"
            text = text.replace(old, new)
        return text

    @property
    def commands(self) -> list[str]:
        """The commands of a console block: what follows ``$``, or every line where none has one."""
        lines = self.tested.splitlines()
        has_prompts = any(line.startswith("$ ") for line in lines)
        commands: list[str] = []
        continues = False
        for line in lines:
            if continues:
                commands[-1] += "\n" + line
            elif line.startswith("$ ") or not has_prompts:
                commands.append(line.removeprefix("$ "))
            else:
                continue
            continues = _is_open(commands[-1])
        return [command.replace("\\\n", " ") for command in commands if shlex.split(command, comments=True)]


def _is_open(command: str) -> bool:
    """Return whether a backslash, or an open quotation mark, says that a command goes on."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return command.endswith("\\")


def blocks_of(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    text, end = path.read_text(encoding="utf-8"), 0
    for fence in FENCE.finditer(text):
        indent, language, info, code = fence.groups()
        # The comments that stand last before the fence, nothing between.
        before = re.search(
            r"(?:^ *<!-- test: (?:(?!-->).)*-->\n)+\Z", text[end : fence.start()], re.DOTALL | re.MULTILINE
        )
        rules = tuple(RULE.findall(before[0])) if before else ()
        title = re.search(r'title="([^"]+)"', info)
        line = text.count("\n", 0, fence.start()) + 1
        code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        yield Block(language, code, line, title[1] if title else "", rules)
        end = fence.end()
