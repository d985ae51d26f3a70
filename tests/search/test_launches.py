"""Several generations a launch: the same numbers, however many; and nothing that is read from the device in between."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lossforge import devices, presets
from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.errors import SearchError
from lossforge.interfaces import LossParameterization, Objective
from lossforge.objectives import GradientShape, Halving, HalvingRung, Pareto, Part, ProxyTraining, RankingConsistency
from lossforge.search import Search, evaluator
from lossforge.search.generation import generation_after, launch_size
from lossforge.search.population import ParameterPopulation
from lossforge.spec import SearchSpec


def spec_of(**options: Any) -> SearchSpec:
    """The search of the preset edl, small, with all its gates."""
    spec = presets.load("edl").search.model_dump(mode="json")
    spec["parameterization"]["hidden"] = [4]
    spec |= {"generations": 9, "batch_size": 64, "selection_batch_size": 128, **options}
    return SearchSpec.model_validate_json(json.dumps(spec))


def equal_states(first: Search, second: Search) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[key]) if isinstance(value, Tensor) else value == theirs[key]
        for key, value in ours.items()
    )


OF_LAUNCHES = {
    "plain": {},
    "restarts": {"restarts": 3, "generations": 4, "population_growth": 1.5},
    "stagnation": {"restarts": 2, "generations": 30, "stop": {"stagnation": 2}},
    "evaluations": {"stop": {"evaluations": 250}},
    "target": {"stop": {"target_fitness": 0.3}},
    "nothing passes": {"gates": {"weight_band": {"minimum": 0.999, "maximum": 1.001}, "patience": 5}},
    "trade-offs": {
        "objective": {
            "type": "pareto",
            "objectives": [
                {"objective": {"type": "ranking_consistency"}},
                {"objective": {"type": "gradient_shape"}},
            ],
        }
    },
}


@pytest.mark.parametrize("options", OF_LAUNCHES.values(), ids=OF_LAUNCHES)
@pytest.mark.parametrize("size", [2, 5, 100])
def test_numbers_are_those_of_steps(options, size):
    """To the end of the search, and of each of several; whatever was run for nothing leaves no trace."""
    stepped, launched = (Search(spec_of(**options), seed=3) for _ in range(2))
    steps, launches = [], []
    while not stepped.finished:
        steps.append(stepped.step())
    while not launched.finished:
        launches += launched.launch(size)
    assert launches == steps
    assert equal_states(launched, stepped)


def test_a_launch_ends_with_the_search_in_it():
    search = Search(spec_of(restarts=2, generations=5), seed=0)
    assert [record["generation"] for record in search.launch(3)] == [0, 1, 2]
    assert [record["generation"] for record in search.launch(3)] == [3, 4]
    assert [(record["restart"], record["generation"]) for record in search.launch(100)] == [
        (1, index) for index in range(5)
    ]
    with pytest.raises(SearchError, match="the search has ended"):
        search.launch(1)


def test_what_is_interrupted_has_not_happened(monkeypatch):
    search, undisturbed = (Search(spec_of(), seed=0) for _ in range(2))
    search.launch(2)

    def interrupted(state, evaluator, clock):
        if int(state["search.generation"]) == 4:
            raise KeyboardInterrupt
        return generation_after(state, evaluator, clock)

    with monkeypatch.context() as patch:
        patch.setattr("lossforge.search.generation.generation_after", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.launch(5)
    assert search.generation == 2
    assert search.run().evidence == undisturbed.run().evidence


@pytest.mark.parametrize(
    ("options", "device", "size"),
    [
        ({}, "cpu", 1),
        ({"generations_per_launch": 5}, "cpu", 5),
        ({"generations_per_launch": 1, "backend": "triton"}, "cuda", 1),
        ({"backend": "triton"}, "cuda", 16),
        ({"backend": "eager"}, "cuda", 1),
        ({"backend": "triton", "objective": {"type": "proxy_training"}}, "cuda", 1),
    ],
)
def test_the_size_of_a_launch(options, device, size):
    """Several where nothing is read in between anyway."""
    assert launch_size(spec_of(**options), torch.device(device)) == size


@pytest.mark.parametrize("size", [0, -3])
def test_a_launch_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match="a launch has at least one generation"):
        Search(spec_of(), seed=0).launch(size)


@pytest.mark.parametrize("size", [1, 16, 100])
def test_a_wall_time_counts_whole_generations(size, monkeypatch):
    """Each takes a second; none is run after the time, and none of those before is lost."""
    now = [0.0]

    def slow(state, evaluator, clock):
        now[0] += 1.0
        return generation_after(state, evaluator, clock)

    monkeypatch.setattr("lossforge.search.loop.time.monotonic", lambda: now[0])
    monkeypatch.setattr("lossforge.search.generation.generation_after", slow)
    search = Search(spec_of(generations=200, stop={"wall_time": 10.0}), seed=0)
    records = []
    while not search.finished:
        records += search.launch(size)
    assert len(records) == now[0] == 10
    assert records[-1]["stopped"] == "wall_time"


def test_no_generation_is_run_beyond_the_budget(monkeypatch):
    ran = []

    def counted(state, evaluator, clock):
        ran.append(int(state["search.generation"]))
        return generation_after(state, evaluator, clock)

    monkeypatch.setattr("lossforge.search.generation.generation_after", counted)
    search = Search(spec_of(generations=100, stop={"evaluations": 200}), seed=0)
    assert [record["evaluations"] for record in search.launch(100)] == [48, 96, 144, 192]
    assert ran == [0, 1, 2, 3]


def test_an_error_takes_nothing_with_it(monkeypatch, caplog):
    """Those before it are taken in; it is logged, and comes again unless the search has ended before."""

    def failing(state, evaluator, clock):
        if int(state["search.generation"]) == 5:
            raise RuntimeError("out of luck")
        return generation_after(state, evaluator, clock)

    monkeypatch.setattr("lossforge.search.generation.generation_after", failing)
    search = Search(spec_of(), seed=0)
    with caplog.at_level("INFO"):
        assert [record["generation"] for record in search.launch(8)] == [0, 1, 2, 3, 4]
    assert "generation 5 failed and is run again: RuntimeError('out of luck')" in caplog.text
    with pytest.raises(RuntimeError, match="out of luck"):
        search.launch(8)
    assert search.generation == 5
    ending = Search(spec_of(stop={"evaluations": 5 * 48}), seed=0)
    assert ending.launch(100)[-1]["stopped"] == "evaluations"


def test_the_loss_says_nothing_of_launches():
    first, second = (Search(spec_of(generations_per_launch=size), seed=0).run() for size in (1, 7))
    assert first.evidence == second.evidence
    assert torch.equal(first.solution_D, second.solution_D)


PAUSED: list[bool] = []
"""Not empty while nothing is counted."""


@contextmanager
def not_counted():
    PAUSED.append(True)
    yield
    PAUSED.pop()


class Reads(TorchDispatchMode):
    """Counts operations for whose result, or for whose size of it, the host would wait."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "is_nonzero", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).removeprefix("aten.")
        by_mask = name.startswith("index") and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1:2])
        )
        if not PAUSED and (by_mask or name.startswith(self.WAIT)):
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


