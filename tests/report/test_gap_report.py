"""A gap as files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from lossforge import presets
from lossforge.evidence.gap import Gap, Recording, compare_recordings
from lossforge.evidence.gap.features import Outputs
from lossforge.report.gap import fitted_spec, is_gap_folder, write_gap
from lossforge.samplers import MixtureSampler, NoisyLabelsSampler
from lossforge.spec import read_spec
from lossforge.spec.gap import GapSpec

HOSTILE = "<b>$x$ & `y`"


def gap(sampler=None, *, fit: bool) -> Gap:
    sampler = sampler or MixtureSampler()
    batch = sampler.sample(80, 10, torch.Generator().manual_seed(0))
    index = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    outputs = Outputs(batch.log_probs_BC, batch.labels_B, torch.zeros_like(batch.labels_B)).take(index)
    recordings = [Recording("a, seed 0", "a", outputs), Recording("b, seed 0", HOSTILE, outputs)]
    options = GapSpec(samples=60, folds=2, bootstrap=20, bins=10, fit=fit)
    return compare_recordings(sampler, 10, recordings, options, 0)


@pytest.fixture(scope="module")
def fitted() -> Gap:
    return gap(fit=True)


def test_files_are_the_same_for_the_same_gap_and_those_of_a_fit_go_with_it(fitted: Gap, tmp_path: Path) -> None:
    spec = presets.load("edl")
    assert not is_gap_folder(tmp_path)
    write_gap(fitted, spec, tmp_path, "edl")
    assert is_gap_folder(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_gap(fitted, spec, tmp_path, "edl")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    write_gap(Gap(fitted.sampler, fitted.options, fitted.recordings, fitted.groups, fitted.itself), spec, tmp_path)
    assert first.keys() - {path.name for path in tmp_path.iterdir()} == {"weights.csv", "fit.svg", "fitted.yaml"}


def test_figures_say_which_outputs_they_show_whatever_a_loss_is_called(fitted: Gap, tmp_path: Path) -> None:
    write_gap(fitted, presets.load("edl"), tmp_path)
    text = (tmp_path / "gap.svg").read_text("utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "<b>" not in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "gap.csv").read_text("utf-8"))))
    assert {row["group"] for row in rows} == {
        "all",
        "a",
        HOSTILE,
        "sampler against itself",
        "other outputs of the same trainings: weights as they are",
        "other outputs of the same trainings: weights proposed",
    }
    assert len(rows) == 6 * 10
    weights = list(csv.DictReader(io.StringIO((tmp_path / "weights.csv").read_text("utf-8"))))
    assert sum(float(row["proposed"]) for row in weights) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("extended", ["edl", None])
def test_the_proposed_spec_changes_the_weights_and_nothing_else(fitted: Gap, tmp_path: Path, extended) -> None:
    spec = presets.load("edl")
    (tmp_path / "f.yaml").write_text(fitted_spec(fitted, spec, extended), encoding="utf-8")
    read = read_spec(tmp_path / "f.yaml")
    assert fitted.fit is not None
    search = spec.search.model_copy(update={"sampler": fitted.fit.sampler})
    assert read == spec.model_copy(update={"name": "edl-fitted", "search": search})


def test_a_mixture_within_another_sampler_keeps_what_is_around_it(tmp_path: Path) -> None:
    found = gap(NoisyLabelsSampler(sampler=MixtureSampler(alpha=0.5), rate=0.2), fit=True)
    base = tmp_path / "base.yaml"
    base.write_text(
        "extends: edl\nsearch:\n  sampler: {type: noisy_labels, rate: 0.2, sampler: {type: mixture, alpha: 0.5}}\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    write_gap(found, read_spec(base), out, str(base))
    assert (out / "fitted.yaml").read_text().startswith('extends: "../base.yaml"\n')
    assert found.fit is not None
    assert read_spec(out / "fitted.yaml").search.sampler == found.fit.sampler


def test_without_a_fit_there_is_no_spec() -> None:
    with pytest.raises(ValueError, match="no weights are proposed"):
        fitted_spec(gap(fit=False), presets.load("edl"), None)
