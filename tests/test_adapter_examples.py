"""The examples that train with a found loss elsewhere: they learn, with that very loss, and leave nothing behind."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import lossforge
from lossforge import presets

ADAPTERS = Path(__file__).parents[1] / "examples" / "adapters"
BY_DEFAULT = "runs/quickstart"


@dataclass(frozen=True)
class Example:
    """How an example is called, and what its loss is given: targets of which kind, and in how many calls an update."""

    arguments: tuple[str, ...] = ()
    is_standalone: bool = False
    soft_targets: bool = False
    calls: frozenset[int] = frozenset({1})


# With and without a path; a run directory, an artifact folder, and a file.
EXAMPLES = {
    "plain_loop": Example(),
    "lightning_module": Example((f"{BY_DEFAULT}/artifact",)),
    "hf_trainer": Example(is_standalone=True, calls=frozenset({1, 2})),  # 45 batches an epoch: the last one is alone
    "timm_style": Example((BY_DEFAULT,), soft_targets=True),
}

# Runs an example as a script, and notes what its loss was given in training, what was differentiated, after how many
# calls each update came, and which hosts it would have asked for.
WATCHED = """
import runpy, socket, sys
import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

record, without_lossforge, script, *arguments = sys.argv[1:]
calls, differentiated, updates, hosts = [], [], [], []

def note_call(module, arguments, output):
    if type(module).__name__ in ("LearnedLoss", "Loss") and torch.is_grad_enabled():
        calls.append([tensor.detach().clone() for tensor in arguments])

def note_backward(tensors, *rest, **options):
    differentiated.append(tensors.detach().clone())
    return backward(tensors, *rest, **options)

def refuse(*address, **options):
    hosts.append(str(address))
    raise OSError("no network")

register_module_forward_hook(note_call)
register_optimizer_step_post_hook(lambda *step: updates.append(len(calls)))
backward, torch.autograd.backward = torch.autograd.backward, note_backward
socket.socket.connect = socket.getaddrinfo = refuse
if without_lossforge == "True":
    sys.modules["lossforge"] = None  # an import of it raises ModuleNotFoundError
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
torch.save({"calls": calls, "differentiated": differentiated, "updates": updates, "hosts": hosts}, record)
"""

# Two updates on twelve items of very unequal batches, some of none but ignored labels, against whole batches by hand.
ACCUMULATED = """
import sys
from functools import partial
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

adapters, folder, path, record = sys.argv[1:]
sys.path.insert(0, adapters)
from hf_trainer import load_loss_class, mean_over_update

Loss = load_loss_class(path)
generator = torch.Generator().manual_seed(0)
inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
labels = torch.tensor([0, 1, 2, 3, -100, -100, 1, -100, -100, 0, 3, -100])

class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4, bias=False, dtype=torch.float64)
        nn.init.ones_(self.layer.weight)

    def forward(self, inputs):
        return {"logits": self.layer(inputs)}

