"""The first hour with lossforge, in order, by the installed command, its output redirected."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
from pathlib import Path

import jsonschema
from ruamel.yaml import YAML
from safetensors.torch import load_file

from tests.first_hour.conftest import Machine


def history_hash(run: Path) -> str:
    return hashlib.sha256((run / "history.jsonl").read_bytes()).hexdigest()


def test_it_is_installed_and_says_what_it_can_do(machine: Machine) -> None:
    where = machine("python", "-c", "import lossforge; print(lossforge.__file__)").out
    assert Path(where.strip()).is_relative_to(machine.environment)
    assert "lossforge run edl" in machine("lossforge", "--help").out


def test_a_preset_is_copied(machine: Machine) -> None:
    names = [line.split()[0] for line in machine("lossforge", "presets", "list").out.splitlines()]
    assert "edl" in names
    machine("lossforge", "presets", "copy", "edl", "my.yaml")
    assert "valid" in machine("lossforge", "validate", "my.yaml").out
    assert machine("lossforge", "presets", "copy", "edl", "my.yaml", code=2).err.startswith("error: my.yaml: exists")


def test_the_schema_completes_it(machine: Machine) -> None:
    """What an editor that reads the file's first line can offer, and does not underline."""
    first, _, text = (machine.folder / "my.yaml").read_text().partition("\n")
    name = first.removeprefix("# yaml-language-server: $schema=")
    machine("lossforge", "schema", "--out", name)
    schema = json.loads((machine.folder / name).read_text())
    checker = jsonschema.Draft202012Validator(schema)
    checker.validate(YAML(typ="safe").load(text))
    wrong = YAML(typ="safe").load(text.replace("logistic", "logistics"))
    assert list(checker.iter_errors(wrong))
    offered = [each for key, each in schema["$defs"].items() if key.endswith("ChaoticMutation")]
    assert {"logistic", "tent"} <= set(offered[0]["properties"]["map"]["enum"])


def test_a_spec_of_the_lines_that_differ(machine: Machine) -> None:
    (machine.folder / "mine.yaml").write_text("extends: my.yaml\nname: mine\nsearch: {generations: 20}\n")
    shown = machine("lossforge", "show", "mine.yaml", "--set", "seed=3").out
    said = {line.split(":")[0].strip(): line.partition("  # ")[2] for line in shown.splitlines()}
    assert said["generations"] == "mine.yaml:3"
    assert said["seed"] == "--set seed=3"
    assert said["num_parents"].startswith("my.yaml:")
    assert said["workers"] == "default"


def test_three_typos_are_three_messages(machine: Machine) -> None:
    text = (machine.folder / "my.yaml").read_text()
    wrong = (
        text.replace("generations: 150", "generation: 150")
        .replace("chaotic", "kaotic")
        .replace("p_max: 0.9", "p_max: 9")
    )
    (machine.folder / "typos.yaml").write_text(wrong)
    told = machine("lossforge", "validate", "typos.yaml", code=2).err.splitlines()
    assert len(told) == 3
    assert all(line.startswith("error: typos.yaml:") for line in told)
    assert "did you mean 'chaotic'?" in told[0]
    assert "unknown field (did you mean 'generations'?)" in told[1]
    assert "search.gates.weight_band.p_max" in told[2]


def test_a_dry_run_counts_and_times(machine: Machine) -> None:
    out = machine("lossforge", "run", "my.yaml", "--dry-run").out
    assert "150 generations of 48 candidates on 512 pairs: 7,200 evaluations" in out
    assert "time: about " in out
    assert not (machine.folder / "runs").exists()


def test_a_search_draws_its_loss_beside_cross_entropy(machine: Machine) -> None:
    done = machine("lossforge", "run", "my.yaml")
    assert "Loss by p of the true class" in done.out
    assert "++ cross_entropy   xx edl" in done.out
    assert "search 150/150" in done.err
    assert "search 150/150" not in done.out


def test_values_are_set_on_the_command_line(machine: Machine) -> None:
    settings = ("--set", "search.generations=30", "--set", "name=short", "--set", "search.strategy.sigma=2e-1")
    machine("lossforge", "run", "my.yaml", *settings)
    spec = YAML(typ="safe").load(machine.folder / "runs/short/spec.yaml")
    assert (spec["search"]["generations"], spec["search"]["strategy"]["sigma"]) == (30, 0.2)
    told = machine("lossforge", "run", "my.yaml", "--set", "search.strategy.sgima=1", code=2).err
    assert told.startswith("error: --set search.strategy.sgima=1: search.strategy.sgima: unknown field (did you mean")


EASY = ("--set", "search.gates={weight_band: null, signs: null}", "--set", "search.generations=4")


