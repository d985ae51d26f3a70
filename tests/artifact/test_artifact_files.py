"""The artifact on disk: exact, the same bytes every time, and refused by name where something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lossforge.artifact import FORMAT_VERSION, Artifact, load_artifact, load_loss
from lossforge.errors import ArtifactError
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.version import __version__

FAMILIES = [
    PairwiseMLP(),
    PairwiseMLP(features="prob", hidden=(16, 16), activation="relu", bias=False),
    ClasswiseMLP(log_scale=0.1, hidden=(3, 2)),
]
EVIDENCE = {"seed": 3, "held_out": {"fitness": 0.1, "metrics": {"a": None}}, "weight_profile": {"p": [1e-4, 0.5]}}


def make_artifact(family=FAMILIES[0]) -> Artifact:
    solution_D = family.init(1, torch.Generator().manual_seed(0))[0]
    return Artifact("my-loss", family, solution_D, 1 / 3, EVIDENCE)


@pytest.fixture
def folder(tmp_path) -> Path:
    make_artifact().save(tmp_path / "artifact")
    return tmp_path / "artifact"


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({}, ""),
        (EVIDENCE, ", held-out fitness 0.1"),
        ({"held_out": {"fitness": None}, "generations": 5, "evaluations": 240}, ", 5 generations, 240 evaluations"),
        ({"held_out": "x", "generations": {}, "evaluations": None}, ""),
    ],
)
def test_it_shows_as_a_line(evidence, told):
    artifact = dataclasses.replace(make_artifact(), evidence=evidence)
    num = PairwiseMLP().num_parameters
    assert repr(artifact) == f"<Artifact 'my-loss': pairwise_mlp of {num} parameters{told}>"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)
class TestRoundTrip:
    def test_everything_comes_back_exactly(self, family, tmp_path):
        artifact = make_artifact(family)
        artifact.save(tmp_path)
        back = load_artifact(tmp_path)
        assert back.name == "my-loss"
        assert back.parameterization == family
        assert back.solution_D.dtype == torch.float32
        assert torch.equal(back.solution_D, artifact.solution_D)
        assert back.scale == artifact.scale
        assert back.evidence == EVIDENCE

    def test_saving_again_gives_the_same_bytes(self, family, tmp_path):
        make_artifact(family).save(tmp_path / "a")
        make_artifact(family).save(tmp_path / "b")
        load_artifact(tmp_path / "a").save(tmp_path / "c")
        for name in ("loss.json", "loss.py", "loss.safetensors"):
            contents = {(tmp_path / copy / name).read_bytes() for copy in "abc"}
            assert len(contents) == 1

    def test_the_loaded_loss_computes_the_same(self, family, tmp_path):
        artifact = make_artifact(family)
        artifact.save(tmp_path)
        logits, target = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)), torch.arange(5)
        options = {"ignore_index": 2, "reduction": "sum", "label_smoothing": 0.1}
        weight = torch.arange(1.0, 11)
        expected = artifact.loss(weight, **options)(logits, target)
        assert torch.equal(load_loss(tmp_path, weight, **options)(logits, target), expected)


class TestFolder:
    def test_its_files(self, folder):
        assert sorted(os.listdir(folder)) == ["loss.json", "loss.py", "loss.safetensors"]

    def test_the_json(self, folder):
        content = json.loads((folder / "loss.json").read_text())
        assert content["format_version"] == FORMAT_VERSION == 1
        assert content["name"] == "my-loss"
        assert content["scale"] == 1 / 3
        assert content["parameterization"] == PairwiseMLP().model_dump(mode="json")
        assert content["held_out"] == EVIDENCE["held_out"]
        assert "unregistered" not in content["parameterization"]

    def test_a_run_directory_will_do(self, folder):
        assert torch.equal(load_artifact(folder.parent).solution_D, load_artifact(folder).solution_D)
        assert load_loss(str(folder.parent)).scale.item() == pytest.approx(1 / 3)

    def test_an_existing_artifact_is_replaced(self, folder):
        other = Artifact("another", FAMILIES[2], torch.ones(FAMILIES[2].num_parameters), 2.0)
        other.save(folder)
        assert load_artifact(folder).name == "another"
        assert sorted(os.listdir(folder)) == ["loss.json", "loss.py", "loss.safetensors"]

    def test_a_view_of_a_population_is_stored_alone(self, tmp_path):
        """A row, and a column, of a large tensor: only its own numbers are written."""
        family = FAMILIES[0]
        population = family.init(500, torch.Generator().manual_seed(0))
        for name, solution_D in (("row", population[7]), ("column", population.T.contiguous()[:, 7])):
            Artifact(name, family, solution_D, 1.0).save(tmp_path / name)
            assert torch.equal(load_artifact(tmp_path / name).solution_D, population[7])
            assert (tmp_path / name / "loss.safetensors").stat().st_size < 1000

    def test_reading_executes_nothing(self, folder):
        marker = folder / "executed"
        (folder / "loss.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise RuntimeError('loss.py was run')\n")
        (folder / "__init__.py").write_text("raise RuntimeError('a package was made of it')\n")
        before = set(sys.modules)
        assert load_artifact(folder).name == "my-loss"
        load_loss(folder)
        assert not marker.exists()
        assert not {name for name in set(sys.modules) - before if "loss.py" in str(sys.modules[name])}

    def test_the_standalone_code_is_not_needed(self, folder):
        (folder / "loss.py").unlink()
        assert load_artifact(folder).name == "my-loss"


def edit_json(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "loss.json").read_text())
        content.update(changes)
        (folder / "loss.json").write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return edit


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content)  # type: ignore[return-value]


def cut(name: str, share: float) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return edit


def store(**tensors: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: save_file(tensors, folder / "loss.safetensors")


def safetensors(**header: Any) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def put(make: Callable[[Path], Any], name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return edit


def nested(depth: int) -> dict[str, Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return {"type": "pairwise_mlp", "hidden": inner}


LONG = "x" * 500_000
OPTIONS = PairwiseMLP().model_dump(mode="json")
DAMAGE = {
    "json cut short": (cut("loss.json", 0.5), "loss.json: cannot be read"),
    "json empty": (write("loss.json", b""), "loss.json: cannot be read"),
    "json not text": (write("loss.json", b"\xff\xfe\x00"), "loss.json: cannot be read"),
    "json a list": (write("loss.json", b"[1, 2]"), "loss.json: not a lossforge artifact: format_version, name"),
    "json null": (write("loss.json", b"null"), "loss.json: not a lossforge artifact"),
    "no scale": (edit_json(scale=...), "loss.json: not a lossforge artifact: scale missing"),
    "newer": (
        edit_json(format_version=2, lossforge_version="9.1"),
        rf"loss.json: format_version 2 is newer than this lossforge \({re.escape(__version__)}\) reads, which is 1; "
        r"lossforge 9\.1 wrote it and reads it: pip install --upgrade lossforge$",
    ),
    "newer, by nobody": (
        edit_json(format_version=2, lossforge_version=["9.1"]),
        "which is 1; a later one wrote it and reads it: ",
    ),
    "newer, by this version": (
        edit_json(format_version=2, lossforge_version=__version__),
        rf"which is 1; yet it says that lossforge {re.escape(__version__)} wrote it, which writes no such format",
    ),
    "newer, by a build of this version": (
        edit_json(format_version=2, lossforge_version=f"{__version__}+local"),
        "which writes no such format: it was changed since$",
    ),
    "newer, by an older one": (
        edit_json(format_version=2, lossforge_version="0.0.9"),
        r"which is 1; yet it says that lossforge 0\.0\.9 wrote it, .*: it was changed since$",
    ),
    "newer, by what is no version": (
        edit_json(format_version=2, lossforge_version="1-to-2"),
        "which is 1; a later one wrote it and reads it: ",
    ),
    "newer by far": (edit_json(format_version=10**4000), r"format_version 10+\.\.\. is newer"),
    **{
        f"version {version!r}": (edit_json(format_version=version), r"loss.json: format_version .*: must be 1; export")
        for version in ("1", 0, -1, 1.5, 1.0, True, None, [], "9" * 5000)
    },
    "unknown family": (
        edit_json(parameterization={**OPTIONS, "type": "pairwise_mpl"}),
        r"loss.json: parameterization: unknown type 'pairwise_mpl' \(did you mean 'pairwise_mlp'\?\)",
    ),
    "family without a type": (edit_json(parameterization={}), "loss.json: parameterization: 'type' is missing"),
    "family not a mapping": (edit_json(parameterization=3), "loss.json: parameterization: expected a mapping"),
    "unknown option": (
        edit_json(parameterization={**OPTIONS, "depth": 3}),
        "loss.json: parameterization.depth: unknown field",
    ),
    "impossible option": (
        edit_json(parameterization={**OPTIONS, "hidden": [0]}),
        "loss.json: parameterization.hidden.0: must be greater than 0, got 0",
    ),
    "scale zero": (edit_json(scale=0.0), r"loss.json: scale 0\.0: must be a positive number"),
    "scale not a number": (edit_json(scale="large"), "loss.json: scale 'large': must be a positive number"),
    "scale infinite": (edit_json(scale=float("inf")), "loss.json: scale inf: must be a positive number"),
    "scale infinite in float32": (edit_json(scale=1e300), r"loss.json: scale 1e\+300: must be a positive .* float32"),
    "scale zero in float32": (edit_json(scale=1e-60), "loss.json: scale 1e-60: must be a positive number"),
    "scale of any length": (edit_json(scale=LONG), r"loss.json: scale 'x+\.\.\.: must be"),
    "scale of any kind": (edit_json(scale=[[0.5]]), r"loss.json: scale \[\[0\.5\]\]: must be"),
    "name of any length": (edit_json(name=LONG + "!"), r"loss.json: name 'x+\.\.\.: only letters"),
    "options without end": (
        edit_json(parameterization={**OPTIONS, **{f"x{n}": n for n in range(5000)}}),
        r"(?s)^\S+loss.json: parameterization.x0: unknown field.*parameterization: 4995 more mistakes$",
    ),
    "a family of any name": (edit_json(parameterization=LONG), r"loss.json: parameterization: unknown type 'x+\.\.\.'"),
    "tensors of any type": (
        write("loss.safetensors", safetensors(solution={"dtype": LONG, "shape": [48], "data_offsets": [0, 192]})),
        r"loss.safetensors: cannot be read: .*\.\.\.; export it anew$",
    ),
    "name of another type": (edit_json(name=7), "loss.json: name 7: only letters"),
    "no tensors": (lambda folder: (folder / "loss.safetensors").unlink(), "loss.safetensors: cannot be read"),
    "tensors cut short": (cut("loss.safetensors", 0.7), "loss.safetensors: cannot be read"),
    "tensors cut in the header": (cut("loss.safetensors", 0.1), "loss.safetensors: cannot be read"),
    "tensors empty": (write("loss.safetensors", b""), "loss.safetensors: cannot be read"),
    "tensors not safetensors": (write("loss.safetensors", b"\x80\x02" * 100), "loss.safetensors: cannot be read"),
    "tensor of another name": (store(weights=torch.ones(48)), "loss.safetensors: cannot be read: 'solution'"),
    "another length": (store(solution=torch.ones(47)), r"loss.safetensors: \(47,\) parameters, .* of 48"),
    "another shape": (store(solution=torch.ones(1, 48)), r"loss.safetensors: \(1, 48\) parameters"),
    "of another family": (
        edit_json(parameterization={**OPTIONS, "hidden": [16]}),
        r"loss.safetensors: \(48,\) parameters, but loss.json describes a 'pairwise_mlp' of 64; .* do not belong",
    ),
    "integers": (store(solution=torch.ones(48, dtype=torch.int64)), "loss.safetensors: the parameters are not all"),
    "eight bits": (
        store(solution=torch.ones(48).to(torch.float8_e4m3fn)),
        "loss.safetensors: the parameters are not all finite numbers of float32",
    ),
    "a shape that is none": (
        write("loss.safetensors", safetensors(solution={"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]})),
        "loss.safetensors: cannot be read: ",
    ),
    "a header of any length": (
        write("loss.safetensors", (2**63).to_bytes(8, "little") + b"{}"),
        "loss.safetensors: cannot be read: .*header too large",
    ),
    "more than belongs there": (
        store(solution=torch.ones(48), more=torch.ones(300_000)),
        "loss.safetensors: larger than 1,000,384 bytes, which this artifact cannot be",
    ),
    "a folder": (put(Path.mkdir, "loss.safetensors"), "loss.safetensors: cannot be read: not a regular file"),
    "a pipe": (put(os.mkfifo, "loss.safetensors"), "loss.safetensors: cannot be read: not a regular file"),
    "a device": (
        put(lambda path: path.symlink_to("/dev/zero"), "loss.safetensors"),
        "loss.safetensors: a link to a file outside of the artifact; put the file itself there",
    ),
    "a link out": (
        put(lambda path: path.symlink_to(__file__), "loss.json"),
        "loss.json: a link to a file outside of the artifact; put the file itself there",
    ),
    "links in a circle": (
        put(lambda path: path.symlink_to(path.name), "loss.safetensors"),
        "loss.safetensors: cannot be read: ",
    ),
    "json nested without end": (write("loss.json", b"[" * 200_000), "loss.json: cannot be read: maximum recursion"),
    "json too large": (write("loss.json", b" " * 10_000_001), "loss.json: larger than 10,000,000 bytes"),
    "family nested without end": (edit_json(parameterization=nested(900)), "loss.json: .*recursion"),
    "parameters without end": (
        edit_json(parameterization={**OPTIONS, "hidden": [10**9, 10**9]}),
        "loss.json: parameterization: more than 1,000,000,000 parameters",
    ),
    "half a character": (
        edit_json(parameterization={**OPTIONS, "features": "\ud800"}),
        "loss.json: parameterization: half of a surrogate pair is not a character$",
    ),
    "an option of any number": (
        edit_json(parameterization={**OPTIONS, "hidden": [10**4000]}),
        r"loss.json: parameterization.hidden.0: must be at most 1000000000, got 10+\.\.\.$",
    ),
    "infinite in float32": (
        store(solution=torch.full((48,), 1e300, dtype=torch.float64)),
        "loss.safetensors: the parameters are not all finite numbers of float32",
    ),
    "not a number": (store(solution=torch.full((48,), torch.nan)), "loss.safetensors: the parameters are not all"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told_with_the_file(folder, damage, message):
    damage(folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        load_artifact(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert caught.value.exit_code == 2


def test_links_within_an_artifact_and_to_one_are_followed(folder):
    (folder / "loss.json").rename(folder / "content.json")
    (folder / "loss.json").symlink_to("content.json")
    (folder.parent / "link").symlink_to(folder)
    assert load_artifact(folder.parent / "link").name == "my-loss"


@pytest.mark.parametrize("path", ["absent", ".", "a\0b", "x" * 5000])
def test_a_folder_without_an_artifact_is_told_by_name(tmp_path, path):
    with pytest.raises(ArtifactError, match=r"no loss\.json here or in .*artifact; give an artifact folder or a run"):
        load_loss(tmp_path / path)


def test_a_file_in_place_of_a_folder_is_told_by_name(folder):
    with pytest.raises(ArtifactError, match=r"loss\.json: no loss\.json here"):
        load_loss(folder / "loss.json")
