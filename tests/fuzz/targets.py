"""What is fuzzed: each target takes any bytes, and lets nothing out but what is no error of ours."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from lossforge import presets
from lossforge.artifact import Artifact, load_artifact
from lossforge.errors import LossforgeError
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP, PolyLoss
from lossforge.spec import RunSpec, spec_from_text, trace_spec
from lossforge.spec.document import parse
from lossforge.spec.problems import Source

EXAMPLES = Path(__file__).parents[2] / "examples"
PART = b"\x00"
"""Between spec, base and overrides of the second target."""

FILE = b"\n\x00\n"
"""Between the files of the third."""

Target = Callable[[bytes], None]


def read_yaml(data: bytes) -> None:
    """Read YAML; what comes of it is plain, and every value has its place."""
    with contextlib.suppress(LossforgeError):
        document = parse(data.decode("utf-8", "replace"), Source("f.yaml"))
        for path, value in _values(document.data, ()):
            assert type(value) in (dict, list, str, int, float, bool, type(None)), value
            assert path in document.spots


def _values(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _values(inner, (*path, key))


def validate_spec(data: bytes) -> None:
    """Validate a spec with what it extends and overrides; a valid one is written so that it reads back."""
    spec, base, *overrides = [*data.split(PART), b""][:8]
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(LossforgeError):
        (Path(name) / "my.yaml").write_bytes(spec)
        (Path(name) / "base.yaml").write_bytes(base)
        traced = trace_spec(Path(name) / "my.yaml", [each.decode("utf-8", "replace") for each in overrides if each])
        for text in (traced.spec.to_yaml(), traced.to_yaml()):
            assert _reread(text) == traced.spec


def _reread(text: str) -> RunSpec:
    try:
        return spec_from_text(text)
    except LossforgeError as error:
        raise AssertionError(f"a valid spec is not written as one: {error}") from error


def open_artifact(data: bytes) -> None:
    """Load an artifact; one that loads can be evaluated, told apart, and exported."""
    content, _, tensors = data.partition(FILE)
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(LossforgeError):
        (Path(name) / "loss.json").write_bytes(content)
        (Path(name) / "loss.safetensors").write_bytes(tensors)
        artifact = load_artifact(name)
        assert len(artifact.identity()) == 64
        compile(artifact.source(), "loss.py", "exec")
        artifact.loss()


TARGETS: dict[str, Target] = {"yaml": read_yaml, "spec": validate_spec, "artifact": open_artifact}

TOKENS = [
    *(
        "<<: ",
        "*a",
        "&a ",
        "!!python/object/apply:os.system ",
        "!x ",
        "extends: base.yaml\n",
        "extends: edl\n",
        "type: ",
    ),
    *("null", "1e999", "-.inf", ".nan", "? ", "- ", "|\n", "%YAML 1.1\n---\n", "\\ud800", "${HOME}", "~", "true", "[]"),
    *("search.strategy.sigma=", "search.references.0=", "hidden", "format_version", "solution", "data_offsets", "F32"),
    *("schema_version: ", "{}", "9223372036854775808", '"\\u0000"', "\x00", "unregistered: true", "../", "/dev/zero"),
]
"""What a mutation seldom hits upon."""

MERGES = """\
a: &a {type: mixture, alpha: 1.0}
b: &b [*a, {<<: *a, alpha: 2.0}]
c: {<<: [*a, {x: &x 1}], y: *x, <<: {z: *b}}
"""


@functools.cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Return inputs to start from."""
    texts = [*map(presets.text, presets.names()), *(path.read_text() for path in sorted(EXAMPLES.rglob("*.yaml")))]
    specs = [text.encode() for text in texts]
    if target == "yaml":
        return (*specs, MERGES.encode(), presets.load("edl").to_yaml().encode())
    if target == "spec":
        top = b"extends: base.yaml\nname: mine\nsearch: {strategy: {sigma: 0.1}, mutation: {type: gaussian}}\n"
        overrides = [b"search.strategy.sigma=0.2", b"search.references=[gce, {type: gce, q: 0.5}]", b"seed=3"]
        return (*specs, *(PART.join([top, base, *overrides]) for base in specs), b"extends: edl\nname: x\n")
    return tuple(_artifact(family) for family in (PairwiseMLP(), ClasswiseMLP(hidden=(3, 2)), PolyLoss()))


def _artifact(family: Any) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        Artifact("x", family, torch.ones(family.num_parameters), 1.5, {"seed": 3}).save(name)
        return FILE.join((Path(name) / file).read_bytes() for file in ("loss.json", "loss.safetensors"))
