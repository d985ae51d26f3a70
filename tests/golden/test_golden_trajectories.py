"""Every strategy and every mutation does what its golden files say, and twice the same."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.optimize import rosen
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import MutationOperator
from lossforge.types import State

TOLERANCE = 1e-12
LAST_BITS_DIFFER = ("sin", "cos", "tan", "asin", "exp", "exp2", "expm1", "log", "log1p", "randn")
SCRIPT = Path(__file__).with_name("trajectories.py")


def load(path: Path) -> ModuleType:
    """Import the script beside this file, which is on nobody's path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load(SCRIPT)
CASES = golden.cases()
every_case = pytest.mark.parametrize("name", CASES)


def read_text(name: str, folder: Path = golden.FOLDER) -> str:
    path = folder / f"{name}.json"
    if not path.exists():
        pytest.fail(f"{name} has no golden trajectory; record it with: {golden.RECORD_COMMAND}", pytrace=False)
    return path.read_text(encoding="utf-8")


def read(name: str) -> Any:
    return json.loads(read_text(name))


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return the leaves of nested lists and mappings by their place, such as ``/end/0/values/3``."""
    if not isinstance(value, list | dict):
        return {place: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {where: leaf for key, inner in items for where, leaf in flat(inner, f"{place}/{key}").items()}


def agree(actual: Any, expected: Any) -> bool:
    if isinstance(actual, float) and isinstance(expected, float):
        return math.isclose(actual, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return actual == expected


def assert_close(name: str, actual: Any, expected: Any) -> None:
    here, recorded = flat(actual), flat(expected)
    wrong = [
        f"{place}: {here.get(place)!r}, recorded: {recorded.get(place)!r}"
        for place in recorded | here
        if not agree(here.get(place), recorded.get(place))
    ]
    assert not wrong, (
        f"{name} differs from its golden file in {len(wrong)} of {len(recorded)} values, first in {wrong[0]}. "
        f"If results are meant to change, say so in the CHANGELOG and record them with: {golden.RECORD_COMMAND}"
    )


def off_by_one_bit(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def shifted(*args: Any, **options: Any) -> Tensor:
        result = function(*args, **options)
        return result.nextafter(torch.full_like(result, torch.inf))

    return shifted


def turned(eigh: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def other_way_round(matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = eigh(matrix)
        signs = 1.0 - 2.0 * (torch.arange(len(values)) % 2)
        return values.flip(0), (vectors * signs).flip(1)

    return other_way_round


@every_case
class TestGolden:
    def test_the_first_state_is_as_recorded(self, name):
        assert_close(name, golden.to_rows(golden.begin(CASES[name])), read(name)["start"])

    def test_the_run_from_it_is_as_recorded(self, name):
        recorded = read(name)
        assert_close(name, golden.follow(CASES[name], golden.to_state(recorded["start"])), recorded)

    def test_two_runs_have_the_same_bits(self, name):
        case = CASES[name]
        first = golden.to_text(golden.follow(case, golden.begin(case)))
        torch.manual_seed(99)
        assert golden.to_text(golden.follow(case, golden.begin(case))) == first

    def test_the_run_has_something_to_show(self, name):
        """Every generation is finite, and what learns ends well below what random draws find."""
        recorded = read(name)
        best = [row["fitness"] for row in recorded["generations"]]
        assert len(best) == golden.GENERATIONS
        assert all(torch.tensor(row["solution"]).isfinite().all() for row in recorded["generations"])
        if CASES[name].strategy.type != "random_search":
            assert min(best[-5:]) < best[0] / 10

    def test_it_does_not_hang_on_last_bits(self, name, monkeypatch):
        """Processors disagree about those of functions and of the normal draws made with them."""
        for function in LAST_BITS_DIFFER:
            monkeypatch.setattr(torch, function, off_by_one_bit(getattr(torch, function)))
        self.test_the_first_state_is_as_recorded(name)
        self.test_the_run_from_it_is_as_recorded(name)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].strategy.type == "cma_es"])
def test_nothing_hangs_on_signs_and_order_of_eigenvectors(name, monkeypatch):
    monkeypatch.setattr(torch.linalg, "eigh", turned(torch.linalg.eigh))
    TestGolden().test_the_run_from_it_is_as_recorded(name)


def test_two_fresh_processes_have_the_same_bits(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    processes = []
    for hash_seed, folder in enumerate(folders):
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        processes.append(subprocess.Popen([sys.executable, SCRIPT, folder], env=environment))
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first.keys() == {f"{name}.json" for name in CASES}
    assert first == second


class TestFiles:
    def test_no_file_is_left_over(self):
        left = {path.stem for path in golden.FOLDER.glob("*.json")} - CASES.keys()
        assert not left, f"no strategy and mutation go by {', '.join(sorted(left))}; delete the golden files"

    def test_a_missing_file_names_the_command_that_records_it(self, tmp_path):
        with pytest.raises(pytest.fail.Exception, match=r"new has no .* python tests/golden/trajectories\.py"):
            read_text("new", tmp_path)

    @every_case
    def test_what_is_written_reads_back_exactly(self, name):
        text = read_text(name)
        recorded = json.loads(text)
        assert golden.to_text(recorded) == text
        assert golden.to_rows(golden.to_state(recorded["start"])) == recorded["start"]

    def test_states_of_every_kind_read_back_exactly(self):
        state = {"a.x": torch.tensor([[1 / 3], [-0.0]], dtype=torch.float64), "b.n": torch.tensor(7), "c.e": 0.1}
        state["d.none"] = torch.zeros(0, 5)
        rows = json.loads(json.dumps(golden.to_rows(state)))
        restored = golden.to_state(rows)
        assert list(restored) == list(state)
        assert restored["c.e"] == 0.1
        for key in ("a.x", "b.n", "d.none"):
            assert restored[key].dtype == state[key].dtype
            assert torch.equal(restored[key], state[key])
            assert torch.equal(restored[key].signbit(), state[key].signbit())


class TestCases:
    def test_every_choice_of_every_strategy_is_there(self):
        schedules = ["", "-constant", "-one_fifth", "-self_adaptive"]
        evolving = itertools.product(["comma", "plus"], ["mean", "none", "weighted"], schedules)
        assert {f"mu_{kind}_lambda-{mix}{schedule}-gaussian" for kind, mix, schedule in evolving} <= CASES.keys()
        alone = {"random_search", "snes", "snes-mean", "cma_es", "cma_es-mean", "openai_es-sgd", "openai_es-mean-sgd"}
        assert alone | {"sep_cma_es", "differential_evolution", "differential_evolution-best"} <= CASES.keys()

    def test_every_choice_of_every_mutation_is_there_with_the_defaults(self):
        maps = ["", "-tent", "-sine", "-chebyshev", "-gauss", "-circle", "-henon"]
        forms = ["standardised", "gaussianised"]
        mutations = [f"chaotic{chaotic_map}-{form}" for chaotic_map, form in itertools.product(maps, forms)]
        mutations += ["uniform", "cauchy", "polynomial", "iid_arcsine", "chaotic_evolution"]
        pairs = itertools.product(["mu_comma_lambda-mean", "mu_plus_lambda-mean"], mutations)
        assert {f"{strategy}-{mutation}" for strategy, mutation in pairs} <= CASES.keys()

    def test_what_was_recorded_before_the_rule_is_there(self):
        assert CASES.keys() >= golden.OLDER

    def test_names_tell_the_options(self):
        case = CASES["mu_plus_lambda-weighted-one_fifth-gaussian"]
        assert (case.strategy.recombination, case.strategy.sigma_schedule) == ("weighted", "one_fifth")
        assert CASES["mu_comma_lambda-mean-gaussian"].strategy.sigma_decay == 0.95
        assert CASES["mu_comma_lambda-mean-chaotic-henon-gaussianised"].mutation.map == "henon"

    @pytest.mark.parametrize(("distribution", "expected"), [("lossforge", True), ("somebody", False)])
    def test_what_is_registered_next_is_a_case_if_it_is_built_in(self, distribution, expected, monkeypatch):
        class Next(MutationOperator):
            type: str = "next"

            def init(self, num: int, dim: int, generator: torch.Generator) -> State:
                return {}

            def mutate(self, parents_PD, sigma, state, generator):
                return parents_PD, state

        offers, get = registry.offers, registry.get
        offer = SimpleNamespace(type="next", distribution=distribution)
        monkeypatch.setattr(registry, "offers", lambda kind: (*offers(kind), *[offer] * (kind == "mutations")))
        monkeypatch.setattr(registry, "get", lambda kind, name: Next if name == "next" else get(kind, name))
        new = golden.cases().keys() - CASES.keys()
        assert new == ({"mu_comma_lambda-mean-next", "mu_plus_lambda-mean-next"} if expected else set())


class TestToyFitness:
    def test_it_is_rosenbrocks_function(self):
        solutions_PD = 2 * golden.prior(200, torch.Generator().manual_seed(0))
        expected_P = torch.from_numpy(rosen(solutions_PD.numpy().T))
        torch.testing.assert_close(golden.rosenbrock(solutions_PD), expected_P, rtol=1e-13, atol=0)

    def test_its_minimum_is_0_at_ones(self):
        assert golden.rosenbrock(torch.ones(1, golden.DIM, dtype=torch.float64)).tolist() == [0.0]

    def test_a_solution_has_its_fitness_in_any_company(self):
        solutions_PD = golden.prior(33, torch.Generator().manual_seed(0))
        alone = torch.cat([golden.rosenbrock(solution_D[None]) for solution_D in solutions_PD])
        assert torch.equal(golden.rosenbrock(solutions_PD), alone)
        assert alone.dtype == torch.float64
