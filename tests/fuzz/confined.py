"""Reads hostile specs and artifacts under an audit hook; prints what happened that must not.

Components are imported before: to import what is installed is what names in a spec are for.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import targets

import lossforge
from lossforge import registry
from lossforge.artifact import load_artifact
from lossforge.errors import LossforgeError
from lossforge.spec import trace_spec

FORBIDDEN = ("exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen")
FORBIDDEN_PARTS = ("socket.", "ctypes.", "pickle.", "marshal.", "code.", "cpython.", "urllib.", "shutil.", "os.r")
PRESETS = Path(lossforge.__file__).parent / "presets"

CODE = "import os; os.system('true')"
SPECS = [
    f"name: !!python/object/apply:os.system ['true']\nx: !!python/object/new:eval [{CODE!r}]",
    "extends: !!python/name:os.system edl",
    "extends: /dev/zero",
    "extends: /etc/../dev/stdin",
    "extends: http://localhost/x.yaml",
    "extends: $(touch x).yaml",
    "extends: edl\nsearch: {mutation: 'os:system', sampler: {type: 'lossforge.cli:main'}}",
    "extends: edl\nsearch: {sampler: {type: ../../x}, objective: {type: __import__('os')}}",
    "extends: edl\nsearch: {sampler: {type: replay, path: /etc/passwd}}",
    "name: !include /etc/passwd",
    "<<: !!binary aaaa",
]


class Watch:
    """What the hook has seen while it was armed."""

    def __init__(self) -> None:
        self.allowed: tuple[Path, ...] | None = None
        self.violations: list[str] = []
        self.opened = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            self.opened += 1
            path = Path(str(arguments[0]))
            if not any(path.is_relative_to(folder) for folder in self.allowed):
                self.violations.append(f"open {path}")
        elif event in FORBIDDEN or event.startswith(FORBIDDEN_PARTS):
            self.violations.append(f"{event} {arguments}"[:300])


def main() -> None:
    for kind in registry.KINDS:
        for name in registry.types(kind):
            registry.get(kind, name)
    watch, refused = Watch(), 0
    sys.addaudithook(watch)
    folder = Path(tempfile.mkdtemp())
    try:
        inputs = [(SPECS + [seed.decode() for seed in targets.seeds("spec")], _spec), (_artifacts(folder), _artifact)]
        for hostile, read in inputs:
            read(hostile[-1], folder, watch)  # whatever is imported or filled on the first call
            watch.violations.clear()
            refused += sum(read(each, folder, watch) for each in hostile)
    finally:
        watch.allowed = None
        shutil.rmtree(folder)
    print(json.dumps({"violations": watch.violations, "opened": watch.opened, "refused": refused}))


def _spec(text: str, folder: Path, watch: Watch) -> bool:
    (folder / "my.yaml").write_text(text.partition("\0")[0])
    (folder / "base.yaml").write_text("extends: edl\n")
    watch.allowed = (folder, PRESETS)
    try:
        trace_spec(folder / "my.yaml", ["description=!!python/name:os.system x"] if "!!" in text else [])
    except LossforgeError:
        return True
    finally:
        watch.allowed = None
    return False


def _artifacts(folder: Path) -> list[Path]:
    """Make artifacts whose files hold code, lead out, or name things elsewhere; the last is sound."""

    class Payload:
        def __reduce__(self) -> Any:
            return exec, (CODE,)

    made = []
    for index, change in enumerate(("code", "pickle", "link", "tensor link", "name", "path", "type", "none")):
        made.append(folder / f"artifact-{index}")
        made[-1].mkdir()
        content, _, tensors = targets.seeds("artifact")[0].partition(targets.FILE)
        document = json.loads(content)
        document |= {"name": {"name": "../../etc/passwd"}, "path": {"path": "/etc/passwd"}}.get(change, {})
        if change == "type":
            document["parameterization"] = {"type": "os:system"}
        (made[-1] / "loss.json").write_text(json.dumps(document))
        (made[-1] / "loss.safetensors").write_bytes(pickle.dumps(Payload()) if change == "pickle" else tensors)
        (made[-1] / "loss.py").write_text(f"{CODE}\nraise RuntimeError\n")
        if "link" in change:
            name = "loss.safetensors" if "tensor" in change else "loss.json"
            (made[-1] / name).unlink()
            (made[-1] / name).symlink_to("/etc/passwd")
    return made


def _artifact(path: Path, folder: Path, watch: Watch) -> bool:
    watch.allowed = (path,)
    try:
        load_artifact(path)
    except LossforgeError:
        return True
    finally:
        watch.allowed = None
    return False


if __name__ == "__main__":
    main()
