"""``lossforge ablate``: its plan, its tables, and going on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ABLATION = """\
name: little
base: search.yaml
settings:
  small: {search.strategy.sigma: 0.1}
variants:
  gaussian: {search.mutation: gaussian}
  logistic: {search.mutation: chaotic}
seeds: 2
"""


@pytest.fixture
def ablation(folder: Path, search_spec: Path) -> Path:
    assert search_spec.parent == folder
    path = folder / "ablation.yaml"
    path.write_text(ABLATION)
    return path


def test_the_plan_runs_nothing(lossforge, ablation):
    outcome = lossforge("ablate", ablation, "--dry-run")
    assert outcome.code == 0
    assert "small / logistic: 2 seeds of 4 generations, steps of sd 1.00" in outcome.out
    assert "nothing was run" in outcome.out
    assert not Path("runs").exists()
    rows = json.loads(lossforge("ablate", ablation, "--dry-run", "--json").out)
    assert rows[0] == {"title": "small / gaussian", "seeds": 2, "generations": 4}


def test_tables_are_printed_and_files_are_written(lossforge, ablation):
    outcome = lossforge("ablate", ablation, "--jobs", "1")
    assert outcome.code == 0
    for title in ("Area under the curve", "Held-out fitness of the winner", "Evaluations to the target"):
        assert title in outcome.out
    assert outcome.out.count("reference") == 3
    assert "4 of 4 searches done" in outcome.err
    out = Path("runs/little")
    assert json.loads((out / "ablation.json").read_text())["spec"]["name"] == "little"
    assert (out / "ablation.md").read_text().startswith("# little\n")
    assert (out / "curves.svg").read_text().startswith("<?xml")

    again = lossforge("ablate", ablation)
    assert again.out == outcome.out
    assert again.err == "", "nothing is run twice"

    other = lossforge("ablate", ablation, "--set", "seeds=3")
    assert other.code == 2
    assert "holds another ablation" in other.err


def test_mistakes_are_told_with_their_places(lossforge, ablation):
    ablation.write_text(ABLATION.replace("chaotic", "chaos").replace("seeds", "seed"))
    outcome = lossforge("ablate", ablation, "--dry-run")
    assert outcome.code == 2
    assert "ablation.yaml:8:1: seed: unknown field (did you mean 'seeds'?)" in outcome.err
    assert "ablation.yaml:7:31: variants.logistic.search.mutation: unknown type 'chaos'" in outcome.err
    outcome = lossforge("ablate", ablation.rename("other.yaml"), "--set", "seed=1")
    assert outcome.code == 2
    ablation.write_text(ABLATION)
    few = "ablation.yaml:4:11: settings.small.search.strategy: num_parents (2) must be below"
    ablation.write_text(ABLATION.replace("search.strategy.sigma: 0.1", "search.strategy.population_size: 2"))
    assert few in lossforge("validate", ablation).err, "what does not go together is told at what was changed"
    ablation.write_text(ABLATION)
    changed = "variants.logistic.search.mutation=chaos"
    outcome = lossforge("ablate", ablation, "--dry-run", "--set", changed)
    assert outcome.code == 2
    assert f"--set {changed}: variants.logistic.search.mutation: unknown type 'chaos'" in outcome.err


def test_an_interruption_names_the_command_to_go_on_with(lossforge, ablation, monkeypatch):
    from lossforge import evidence

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(evidence, "ablate", interrupted)
    outcome = lossforge("ablate", ablation, "--set", "seeds=3", "--out", "there", "--jobs", "3")
    assert outcome.code == 130
    assert f"go on with: lossforge ablate {ablation} --set seeds=3 --jobs 3 --out there" in outcome.err
