"""Extension of griffe: docstrings written for Python's tools, as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)
ROLE = re.compile(r":(?:meth|class|func|mod|data|attr):`~?([^`]+)`")


class AsMarkdown(griffe.Extension):
    """Roles become code, doctests fenced blocks, and the double colon before an indented block a single one."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring in place."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
