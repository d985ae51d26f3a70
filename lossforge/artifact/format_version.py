"""Which version of the artifact's format is read, and what reads a newer one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from lossforge.errors import ArtifactError
from lossforge.spec.problems import shorten
from lossforge.version import __version__

FORMAT_VERSION = 1
"""Version of the artifact format this lossforge reads and writes."""


def check_version(path: Path, version: Any, written_by: Any) -> None:
    """Raise ArtifactError for the ``format_version`` of a file that is not read here; it names what reads it."""
    if type(version) is int and version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version {shorten(str(version))} is newer than this lossforge ({__version__}) reads, which "
            f"is {FORMAT_VERSION}; {_who_reads_it(written_by)}"
        )
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactError(f"{path}: format_version {shorten(str(version))}: must be {FORMAT_VERSION}; export it anew")


def _who_reads_it(written_by: Any) -> str:
    upgrade = "wrote it and reads it: pip install --upgrade lossforge"
    if not (isinstance(written_by, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,40}", written_by)):
        return f"a later one {upgrade}"
    try:
        is_later = Version(Version(written_by).public) > Version(__version__)
    except InvalidVersion:
        return f"a later one {upgrade}"
    if is_later:
        return f"lossforge {written_by} {upgrade}"
    return f"yet it says that lossforge {written_by} wrote it, which writes no such format: it was changed since"
