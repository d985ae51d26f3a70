"""Extension of griffe: docstrings written for Python's tools, as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:meth|class|func|mod|data|attr):`~?([^`]+)`")


class AsMarkdown(griffe.Extension):
    """Roles become code, and the double colon before an indented block one."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring in place."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