def test_one_worker_and_two_find_the_same(machine: Machine) -> None:
    for workers in ("1", "2"):
        options = ("--set", "search.backend=eager", "--set", f"search.workers={workers}", "--out", f"workers-{workers}")
        machine("lossforge", "run", "my.yaml", *EASY, *options)
    one, two = (machine.folder / f"workers-{workers}" for workers in ("1", "2"))
    assert history_hash(one) == history_hash(two)
    assert (one / "artifact/loss.safetensors").read_bytes() == (two / "artifact/loss.safetensors").read_bytes()


def test_what_is_interrupted_goes_on_to_the_same(machine: Machine) -> None:
    """What is killed does as well: tests/torture."""
    # Long enough to be met in the middle: the compiled back end takes some ms for a generation.
    long = ("--set", "search.generations=600", "--set", "search.checkpoint_every=20")
    process = machine.start("lossforge", "run", "my.yaml", *long, "--out", "stopped")
    done = machine.stop(process, signal.SIGINT, machine.folder / "stopped/history.jsonl")
    assert done.code == 130
    told = shlex.split(done.err.splitlines()[-1].removeprefix("interrupted; go on with: "))
    assert told == ["lossforge", "resume", "stopped"]
    machine(*told)
    machine("lossforge", "run", "my.yaml", *long, "--out", "whole")
    assert history_hash(machine.folder / "stopped") == history_hash(machine.folder / "whole")


def test_a_folder_that_is_not_empty_is_left_alone(machine: Machine) -> None:
    told = machine("lossforge", "run", "my.yaml", "--out", "whole", code=2).err
    assert "holds a run already" in told
    assert "lossforge resume whole" in told
    (machine.folder / "thesis").mkdir()
    (machine.folder / "thesis/chapter.tex").write_text("precious")
    assert "not empty" in machine("lossforge", "run", "my.yaml", "--out", "thesis", code=2).err
    assert [path.name for path in (machine.folder / "thesis").iterdir()] == ["chapter.tex"]


def test_a_changed_spec_is_not_gone_on_with(machine: Machine) -> None:
    spec = machine.folder / "workers-1/spec.yaml"
    before = spec.read_text()
    spec.write_text(before.replace("batch_size: 512", "batch_size: 256"))
    told = machine("lossforge", "resume", "workers-1", code=2).err
    assert "search.batch_size: 512 -> 256" in told
    spec.write_text(before)
    machine("lossforge", "resume", "workers-1")


def test_runs_are_listed_and_the_best_is_named(machine: Machine) -> None:
    listed = machine("lossforge", "runs", "list").out
    assert "edl" in listed
    assert "short" in listed
    rows = json.loads(machine("lossforge", "runs", "list", "--json").out)
    assert {row["state"] for row in rows} == {"finished"}
    (group,) = json.loads(machine("lossforge", "runs", "best", "--json").out)["groups"]
    assert group["best"]["value"] <= group["runner_up"]["value"]


ALONE = """
import sys
sys.path = [entry for entry in sys.path if entry]


class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lossforge":
            raise ImportError("lossforge is not here")


sys.meta_path.insert(0, Refused())
sys.path.insert(0, ".")
import torch
from loss import Loss

torch.manual_seed(0)
criterion = Loss()
logits = torch.randn(6, 10, requires_grad=True)
target = torch.arange(6)
value = criterion(logits, target)
value.backward()
assert logits.grad.isfinite().all() and logits.grad.abs().sum() > 0
soft = torch.nn.functional.one_hot(target, 10).float()
torch.testing.assert_close(criterion(logits, soft), value)
smoothed = criterion(logits, torch.softmax(torch.randn(6, 10), dim=1))
assert smoothed.isfinite()
with torch.autocast("cpu", dtype=torch.bfloat16):
    layer = torch.nn.Linear(10, 10)
    mixed = criterion(layer(logits), target)
assert mixed.dtype == torch.float32
torch.testing.assert_close(torch.compile(criterion)(logits, target), value)
print("alone", value.item())
"""


def test_the_exported_file_stands_alone(machine: Machine) -> None:
    """Without lossforge, under autocast, compiled, with soft targets."""
    machine("lossforge", "export", "runs/edl")
    (machine.folder / "alone.py").write_text(ALONE)
    assert machine("python", "-W", "error::UserWarning:loss", "alone.py").out.startswith("alone ")


