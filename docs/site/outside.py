"""Hook of mkdocs: what lies outside docs/ and is linked from it has a place in the site, and links lead there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PUBLISHED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/**/*.*",
    "plugins/README.md",
    "plugins/*/README.md",
    "plugins/*/examples/*.*",
)
PLACE = "project/"
HOME = {"README.md": "index.md"}
"""The README is for those who read the repository; the site begins with a page of its own."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add each published file under ``project/``."""
    for path in sorted(each for pattern in PUBLISHED for each in ROOT.glob(pattern) if "__pycache__" not in each.parts):
        place = PLACE + path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between docs/ and the rest of the repository, true on disk, into links within the site."""
    here = posixpath.dirname(page.file.src_uri)
    on_disk = posixpath.dirname(_on_disk(page.file.src_uri))

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(on_disk, match[1]))
        place = HOME.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else PLACE + target)
        return posixpath.relpath(place, here or ".") if files.get_file_from_path(place) else match[1]

    return LINK.sub(moved, markdown)


def _on_disk(place: str) -> str:
    return place.removeprefix(PLACE) if place.startswith(PLACE) else f"docs/{place}"
