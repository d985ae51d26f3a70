"""The example spec, run to its end: history, artifact, printing, and the same again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import lossforge
from lossforge.spec import read_spec
from lossforge_gp.__main__ import main

EXAMPLE = Path(__file__).parents[1] / "examples" / "gp.yaml"
SHORT = ("search.generations=2", "search.strategy.population_size=16", "search.selection_batch_size=128")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs of the example, shortened alike."""
    spec = read_spec(EXAMPLE, SHORT)
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("first", "second")]
    for folder in folders:
        lossforge.run(spec, folder)
    return folders


def test_a_run_repeats_itself_to_the_byte(runs):
    for name in ("history.jsonl", "artifact/loss.json", "artifact/loss.safetensors", "artifact/loss.py"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


def test_what_it_found_is_printed(runs):
    result = CliRunner().invoke(main, [str(runs[0])])
    assert result.exit_code == 0, result.output
    for line in (
        "found        mean over c of ",
        "simplified   ",
        "  label      ",
        "  others     ",
        r"LaTeX        \ell",
    ):
        assert line in result.output


def test_its_exported_code_is_the_loss(runs):
    specification = importlib.util.spec_from_file_location("found_loss", runs[0] / "artifact" / "loss.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    logits, labels = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 5
    torch.testing.assert_close(module.Loss()(logits, labels), lossforge.load_loss(runs[0])(logits, labels))
    compiled = torch.compile(module.Loss(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, labels), module.Loss()(logits, labels))


def test_what_is_no_run_of_this_family_is_refused(tmp_path, runs):
    missing = CliRunner().invoke(main, [str(tmp_path)])
    assert missing.exit_code == 2
    assert "no loss.json here" in missing.output
    folder = runs[0] / "artifact"
    text = (folder / "loss.json").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "loss.json").write_text(text)
    (other / "loss.safetensors").write_bytes(b"damaged")
    damaged = CliRunner().invoke(main, [str(other)])
    assert damaged.exit_code == 2
    assert "cannot be read" in damaged.output