class Transfers(TorchFunctionMode):
    """Counts methods that bring numbers to the host, which on the CPU are no operations."""

    NAMES = ("tolist", "item", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__")
    COPIES = ("tensor", "new_tensor", "as_tensor", "asarray", "from_numpy")  # from the host, for which it waits as well

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if not PAUSED and name in self.NAMES + self.COPIES:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Reference:
    """A kernel of torch operations, in which nothing is counted: on the CPU, labels are looked at."""

    family: LossParameterization

    def losses(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        with not_counted():
            return self.family.loss(solutions_PD, log_probs_PBC, labels_B).detach()

    def gradients(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        with not_counted():
            return self._gradients(solutions_PD, logits_PBC, labels_B)

    def _gradients(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        leaf = logits_PBC.expand(len(solutions_PD), -1, -1).clone().requires_grad_()
        loss_PB = self.family.loss(solutions_PD, torch.log_softmax(leaf, dim=2), labels_B)
        return torch.autograd.grad(loss_PB.sum(), leaf)[0]

    def concordance(self, solutions_PD: Tensor, comparisons: Comparisons) -> Concordance:
        return concordance(self.losses(solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R), comparisons)


NO_GATES = dict.fromkeys(("weight_band", "signs", "same_prediction", "duplicate"))

LOOSE = {"weight_band": {"minimum": 0.01, "maximum": 100.0}, "signs": {"tolerance": 0.3}}

QUEUED = {
    "edl": {},
    "without gates": {"gates": NO_GATES},
    "hinge": {"objective": {"type": "ranking_consistency", "form": "hinge"}},
    "gradient shape": {"objective": {"type": "gradient_shape"}},
    "dirichlet": {"sampler": {"type": "dirichlet"}},
    "logit normal": {"sampler": {"type": "logit_normal"}},
    "curriculum": {"sampler": {"type": "curriculum", "start": {"boundary": 0}, "end": {"dirichlet": 0}}},
    "noisy labels": {"sampler": {"type": "noisy_labels", "rate": 0.3, "sampler": {"type": "mixture"}}},
    "noise by a matrix": {
        "sampler": {
            "type": "noisy_labels",
            "noise": "matrix",
            "matrix": [[0.91 if i == j else 0.01 for j in range(10)] for i in range(10)],
            "sampler": {"type": "mixture"},
        }
    },
    "imbalanced": {"sampler": {"type": "imbalanced", "ratio": 10.0, "sampler": {"type": "mixture"}}},
    "gaussian": {"mutation": {"type": "gaussian"}},
    "henon": {"mutation": {"type": "chaotic", "map": "henon"}},
    "weighted": {"strategy": {"type": "mu_plus_lambda", "recombination": "weighted"}},
    "comma": {"strategy": {"type": "mu_comma_lambda"}},
    "self-adaptive": {"strategy": {"type": "mu_comma_lambda", "sigma_schedule": "self_adaptive"}},
    "one fifth": {"strategy": {"type": "mu_plus_lambda", "sigma_schedule": "one_fifth"}},
    "sep-CMA-ES": {"strategy": {"type": "sep_cma_es"}, "mutation": None},
    "SNES": {"strategy": {"type": "snes"}, "mutation": None},
    "differential evolution": {"strategy": {"type": "differential_evolution"}, "mutation": None},
    "OpenAI-ES": {"strategy": {"type": "openai_es"}, "mutation": None},
    "random search": {"strategy": {"type": "random_search"}, "mutation": None},
    "classwise": {"parameterization": {"type": "classwise_mlp", "hidden": [4]}},
}


@pytest.mark.parametrize("options", QUEUED.values(), ids=QUEUED)
def test_on_a_gpu_a_launch_waits_once(options, monkeypatch):
    """Draw, ask, evaluate, tell, of four generations; counted on the CPU, with the paths that a GPU takes."""
    spec = spec_of(**options)
    monkeypatch.setattr(devices, "is_queued", lambda device: True)
    monkeypatch.setattr(evaluator, "kernel_of", lambda spec, device: Reference(spec.parameterization))
    search = Search(spec, seed=0)
    search.launch(2)  # generation 0 is another, and things that are made once are kept
    with Reads() as reads, Transfers() as transfers:
        state = search.state
        for _ in range(4):
            state = generation_after(state, search.evaluator, dict).state
    assert reads.found == {}
    assert transfers.found == {}
    with Transfers() as transfers:
        search.launch(4)
    assert transfers.found["cpu"] == 1


@pytest.mark.parametrize("name", ["edl", "without gates", "hinge", "gradient shape", "one fifth"])
def test_paths_of_a_gpu_come_to_the_same(name, monkeypatch):
    """What they evaluate in vain is left out of account."""
    histories = []
    for queued in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(devices, "is_queued", lambda device, queued=queued: queued)
            patch.setattr(evaluator, "kernel_of", lambda spec, device: Reference(spec.parameterization))
            search = Search(spec_of(**{"gates": LOOSE, **QUEUED[name]}), seed=0)
            histories.append([search.step() for _ in range(6)])
    assert histories[0] == histories[1]
    assert all(record["num_feasible"] > 0 for record in histories[1][1:])


@pytest.mark.parametrize(
    ("objective", "may_see_all"),
    [
        (RankingConsistency(), True),
        (ProxyTraining(), False),
        (
            Halving(
                rungs=(
                    HalvingRung(objective=RankingConsistency(), fraction=0.5),
                    HalvingRung(objective=GradientShape()),
                )
            ),
            False,
        ),
        (Pareto(objectives=(Part(objective=RankingConsistency()), Part(objective=GradientShape()))), False),
    ],
    ids=["cheap", "dear", "contest", "relative"],
)
def test_objectives_that_are_told_of_all(objective: Objective, may_see_all):
    assert objective.may_see_all == may_see_all


def test_a_population_is_asked_for_nothing_by_its_kernel():
    family = spec_of().parameterization
    solutions_PD = family.init(5, torch.Generator().manual_seed(0))
    population = ParameterPopulation(family, solutions_PD, 10, kernel=Reference(family))
    index = torch.tensor([1, 3])
    with Reads() as reads, Transfers() as transfers:
        assert population.take(index).exhausted_P.shape == (2,)
    assert reads.found == transfers.found == {}
