"""Matplotlib figures as SVG elements of a page: its colours and font, ids of their own, nothing from outside."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.figure import Figure

# Matplotlib draws in colours that stand for CSS variables and are used for nothing else.
_VARIABLES = {"ink": 0x10, "muted": 0x11, "rule": 0x12} | {f"series-{index}": 0x20 + index for index in range(7)}
_STAND_IN = re.compile(r"#0000([0-9a-f]{2})")

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def stand_in(variable: str) -> str:
    """Return the colour to draw in for a CSS variable of the page."""
    return f"#0000{_VARIABLES[variable]:02x}"


def inline(figure: Figure, name: str, description: str) -> Markup:
    """Return the figure as SVG that can stand in an HTML page beside others.

    Namespaces, metadata and the style element go, for inline they are needless or would reach the whole page; ids get
    the chart's name before them, and those that nothing refers to go too.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
        parent.tag = _local(parent.tag)
        parent.attrib = {_local(key): value for key, value in parent.attrib.items()}
    used = set(re.findall(r"#([\w-]+)(?=[\")])", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            element.set(key, _attribute(key, value, name))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    if key == "style":
        # The page sets the font.
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
        value = _STAND_IN.sub(_variable, value)
    return value


def _variable(match: re.Match[str]) -> str:
    names = {number: variable for variable, number in _VARIABLES.items()}
    name = names.get(int(match[1], 16))
    return match[0] if name is None else f"var(--{name})"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
