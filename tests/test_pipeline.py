"""A run from Python: its observer, its result, and going on with it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import lossforge
from lossforge.errors import DataError, RunDirectoryError, SpecError
from lossforge.interfaces import MutationOperator
from lossforge.observer import Observer
from lossforge.report import write_report
from lossforge.spec import RunSpec, spec_from_text
from lossforge.training.datasets import FakeImages

SEARCH = """\
name: tiny
device: cpu
search:
  parameterization: {type: classwise_mlp, hidden: [4]}
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_size: 6, num_parents: 2}
  mutation: gaussian
  generations: 5
  batch_size: 32
  selection_batch_size: 64
  checkpoint_every: 2
  gates: {weight_band: null, signs: null}
"""
TRAINING = """\
training:
  dataset: {type: fake, num_train: 32, num_test: 20, image_shape: [1, 8, 8]}
  model: resnet8
  epochs: 1
  precision: float32
  batch_size: 16
  crop_padding: 1
evidence: {seeds: 2}
"""


class Laplace(MutationOperator):
    """Steps from a Laplace distribution: a class of this file, which nothing installed provides."""

    type: str = "laplace"
    spread: float = 1.0

    def init(self, num, dim, generator):
        return {"mutation.calls": 0}

    def mutate(self, parents_PD, sigma, state, generator):
        uniform = torch.rand(parents_PD.shape, generator=generator) - 0.5
        steps = -self.spread * sigma / 2**0.5 * uniform.sign() * torch.log1p(-2 * uniform.abs())
        return parents_PD + steps, {**state, "mutation.calls": state["mutation.calls"] + 1}


class Listener(Observer):
    """Notes what it is told, and may interrupt."""

    def __init__(self, stop_at: tuple[Any, ...] | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.stop_at = stop_at

    def note(self, *event: Any) -> None:
        self.told.append(event)
        if event == self.stop_at:
            raise KeyboardInterrupt

    def loading(self, training):
        self.note("loading", training.dataset.type)

    def began(self, spec, path):
        self.note("began", spec.name, path)

    def generation(self, record, seconds):
        assert seconds > 0
        self.note("generation", record["generation"])

    def found(self, artifact):
        self.note("found", artifact.name)

    def epoch(self, loss, records):
        for seed, record in records.items():
            self.note("epoch", loss, seed, record.epoch)

    def trained(self, arm):
        self.note("trained", arm.loss, arm.seed_index, arm.restored)


def files(run: Path) -> dict[str, bytes]:
    """Return what spec and seed decide."""
    parts = ("spec.yaml", "history.jsonl", "artifact", "training")
    paths = [path for part in parts for path in [run / part, *(run / part).rglob("*")] if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return spec_from_text(SEARCH)


@pytest.fixture(scope="module")
def laplace_spec(spec) -> RunSpec:
    return spec.model_copy(update={"search": spec.search.model_copy(update={"mutation": Laplace()})})


@pytest.fixture(scope="module")
def uninterrupted(spec, tmp_path_factory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    lossforge.run(spec, path)
    return files(path)


class TestRun:
    def test_the_observer_is_told_of_every_step_in_order(self):
        listener = Listener()
        result = lossforge.run(spec_from_text(SEARCH + TRAINING), "run", listener)
        trainings = [
            event
            for seed in range(2)
            for loss in ("tiny", "cross_entropy")
            for event in (("epoch", loss, seed, 1), ("trained", loss, seed, False))
        ]
        assert listener.told == [
            ("loading", "fake"),
            ("began", "tiny", Path("run")),
            *(("generation", index) for index in range(5)),
            ("found", "tiny"),
            *trainings,
        ]
        assert result.directory.path == Path("run")
        assert result.comparison is not None
        assert list(result.comparison.losses) == ["tiny", "cross_entropy"]

    def test_the_result_is_what_lies_in_the_directory(self, spec):
        result = lossforge.run(spec)
        assert result.directory.path == Path("runs/tiny")
        assert result.comparison is None
        assert len(repr(result)) < 300
        assert "\n" not in repr(result)
        assert not result.directory.training.exists()
        loaded = lossforge.load_loss("runs/tiny")
        logits, target = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
        torch.testing.assert_close(loaded(logits, target), result.artifact.loss()(logits, target), rtol=0, atol=0)
        assert lossforge.run(spec).directory.path == Path("runs/tiny-2")

    def test_the_same_spec_gives_the_same_bytes_and_another_seed_gives_others(self, spec, uninterrupted):
        lossforge.run(spec, "again")
        lossforge.run(spec.model_copy(update={"seed": 1}), "other")
        again, other = files(Path("again")), files(Path("other"))
        assert again == uninterrupted
        assert [name for name in again if again[name] == other[name]] == []

    def test_the_spec_given_is_left_as_it_is(self):
        spec = spec_from_text(SEARCH.replace("device: cpu", "device: auto"))
        result = lossforge.run(spec, "run")
        assert spec.device == "auto"
        assert RunSpec.from_yaml(result.directory.spec).device in ("cpu", "cuda")

    def test_images_are_looked_for_before_anything_is_begun(self):
        training = TRAINING.replace("{type: fake, num_train: 32, num_test: 20, image_shape: [1, 8, 8]}", "{missing}")
        spec = spec_from_text(SEARCH + training.replace("{missing}", "{type: image_folder, root: nowhere}"))
        listener = Listener()
        with pytest.raises(DataError, match="nowhere/train: no such folder"):
            lossforge.run(spec, "run", listener)
        assert listener.told == [("loading", "image_folder")]
        assert not Path("run").exists()

    def test_an_occupied_directory_is_refused_before_images_are_read(self):
        Path("run").mkdir()
        Path("run/precious").touch()
        listener = Listener()
        with pytest.raises(RunDirectoryError, match="run: is not empty"):
            lossforge.run(spec_from_text(SEARCH + TRAINING), "run", listener)
        assert listener.told == []

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_cuda_where_there_is_none(self, spec):
        with pytest.raises(SpecError, match="torch finds no CUDA device"):
            lossforge.run(spec.model_copy(update={"device": "cuda"}), "run")
        assert not Path("run").exists()


class TestResume:
    @pytest.mark.parametrize("stop_at", [("began", "tiny", Path("run")), ("found", "tiny")])
    def test_after_an_interrupt_between_the_parts(self, spec, uninterrupted, stop_at):
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec, "run", Listener(stop_at))
        result = lossforge.resume("run")
        assert files(Path("run")) == uninterrupted
        assert result.directory.report.is_file()

    @pytest.mark.parametrize("generation", range(5))  # a checkpoint is written after 1, 3 and 4
    def test_after_an_interrupt_in_any_generation(self, spec, uninterrupted, generation):
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec, "run", Listener(("generation", generation)))
        listener = Listener()
        lossforge.resume("run", observer=listener)
        assert [event[1] for event in listener.told if event[0] == "generation"] == list(range(generation + 1, 5))
        assert files(Path("run")) == uninterrupted

    def test_after_an_interrupt_in_every_generation(self, spec, uninterrupted):
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec, "run", Listener(("generation", 0)))
        for generation in range(1, 5):
            with pytest.raises(KeyboardInterrupt):
                lossforge.resume("run", observer=Listener(("generation", generation)))
        lossforge.resume("run")
        assert files(Path("run")) == uninterrupted

    def test_with_the_spec_it_was_started_with(self, spec, uninterrupted):
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(spec, "run", Listener(("generation", 2)))
        lossforge.resume("run", spec)
        assert files(Path("run")) == uninterrupted

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"seed": 1}, "seed: 0 -> 1"),
            ({"description": "another"}, 'description: "" -> "another"'),
            ({"name": "other"}, 'name: "tiny" -> "other"'),
        ],
    )
    def test_with_another_spec_it_is_refused(self, spec, change, told):
        lossforge.run(spec, "run")
        before = files(Path("run"))
        with pytest.raises(RunDirectoryError) as caught:
            lossforge.resume("run", spec.model_copy(update=change))
        assert str(caught.value).splitlines() == [
            "run: the spec is not the one that the run began with:",
            f"  {told}",
            "nothing was done; undo that, or start another run: lossforge run run/spec.yaml --out run-changed",
        ]
        assert files(Path("run")) == before

    def test_an_edited_spec_is_refused_with_each_difference(self, spec):
        directory = lossforge.run(spec, "run").directory
        text = directory.spec.read_text()
        directory.spec.write_text(text.replace("seed: 0", "seed: 3").replace("generations: 5", "generations: 9"))
        with pytest.raises(RunDirectoryError) as caught:
            lossforge.resume("run")
        assert str(caught.value).splitlines()[1:-1] == ["  seed: 0 -> 3", "  search.generations: 5 -> 9"]

    def test_comments_and_layout_do_not_count(self, spec, uninterrupted):
        directory = lossforge.run(spec, "run").directory
        text = directory.spec.read_text()
        directory.spec.write_text("# mine\n" + text.replace("seed: 0", "seed:   0  # zero"))
        lossforge.resume("run")
        directory.spec.write_text(text)
        assert files(Path("run")) == uninterrupted

    def test_another_version_is_told_and_goes_on(self, spec, uninterrupted, caplog):
        directory = lossforge.run(spec, "run").directory
        manifest = directory.manifest.read_text()
        directory.manifest.write_text(re.sub(r'"torch": ".*"', '"torch": "1.0"', manifest))
        lossforge.resume("run")
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        installed = metadata.version("torch")
        assert warnings == [f"torch was 1.0 when the run began and is {installed}; last digits may differ"]
        directory.manifest.write_text(manifest)
        assert files(Path("run")) == uninterrupted

    def test_a_damaged_manifest_is_told(self, spec):
        directory = lossforge.run(spec, "run").directory
        directory.manifest.write_text("{")
        with pytest.raises(RunDirectoryError, match=r"run/manifest.json: cannot be read: .*; restore it"):
            lossforge.resume("run")

    @pytest.mark.parametrize("with_spec", [False, True])
    def test_what_is_no_run_is_refused(self, spec, with_spec):
        with pytest.raises(RunDirectoryError, match="nowhere: not a run directory"):
            lossforge.resume("nowhere", spec if with_spec else None)
        assert not Path("nowhere").exists()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_where_the_device_is_gone(self, spec):
        directory = lossforge.run(spec, "run").directory
        directory.spec.write_text(directory.spec.read_text().replace("device: cpu", "device: cuda"))
        with pytest.raises(SpecError, match="torch finds no CUDA device"):
            lossforge.resume("run")


class TestAClassThatNobodyInstalled:
    def test_its_run_is_resumed_with_the_spec(self, laplace_spec):
        lossforge.run(laplace_spec, "whole")
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(laplace_spec, "run", Listener(("generation", 2)))
        lossforge.resume("run", laplace_spec)
        assert files(Path("run")) == files(Path("whole"))
        assert "unregistered: true" in Path("run/spec.yaml").read_text()

    def test_without_the_spec_the_python_call_is_named(self, laplace_spec):
        with pytest.raises(KeyboardInterrupt):
            lossforge.run(laplace_spec, "run", Listener(("generation", 2)))
        with pytest.raises(SpecError, match=r"run/spec.yaml:\d+:\d+: search.mutation: 'laplace' .*") as caught:
            lossforge.resume("run")
        assert "lossforge.resume(path, spec)" in str(caught.value)

    def test_other_options_are_another_spec(self, laplace_spec):
        lossforge.run(laplace_spec, "run")
        search = laplace_spec.search.model_copy(update={"mutation": Laplace(spread=2.0)})
        with pytest.raises(RunDirectoryError, match=r"search\.mutation\.spread: 1.0 -> 2.0"):
            lossforge.resume("run", laplace_spec.model_copy(update={"search": search}))

    def test_its_report_can_be_written_anew(self, laplace_spec):
        result = lossforge.run(laplace_spec, "run")
        before = result.directory.report.read_bytes()
        assert write_report(result.directory.path).read_bytes() == before

    def test_its_loss_loads_anywhere(self, laplace_spec):
        lossforge.run(laplace_spec, "run")
        assert torch.isfinite(lossforge.load_loss("run")(torch.zeros(2, 10), torch.tensor([0, 1])))


def test_resuming_a_finished_run_does_not_read_its_images(monkeypatch):
    lossforge.run(spec_from_text(SEARCH + TRAINING), "run")
    before = files(Path("run"))
    reads = []
    monkeypatch.setattr(FakeImages, "load", lambda self: reads.append(self))
    lossforge.resume("run")
    assert reads == []
    assert files(Path("run")) == before