def trained(loss_func, batch_size, accumulated):
    sizes = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": accumulated}
    descent = {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    quiet = {"use_cpu": True, "save_strategy": "no", "report_to": "none"}
    args = TrainingArguments(folder, max_steps=2, label_names=["labels"], **sizes, **descent, **quiet)
    model = Linear()
    data = [{"inputs": item, "labels": label} for item, label in zip(inputs, labels)]
    Trainer(model, args, train_dataset=data, compute_loss_func=loss_func).train()
    return model.layer.weight.detach()

def by_hand():
    model, criterion = Linear(), Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        criterion(model(inputs)["logits"], labels).backward()
        optimizer.step()
    return model.layer.weight.detach()

def mean_of_batch(outputs, labels, num_items_in_batch=None):
    return Loss()(outputs["logits"], labels)

loss_func = partial(mean_over_update, Loss(reduction="sum"))
logits = Linear()(inputs)["logits"]
torch.save({
    "expected": by_hand(),
    "found": {sizes: trained(loss_func, *sizes) for sizes in ((12, 1), (6, 2), (5, 3), (1, 12))},
    "mean_of_batch": trained(mean_of_batch, 6, 2),
    "uncounted": (loss_func({"logits": logits}, labels).detach(), Loss()(logits, labels).detach()),
}, record)
"""


def run(*command: Path | str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder``, with a home and a folder for temporary files of its own."""
    (home / "tmp").mkdir(parents=True)
    # The cache of torch's compiler is among the temporary files, else.
    homes = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "TORCHINDUCTOR_CACHE_DIR": str(home / "compiled")}
    environment = {**os.environ, **homes, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Path:
    """The directory of a short run: the preset edl, in fewer generations."""
    folder = tmp_path_factory.mktemp("found") / "run"
    lossforge.run(presets.load("edl", ["search.generations=60"]), folder)
    return folder


@dataclass(frozen=True)
class Watched:
    """An example that has run, and what was seen of it."""

    example: Example
    stdout: str
    folder: Path
    home: Path
    calls: list[list[torch.Tensor]] = field(repr=False)
    differentiated: list[torch.Tensor] = field(repr=False)
    updates: list[int] = field(repr=False)
    hosts: list[str]


def watch(name: str, found: Path, base: Path) -> Watched:
    example, script = EXAMPLES[name], ADAPTERS / f"{name}.py"
    folder, home, record = base / "work", base / "home", base / "record.pt"
    (folder / BY_DEFAULT).parent.mkdir(parents=True)
    (folder / BY_DEFAULT).symlink_to(found)
    arguments = (record, str(example.is_standalone), script, *example.arguments)
    done = run("-c", WATCHED, *arguments, folder=folder, home=home)
    assert done.returncode == 0, done.stderr
    return Watched(example, done.stdout, folder, home, **torch.load(record, weights_only=True))


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Two processes at a time: most of their time is spent importing frameworks."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def running(pool, found, tmp_path_factory) -> dict[str, Future[Watched]]:
    return {name: pool.submit(watch, name, found, tmp_path_factory.mktemp(name)) for name in EXAMPLES}


@pytest.fixture(scope="module", params=EXAMPLES)
def watched(request, running) -> Watched:
    return running[request.param].result()


@pytest.fixture(scope="module")
def failing(pool, running, found, tmp_path_factory) -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Every example, given a path where there is no loss; after ``running``, so that those come first."""
    paths = {name: found if example.is_standalone else "nowhere" for name, example in EXAMPLES.items()}
    folders = {name: tmp_path_factory.mktemp(name) for name in EXAMPLES}
    return {
        name: pool.submit(run, ADAPTERS / f"{name}.py", path, folder=folders[name], home=folders[name] / "home")
        for name, path in paths.items()
    }


def test_there_is_a_test_of_every_example():
    assert {path.stem for path in ADAPTERS.glob("*.py")} == set(EXAMPLES)


class TestExample:
    def test_it_learns(self, watched):
        """One in ten is chance."""
        accuracy = watched.stdout.splitlines()[-1]
        assert 0.8 < float(accuracy.removeprefix("test accuracy ")) <= 1.0

    def test_it_leaves_nothing_behind(self, watched):
        assert os.listdir(watched.folder) == ["runs"]
        assert os.listdir(watched.folder / "runs") == ["quickstart"]
        assert os.listdir(watched.home / "tmp") == []

    def test_it_asks_for_no_network(self, watched):
        assert watched.hosts == []

    def test_it_descends_the_found_loss_and_nothing_else(self, watched, found):
        """What is differentiated in an update adds up to the mean of ``load_loss`` over all items of the update."""
        criterion, spans = lossforge.load_loss(found), list(itertools.pairwise([0, *watched.updates]))
        assert len(watched.calls) == len(watched.differentiated) == watched.updates[-1] > 200
        assert {end - start for start, end in spans} == watched.example.calls
        for start, end in spans:
            logits, targets = (torch.cat(parts) for parts in zip(*watched.calls[start:end], strict=True))
            assert logits.shape[1] == 10
            assert targets.is_floating_point() == watched.example.soft_targets
            value = torch.stack(watched.differentiated[start:end]).sum()
            torch.testing.assert_close(value, criterion(logits, targets), rtol=1e-5, atol=1e-5)

    def test_the_found_loss_is_not_cross_entropy(self, watched):
        """Else the test above would not tell the two apart, not even by their gradient."""
        logits, targets = watched.calls[0]
        gradients = []
        for criterion in (lossforge.load_loss(watched.folder / BY_DEFAULT), torch.nn.CrossEntropyLoss()):
            leaf = logits.clone().requires_grad_()
            gradients.append(torch.autograd.grad(criterion(leaf, targets), leaf)[0])
        assert (gradients[0] - gradients[1]).abs().max() > 0.02 * gradients[1].abs().max()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_path_without_a_loss_is_told(name, failing, found):
    done = failing[name].result()
    assert done.stdout == ""
    if EXAMPLES[name].is_standalone:
        code, message = 2, f"{found} is no loss.py; a run has one in artifact, and `lossforge export` writes one"
    else:
        code, message = (
            1,
            "nowhere: no loss.json here or in nowhere/artifact; give an artifact folder or a run directory",
        )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].endswith(message)


def test_accumulated_gradients_are_those_of_the_whole_batch(found, tmp_path):
    record, loss = tmp_path / "record.pt", found / "artifact" / "loss.py"
    done = run("-c", ACCUMULATED, ADAPTERS, tmp_path / "out", loss, record, folder=tmp_path, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = torch.load(record, weights_only=True)
    expected = results["expected"]
    assert expected.dtype == torch.float64
    assert (expected - 1).abs().max() > 0.01
    for weight in results["found"].values():
        torch.testing.assert_close(weight, expected, rtol=1e-9, atol=1e-9)
    # Nor would this have gone unnoticed: the mean of each batch.
    assert not (results["mean_of_batch"] - expected).abs().max() < 0.01
    torch.testing.assert_close(*results["uncounted"])


class TestFiles:
    def test_what_the_readme_shows_is_in_the_examples(self):
        blocks = re.findall(r"\((\w+)\.py\)\n.*?```python\n(.*?)```", (ADAPTERS / "README.md").read_text(), re.DOTALL)
        assert [name for name, _ in blocks] == list(EXAMPLES)
        for name, code in blocks:
            lines = [line.strip() for line in (ADAPTERS / f"{name}.py").read_text().splitlines()]
            assert len(code.splitlines()) == 3
            assert set(code.splitlines()) <= set(lines)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_it_is_short_and_tells_how_to_run_it(self, name):
        text = (ADAPTERS / f"{name}.py").read_text()
        assert len(text.splitlines()) < 60
        path = f"{BY_DEFAULT}/artifact/loss.py" if EXAMPLES[name].is_standalone else BY_DEFAULT
        assert f"python examples/adapters/{name}.py {path}\n" in (ast.get_docstring(ast.parse(text)) or "") + "\n"
