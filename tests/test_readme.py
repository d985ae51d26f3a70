"""What the README tells people to type works as it stands there."""

import re
from pathlib import Path

import torch

from lossforge import presets
from lossforge.cli import COMMANDS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def fences(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_training_in_python_runs(capsys):
    (code,) = [block for block in fences("python") if "lossforge.train(" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    exec(code.replace("epochs=12", "epochs=1"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["mae", "gce"]


def test_the_search_in_python_runs():
    (code,) = [block for block in fences("python") if "SearchSpec" in block]
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    assert "mutation=Triangular(), **components)" in code
    namespace = {}
    quick = "generations=3, gates={'weight_band': None, 'signs': None}, selection_batch_size=64, **components)"
    exec(code.replace("**components)", quick), namespace)
    logits = torch.randn(4, 10, requires_grad=True, generator=torch.Generator().manual_seed(0))
    namespace["criterion"](logits, torch.arange(4)).backward()
    assert logits.grad.abs().sum() > 0


def test_commands_and_presets_exist():
    named = re.findall(r"^lossforge (\S+)(?: (\S+))?", "\n".join(fences("console")), flags=re.MULTILINE)
    assert len(named) >= 7
    assert {command for command, _ in named} <= set(COMMANDS)
    runs = {argument for command, argument in named if command == "run"}
    assert {name for name in runs if not name.endswith(".yaml")} <= set(presets.names())


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 5
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