def test_the_best_loss_is_trained_beside_cross_entropy(machine: Machine) -> None:
    quick = ("--epochs", "1", "--set", "num_train=128", "--set", "num_test=200", "--set", "precision=float32")
    done = machine("lossforge", "train", "--seeds", "5", "--loss", "best", "--baseline", "cross_entropy", *quick)
    (group,) = json.loads(machine("lossforge", "runs", "best", "--json").out)["groups"]
    assert f"--loss best: {group['best']['path']}" in done.err
    assert f"On digits, resnet8, 5 seeds: {group['best']['name']} reaches" in " ".join(done.out.split())
    assert "trained 10/10" in done.err


def test_missing_images_and_a_missing_gpu_are_told_before_anything_runs(machine: Machine) -> None:
    training = "training={dataset: {type: cifar10, root: nowhere}, model: resnet8}"
    told = machine("lossforge", "run", "my.yaml", "--set", training, "--out", "no-images", code=2).err
    assert "nowhere" in told
    told = machine(
        "lossforge", "run", "my.yaml", "--set", "device=cuda", "--out", "no-gpu", code=2, CUDA_VISIBLE_DEVICES=""
    ).err
    assert "torch finds no CUDA device; use 'auto' or 'cpu'" in told
    assert not (machine.folder / "no-images").exists()
    assert not (machine.folder / "no-gpu").exists()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_plugin_is_written_installed_used_and_tested(machine: Machine) -> None:
    written = machine("lossforge", "plugins", "new", "hourly", "--kind", "mutations").out
    assert "cd lossforge-hourly" in written
    machine.install("./lossforge-hourly", editable=True)
    rows = json.loads(machine("lossforge", "plugins", "list", "--kind", "mutations", "--json").out)
    (row,) = [row for row in rows if row["distribution"] == "lossforge-hourly"]
    assert (row["type"], row["status"]) == ("hourly", "ok")
    example = "lossforge-hourly/examples/hourly.yaml"
    machine("lossforge", "run", example, "--set", "search.generations=3", "--out", "hourly")
    manifest = json.loads((machine.folder / "hourly/manifest.json").read_text())
    assert "lossforge-hourly" in {each["distribution"] for each in manifest["plugins"]}
    assert " passed" in machine("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "lossforge-hourly").out
    assert "search:" in machine("lossforge", "plugins", "describe", "hourly").out


def test_a_broken_plugin_beside_it_breaks_nothing_else(machine: Machine) -> None:
    machine("lossforge", "plugins", "new", "broken", "--kind", "samplers")
    edit(machine.folder / "lossforge-broken/src/lossforge_broken.py", "import torch", "import a_package_nobody_has")
    machine.install("./lossforge-broken", editable=True)
    rows = json.loads(machine("lossforge", "plugins", "list", "--json").out)
    assert [row["type"] for row in rows if row["status"] != "ok"] == ["broken"]
    machine("lossforge", "run", "my.yaml", *EASY, "--out", "beside")
    told = machine("lossforge", "run", "my.yaml", *EASY, "--set", "search.sampler=broken", code=3).err
    assert "plugin lossforge-broken 0.1.0" in told
    assert "No module named 'a_package_nobody_has'" in told
    doctor = machine("lossforge", "plugins", "doctor", code=3).out
    assert "Traceback" in doctor
    assert "a_package_nobody_has" in doctor
    machine.uninstall("lossforge-broken")
    assert "all well" not in doctor
    machine("lossforge", "plugins", "doctor")


def test_candidates_that_give_nan_are_penalised_and_counted(machine: Machine) -> None:
    machine("lossforge", "plugins", "new", "patchy", "--kind", "parameterizations")
    edit(
        machine.folder / "lossforge-patchy/src/lossforge_patchy.py",
        "return -torch.expm1(q_P1 * log_p_PB) / q_P1",
        "return -torch.expm1(q_P1 * log_p_PB) / q_P1 + torch.where(solutions_PD > 0.5, torch.nan, 0.0)",
    )
    machine.install("./lossforge-patchy", editable=True)
    example = "lossforge-patchy/examples/patchy.yaml"
    machine("lossforge", "run", example, "--set", "search.generations=3", "--out", "patchy")
    lines = [json.loads(line) for line in (machine.folder / "patchy/history.jsonl").read_text().splitlines()]
    assert 0 < lines[0]["rejected"]["finite"] < lines[0]["num_solutions"]
    for line in lines:
        assert line["num_feasible"] + sum(line["rejected"].values()) == line["num_solutions"]
    found = json.loads((machine.folder / "patchy/artifact/loss.json").read_text())
    assert found["rejected"]["finite"] == sum(line["rejected"].get("finite", 0) for line in lines)
    # The winner is none of those: the plugin as edited has no value above 0.5.
    assert load_file(machine.folder / "patchy/artifact/loss.safetensors")["solution"].item() <= 0.5
