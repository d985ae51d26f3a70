"""What is given in place of a spec is told with what makes it one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import lossforge
from lossforge.artifact import Artifact, load_artifact
from lossforge.errors import ArtifactError, LossforgeError, RunDirectoryError, SpecError
from lossforge.evidence import train_alike
from lossforge.losses.gce import GCE
from lossforge.mutations import GaussianMutation
from lossforge.parameterizations import PairwiseMLP

RUN = lossforge.presets.load("edl")
ABLATION = lossforge.AblationSpec(name="a", base="edl", variants={"one": {}, "two": {}})
TRAINING = lossforge.TrainingSpec(dataset="fake", model="resnet8")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("edl", "the string 'edl'; load it: lossforge.presets.load('edl')"),
        ("my.yaml", "the string 'my.yaml'; load it: lossforge.RunSpec.from_yaml('my.yaml')"),
        (Path("my"), "load it: lossforge.RunSpec.from_yaml('my')"),
        (RUN.search, "an object of type SearchSpec; make it one: RunSpec(name=..., search=spec)"),
        (ABLATION, "an object of type AblationSpec; lossforge.ablate takes it"),
        (TRAINING, "an object of type TrainingSpec; lossforge.evidence.train_alike takes it"),
        ({"name": "a"}, "an object of type dict; make it one: RunSpec.model_validate_json(json.dumps(mapping))"),
        (lossforge.RunSpec, "the class RunSpec; give an instance: RunSpec(...)"),
        (None, "got None"),
    ],
    ids=str,
)
def test_run_says_how_a_run_spec_is_had(given, told):
    with pytest.raises(SpecError) as error:
        lossforge.run(given)
    assert str(error.value).startswith("lossforge.run takes a RunSpec, got ")
    assert str(error.value).endswith(told)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: lossforge.Search(RUN),
            "takes a SearchSpec, got an object of type RunSpec; give its search: spec.search",
        ),
        (lambda: lossforge.Search("edl"), "load it: lossforge.presets.load('edl').search"),
        (lambda: lossforge.Search("a/b"), "load it: lossforge.RunSpec.from_yaml('a/b').search"),
        (
            lambda: lossforge.ablate(RUN, Path("x")),
            "lossforge.ablate takes an AblationSpec, got an object of type RunSpec",
        ),
        (lambda: lossforge.ablate("a.yaml", Path("x")), "load it: lossforge.AblationSpec.from_yaml('a.yaml')"),
        (lambda: train_alike(RUN, {}, 0, "cpu"), "give its training: spec.training"),
        (lambda: train_alike("edl", {}, 0, "cpu"), "load it: lossforge.presets.load('edl').training"),
        (lambda: lossforge.resume(".", "edl"), "lossforge.resume takes a RunSpec, got the string 'edl'; load it"),
        (lambda: lossforge.resume(RUN), "takes the path of a run directory, got an object of type RunSpec"),
        (lambda: lossforge.load_loss(RUN), "an artifact folder or a run directory, got an object of type RunSpec"),
    ],
)
def test_every_function_names_what_it_takes(call, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LossforgeError) as error:
        call()
    assert isinstance(error.value, SpecError | RunDirectoryError | ArtifactError)
    assert told in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (RUN, "an object of type RunSpec; name the losses, and give the fields of its training as options"),
        (TRAINING, "an object of type TrainingSpec; name the losses"),
        (
            nn.CrossEntropyLoss(),
            "an object of type CrossEntropyLoss; lossforge.compare(modules={...}) trains with modules",
        ),
        (GCE, "the class GCE; give an instance: GCE(...)"),
        (GaussianMutation(), "an object of type GaussianMutation; see lossforge.losses.list()"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_train_says_what_a_loss_is(given, told):
    with pytest.raises(SpecError, match="takes names of losses, components and paths, got") as error:
        lossforge.train(given, dataset="fake", model="resnet8")
    assert told in str(error.value)


def test_an_artifact_has_its_loss_already():
    family = PairwiseMLP(hidden=(2,))
    artifact = Artifact("a", family, torch.zeros(family.num_parameters), 1.0)
    with pytest.raises(ArtifactError, match=r"got an object of type Artifact; it has its loss: artifact\.loss\(\)"):
        load_artifact(artifact)
