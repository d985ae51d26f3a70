"""Which version of the spec format is read."""

from __future__ import annotations

from lossforge.spec.document import Document
from lossforge.spec.problems import Problem, describe, spec_error
from lossforge.version import __version__

SCHEMA_VERSION = 1
"""Version of the spec format this lossforge reads and writes."""

_KEY = "schema_version"


def refuse_newer(document: Document) -> None:
    """Raise SpecError where a spec is of a newer format; nothing else is told, for the rules of that are unknown."""
    version = document.data.get(_KEY)
    if type(version) is int and version > SCHEMA_VERSION:
        message = (
            f"{version} is newer than this lossforge ({__version__}) reads, which is {SCHEMA_VERSION}; a later one "
            "reads it: pip install --upgrade lossforge"
        )
        raise spec_error([Problem(document.spot((_KEY,)).value, (_KEY,), message)])


def check_version(document: Document) -> None:
    """Refuse a newer format, and note a version that is none."""
    refuse_newer(document)
    version, path = document.data.get(_KEY, SCHEMA_VERSION), (_KEY,)
    if (type(version) is not int or version != SCHEMA_VERSION) and path not in document.unreadable:
        spot = document.spot(path)
        message = f"expected {SCHEMA_VERSION}, got {describe(version, spot.text)}"
        document.problems.append(Problem(spot.value, path, message))
        document.unreadable.add(path)
