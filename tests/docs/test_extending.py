"""The page on extending says what the code does, of every kind, and its examples are what they say they are."""

from __future__ import annotations

import inspect
import json
import re

import pytest
import torch
from code_blocks import blocks_of
from page_session import ROOT, PageSession
from torch import Tensor, nn
from torch.nn import functional as F

from lossforge import interfaces, registry
from lossforge.component import Component
from lossforge.types import TrackedRun

PATH = ROOT / "docs" / "extending.md"
PAGE = PATH.read_text("utf-8")
SECTIONS = {
    match[1]: section
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)
    if (match := re.search(r"^Kind `(\w+)`", section, flags=re.MULTILINE))
}
ROWS = dict(re.findall(r"^\| \[`(\w+)`\]\(#\S+\) \| (.*) \|$", PAGE, flags=re.MULTILINE))
BASES = {
    kind: [
        each
        for each in vars(interfaces).values()
        if inspect.isclass(each) and issubclass(each, Component) and getattr(each, "kind", None) == kind
    ]
    for kind in registry.KINDS
}


def test_every_kind_has_a_section_and_a_row():
    assert set(SECTIONS) == set(ROWS) == set(registry.KINDS)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_section_names_group_base_classes_and_methods(kind):
    section = SECTIONS[kind]
    assert f"group `lossforge.{kind}`" in " ".join(section.split())
    assert BASES[kind] != []
    named = re.findall(r"`(\w+)`\]\(api/interfaces\.md#lossforge\.interfaces\.\1\)", section)
    assert {each.__name__ for each in BASES[kind]} <= set(named)
    bullets = set(re.findall(r"^- `(\w+)", section, flags=re.MULTILINE)) - {"uses_mutation"}
    first, *others = BASES[kind]
    assert first.__abstractmethods__ <= bullets
    assert bullets <= first.__abstractmethods__.union(*(each.__abstractmethods__ for each in others))


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_row_names_the_base_class_and_its_methods(kind):
    named = set(re.findall(r"`(\w+)`", ROWS[kind]))
    assert BASES[kind][0].__name__ in named
    assert BASES[kind][0].__abstractmethods__ <= named


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_section_has_an_example_of_the_kind(kind):
    bases = "|".join(each.__name__ for each in BASES[kind])
    assert re.search(rf"^class \w+\(interfaces\.({bases})\):$", SECTIONS[kind], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the page's examples define."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        session = PageSession(PATH, folder, monkeypatch)
        for block in blocks_of(PATH):
            session.run(block)
    return {**session.names, "folder": folder}


class TestExamples:
    def test_the_family_is_poly1_and_its_source_is_its_loss(self, names):
        family, generator = names["Mixed"](), torch.Generator().manual_seed(0)
        logits_BC = torch.randn(6, 4, generator=generator)
        labels_B, solution_D = torch.arange(6) % 4, torch.tensor([0.7])
        loss_B = family.loss(solution_D[None], logits_BC.log_softmax(1)[None], labels_B)[0]
        poly1 = registry.get("losses", "poly1")(epsilon=0.7)
        torch.testing.assert_close(loss_B, poly1.per_sample(logits_BC, labels_B))
        standalone = {"torch": torch, "nn": nn, "F": F, "Tensor": Tensor}
        exec(family.source(solution_D), standalone)
        torch.testing.assert_close(standalone["Network"]()(logits_BC.log_softmax(1), labels_B), loss_B)

    def test_the_sampler_is_uniform_on_the_simplex(self, names):
        """E p_1^2 = 2 / (C (C + 1))."""
        batch = names["UniformPredictions"]().sample(20_000, 4, torch.Generator().manual_seed(0))
        p_BC = batch.log_probs_BC.exp()
        torch.testing.assert_close(p_BC.sum(1), torch.ones(20_000))
        torch.testing.assert_close(p_BC.mean(0), torch.full((4,), 0.25), atol=0.01, rtol=0)
        torch.testing.assert_close(p_BC.square().mean(0), torch.full((4,), 0.1), atol=0.005, rtol=0)

    def test_the_mutation_has_variance_1(self, names):
        generator = torch.Generator().manual_seed(0)
        children, _ = names["Laplace"]().mutate(torch.zeros(1000, 100), 2.0, {}, generator)
        assert (children / 2).std().item() == pytest.approx(1, abs=0.01)
        assert (children / 2).abs().mean().item() == pytest.approx(0.5**0.5, abs=0.01)

    def test_the_strategy_climbs(self, names):
        strategy, mutation = names["HillClimber"](sigma=0.3), names["Laplace"]()
        generator = torch.Generator().manual_seed(0)
        state = strategy.init(torch.full((16, 3), 5.0), generator)
        for _ in range(60):
            solutions_PD, state = strategy.ask(state, mutation, None, generator)
            state = strategy.tell(state, solutions_PD, solutions_PD.square().sum(1))
        assert state["strategy.best"].norm() < 0.5
        assert strategy.grown(2.0).num_solutions == 32

    def test_the_loss_is_gce_with_one_half(self, names):
        logits_BC = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        gce = registry.get("losses", "gce")(q=0.5)
        torch.testing.assert_close(names["RootLoss"]().per_class(logits_BC), gce.per_class(logits_BC))

    def test_the_model_is_drawn_from_its_generator_alone(self, names):
        before = torch.get_rng_state()
        one, two = (names["Linear"]().build((1, 8, 8), 2, torch.Generator().manual_seed(0)) for _ in range(2))
        torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)
        assert torch.equal(torch.get_rng_state(), before)

    def test_together_they_find_and_learn(self, names):
        assert names["found"].evidence["held_out"]["metrics"]["correlation"] > 0.8
        assert names["comparison"].losses["root"].metrics["accuracy"].sample.mean > 0.9

    def test_the_tracker_has_the_last_epoch_of_each_training(self, names):
        latest = json.loads((names["folder"] / "stripes" / "latest.json").read_text())
        series = {name for name in latest if name.endswith("/train_loss")}
        assert series == {
            f"train/{loss}/seed-{seed}/train_loss" for loss in ("root", "cross_entropy") for seed in (0, 1)
        }
        assert {latest[name][0] for name in series} == {8}
        before = names["Latest"]().open(TrackedRun("again", names["folder"] / "stripes", {}, resumed=True))
        before.metrics(dict.fromkeys(series, 9.0), 3)
        assert before.latest == latest
