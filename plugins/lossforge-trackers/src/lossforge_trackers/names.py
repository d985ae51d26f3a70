"""Names and values within what MLflow takes (``mlflow/utils/validation.py``, 2.20 to 3.17)."""

from __future__ import annotations

import hashlib
import json
import re

from lossforge.types import Setting

LONGEST_NAME = 250
"""Characters of the name of a parameter or a metric."""

LONGEST_VALUE = 6000
"""Characters of the value of a parameter."""

_OTHERS = re.compile(r"[^\w.\- ]")


def key(name: str) -> str:
    """Return a name that MLflow takes, another one for each name.

    What may not stand in a part between slashes becomes ``_``, and the part gets the beginning of its SHA-256, as in
    ``train/gce_q_0.5_-3f2a9c1b/seed-0/train_loss``. MLflow takes names for paths as well, so no part is empty or dots.
    """
    parts = "/".join(map(_part, name.split("/")))
    return parts if len(parts) <= LONGEST_NAME else f"{parts[: LONGEST_NAME - 9]}-{_digest(name)}"


def text(value: Setting) -> str:
    """Return a value as a spec spells it; one that is too long ends in an ellipsis."""
    spelt = value if isinstance(value, str) else json.dumps(value)
    spelt = spelt.encode("utf-8", "backslashreplace").decode()
    return spelt if len(spelt) <= LONGEST_VALUE else spelt[: LONGEST_VALUE - 1] + "…"


def _part(part: str) -> str:
    cleaned = _OTHERS.sub("_", part)
    return part if part == cleaned and part.strip(".") else f"{cleaned}-{_digest(part)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
