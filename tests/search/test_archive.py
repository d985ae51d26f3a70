"""The archive: what it holds, through generations, restarts and interruptions, and what is left of it on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from lossforge.cli.results import export
from lossforge.errors import ArtifactError
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Objective, Population
from lossforge.mutations import ChaoticMutation
from lossforge.objectives import GradientShape, Pareto, Part, PredictionDescent, RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.run_directory import RunDirectory
from lossforge.samplers import MixtureSampler
from lossforge.search import Evaluator, Search, archive, run_search
from lossforge.search.archive import (
    DEFAULT_SIZE,
    FOUND_IN,
    SOLUTIONS,
    VALUES,
    Archive,
    after_generation,
    load_archive,
    size_for,
    thinned,
)
from lossforge.search.evaluator import Assessment
from lossforge.search.gates import GateResult
from lossforge.search.progress import ARCHIVE, RESTART
from lossforge.spec import DuplicateGate, GateSpec, RunSpec, SearchSpec
from lossforge.strategies import MuPlusLambda
from lossforge.types import Evaluation, PredictionBatch

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)
PARETO = Pareto(
    objectives=(
        Part(objective=RankingConsistency(form="hinge"), name="ranking"),
        Part(objective=GradientShape(), name="shape"),
        Part(objective=PredictionDescent(steps=2), name="descent"),
    ),
    archive_size=6,
)


def make_spec(objective: Objective = PARETO, **options: Any) -> RunSpec:
    """Two searches of three generations; the second has 12 candidates."""
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": objective,
        "strategy": MuPlusLambda(population_size=8, num_parents=2),
        "mutation": ChaoticMutation(),
        "generations": 3,
        "restarts": 2,
        "population_growth": 1.5,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": NO_GATES,
        "checkpoint_every": 2,
    }
    return RunSpec(name="toy", seed=5, device="cpu", search=SearchSpec(**{**defaults, **options}))


def dominates(a: list[float], b: list[float]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def assessment(values_PM: Tensor, violation_P: Tensor | None = None) -> Assessment:
    """An assessment that came to these values, all feasible but where there is a violation."""
    num = len(values_PM)
    trade_offs = {f"f{index}": column for index, column in enumerate(values_PM.T)}
    violation_P = torch.zeros(num) if violation_P is None else violation_P
    return Assessment(
        Evaluation(torch.zeros(num), {}, trade_offs),
        GateResult({"finite": violation_P}),
        torch.zeros(num, dtype=torch.bool),
    )


def told(*generations: tuple[Tensor, Assessment], size: int = DEFAULT_SIZE) -> dict[str, Any]:
    """The archive's keys after these generations of one search."""
    state: dict[str, Any] = {RESTART: 0}
    for solutions_PD, each in generations:
        state |= after_generation(state, solutions_PD, each, size)
    return state


def one_dimensional(*numbers: float) -> Tensor:
    return torch.tensor(numbers)[:, None]


class TestThinning:
    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), min_size=1, max_size=20))
    def test_what_is_kept_is_what_nobody_dominates(self, rows):
        kept = thinned(torch.tensor(rows), 100).tolist()
        best = [i for i in range(len(rows)) if not any(dominates(list(other), list(rows[i])) for other in rows)]
        assert kept == [i for i in best if rows[i] not in rows[:i]]

    @pytest.mark.parametrize("size", [2, 3, 7])
    def test_the_most_crowded_go_first_and_the_ends_stay(self, size):
        """Points on a line, thirty of them close together: those that are left are spread."""
        x = torch.cat((torch.linspace(0, 0.1, 30), torch.tensor([0.3, 0.5, 0.7, 0.9, 1.0]))).double()
        values_PM = torch.stack((x, 1 - x), dim=1)[torch.randperm(35, generator=torch.Generator().manual_seed(0))]
        kept = values_PM[thinned(values_PM, size)][:, 0].sort().values
        assert len(kept) == size
        assert (kept[0], kept[-1]) == (0.0, 1.0)
        if size == 7:
            assert (kept > 0.2).sum() == 5

    def test_one_after_the_other(self):
        """Of two close neighbours only one goes, though both are crowded."""
        x = torch.tensor([0.0, 0.49, 0.51, 1.0], dtype=torch.float64)
        kept = thinned(torch.stack((x, 1 - x), dim=1), 3).tolist()
        assert kept in ([0, 1, 3], [0, 2, 3])


class TestGenerations:
    def test_members_are_what_nothing_found_dominates(self):
        random = torch.Generator().manual_seed(0)
        generations = [
            (torch.randn(6, 2, generator=random), torch.rand(6, 2, generator=random, dtype=torch.float64))
            for _ in range(5)
        ]
        state = told(*[(solutions, assessment(values)) for solutions, values in generations])
        solutions = torch.cat([each for each, _ in generations])
        values = torch.cat([each for _, each in generations])
        rows = values.tolist()
        best = [i for i in range(30) if not any(dominates(other, rows[i]) for other in rows)]
        assert torch.equal(state[SOLUTIONS], solutions[best])
        assert torch.equal(state[VALUES], values[best])
        assert state[FOUND_IN].tolist() == [0] * len(best)
        assert 1 < len(best) < 15

    def test_infeasible_ones_and_what_is_not_finite_do_not_enter(self):
        values = torch.tensor([[0.0, 0.0], [1.0, 2.0], [math.nan, 0.0], [2.0, 1.0], [-math.inf, 0.0]])
        violation_P = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.0])
        state = told((one_dimensional(1, 2, 3, 4, 5), assessment(values, violation_P)))
        assert state[SOLUTIONS].flatten().tolist() == [2.0, 4.0]

    def test_a_member_that_is_evaluated_again_counts_with_its_new_values(self):
        first = one_dimensional(1, 2), assessment(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        again = one_dimensional(1, 3), assessment(torch.tensor([[5.0, 5.0], [2.0, 2.0]]))
        state = told(first, again)
        assert state[SOLUTIONS].flatten().tolist() == [3.0]

    def test_a_member_that_fails_the_second_time_is_gone(self):
        first = one_dimensional(1), assessment(torch.tensor([[0.0, 0.0]]))
        again = one_dimensional(1, 2), assessment(torch.tensor([[math.nan, 0.0], [3.0, 3.0]]))
        assert told(first, again)[SOLUTIONS].flatten().tolist() == [2.0]

    def test_a_member_that_was_not_evaluated_again_stays(self):
        """A gate turned it away, so nothing new is known of it."""
        first = one_dimensional(1), assessment(torch.tensor([[0.0, 4.0]]))
        values = torch.tensor([[math.nan, math.nan], [3.0, 3.0]])
        again = one_dimensional(1, 2), assessment(values, torch.tensor([1.0, 0.0]))
        state = told(first, again)
        assert state[SOLUTIONS].flatten().tolist() == [1.0, 2.0]
        assert state[VALUES].tolist() == [[0.0, 4.0], [3.0, 3.0]]

    def test_an_empty_archive_can_be_filled(self):
        nothing = one_dimensional(1), assessment(torch.tensor([[math.nan, 0.0]]))
        state = told(nothing)
        assert state[SOLUTIONS].shape == (0, 1)
        assert told(nothing, (one_dimensional(2), assessment(torch.tensor([[1.0, 1.0]]))))[VALUES].tolist() == [[1, 1]]

    def test_the_searches_share_it(self):
        state = told((one_dimensional(1, 2), assessment(torch.tensor([[0.0, 2.0], [3.0, 3.0]]))))
        later = {**state, RESTART: 1}
        later |= after_generation(later, one_dimensional(3), assessment(torch.tensor([[2.0, 0.0]])), 64)
        assert later[SOLUTIONS].flatten().tolist() == [1.0, 3.0]
        assert later[FOUND_IN].tolist() == [0, 1]

    def test_without_trade_offs_there_is_none(self):
        fitness_only = Assessment.of_fitness(torch.zeros(2))
        assert told((one_dimensional(1, 2), fitness_only)) == {RESTART: 0}


class TestState:
    def test_a_search_with_one_goal_has_the_keys_it_had(self):
        search = Search(make_spec(RankingConsistency()).search)
        search.run()
        assert not [key for key in search.state if key.startswith(ARCHIVE)]
        assert search.archive() is None

    def test_the_size_is_the_objectives(self):
        assert size_for(PARETO) == 6
        assert size_for(RankingConsistency()) == DEFAULT_SIZE

    def test_it_grows_in_the_search_and_goes_on_in_the_next(self):
        search = Search(make_spec().search, seed=5)
        restarts = set()
        while not search.finished:
            search.step()
            values = search.state[VALUES].tolist()
            assert 1 <= len(values) <= 6
            assert not any(dominates(a, b) for a in values for b in values)
            restarts |= set(search.state[FOUND_IN].tolist())
        assert restarts == {0, 1}

    def test_members_come_from_the_generations_they_were_told_of(self):
        search = Search(make_spec().search, seed=5)
        solutions = search.ask()
        result = search.evaluate(solutions)
        search.tell(solutions, result)
        members = {tuple(row) for row in search.state[SOLUTIONS].tolist()}
        assert members <= {tuple(row) for row in solutions.tolist()}
        front_0 = result.evaluation.metrics["front"] == 0
        assert len(members) == min(6, int(front_0.sum()))

    def test_a_search_goes_on_from_any_generation(self):
        straight = Search(make_spec().search, seed=5)
        while not straight.finished:
            saved = straight.state_dict()
            other = Search(make_spec().search, seed=5)
            other.load_state_dict(saved)
            straight.step()
            other.step()
            ours, theirs = straight.state_dict(), other.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(torch.as_tensor(ours[key]), torch.as_tensor(theirs[key])) for key in ours)

    def test_members_that_are_asked_for_again_are_not_lost(self):
        """A search takes them for copies of what it has seen, unless they are of the last generation."""
        search = Search(make_spec(gates=NO_GATES.model_copy(update={"duplicate": DuplicateGate()})).search, seed=5)
        search.step()
        members = search.state[SOLUTIONS].clone()
        others = search.spec.parameterization.init(4, torch.Generator().manual_seed(1))
        search.tell(others, search.evaluate(others))
        old = [each for each in members if (search.state[SOLUTIONS] == each).all(dim=1).any()]
        assert old
        result = search.evaluate(torch.stack(old))
        assert (result.gates.violations["duplicate"] > 0).all()
        search.tell(torch.stack(old), result)
        for each in old:
            assert (search.state[SOLUTIONS] == each).all(dim=1).any()

    def test_what_fails_a_gate_has_no_trade_off(self):
        spec = make_spec(gates=GateSpec(weight_band=None, duplicate=None)).search
        solutions_PD = spec.parameterization.init(40, torch.Generator().manual_seed(0))
        found = Evaluator(spec, 0, torch.device("cpu")).in_generation(solutions_PD, 0)
        passes_P = found.gates.feasible_P
        assert 0 < passes_P.sum() < 40
        for values_P in found.evaluation.trade_offs.values():
            assert torch.equal(values_P.isfinite(), passes_P)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that nobody interrupted."""
    return run(RunDirectory(tmp_path_factory.mktemp("runs") / "straight"))


def run(directory: RunDirectory, spec: RunSpec | None = None, stop_after: int | None = None) -> RunDirectory:
    """Run or go on; Ctrl-C comes after so many generations."""
    directory.path.mkdir(exist_ok=True)
    seen = 0

    def on_generation(record: Any, seconds: float) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_after:
            raise KeyboardInterrupt

    run_search(spec or make_spec(), directory, on_generation=on_generation).save(directory.artifact)
    return directory


def files(directory: RunDirectory) -> dict[str, bytes]:
    folders = (directory.archive, directory.artifact)
    return {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in folder.iterdir()}


class TestRuns:
    @pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
    def test_an_interrupted_run_comes_to_the_same_bytes(self, tmp_path, finished, stop_after):
        directory = RunDirectory(tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            run(directory, stop_after=stop_after)
        assert not directory.archive.exists()
        assert files(run(directory)) == files(finished)
        assert set(files(finished)) == {
            "archive/archive.json",
            "archive/solutions.safetensors",
            "artifact/loss.json",
            "artifact/loss.safetensors",
            "artifact/loss.py",
        }

    def test_interrupted_while_the_archive_is_judged(self, tmp_path, finished, monkeypatch):
        directory = RunDirectory(tmp_path / "run")
        with monkeypatch.context() as patched:
            patched.setattr(Archive, "save", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(directory)
        assert files(run(directory)) == files(finished)

    def test_a_finished_run_writes_the_same_again(self, finished):
        before = files(finished)
        assert files(run(finished)) == before

    def test_what_is_written(self, finished):
        content = json.loads((finished.archive / "archive.json").read_text())
        members = content["members"]
        assert (content["name"], content["format_version"]) == ("toy", 1)
        assert content["search"]["seed"] == 5
        assert content["search"]["search"]["objective"]["type"] == "pareto"
        values = [[member["objectives"][name] for name in ("ranking", "shape", "descent")] for member in members]
        assert 1 <= len(values) <= 6
        assert values == sorted(values)
        assert not any(dominates(a, b) for a in values for b in values)
        for member in members:
            assert set(member) == {"restart", "scale", "objectives", "metrics", "gate_violations"}
            assert "descent.nll.gained" in member["metrics"]

    def test_members_are_judged_on_one_batch_that_no_search_has_seen(self, finished):
        evaluator = Evaluator(make_spec().search, 5, torch.device("cpu"))
        batch = evaluator.fixed_batch("archive.sampler")
        for artifact in load_archive(finished.path):
            population = evaluator.population(artifact.solution_D[None])
            evaluation = PARETO.evaluate(population, batch, evaluator.generator("archive.objective"))
            expected = {name: value_P.item() for name, value_P in evaluation.trade_offs.items()}
            assert artifact.evidence["objectives"] == expected
            assert artifact.scale == gradient_scale(population, evaluator.fixed_batch("scale")).item()

    def test_a_run_with_one_goal_writes_none(self, tmp_path):
        directory = run(RunDirectory(tmp_path / "run"), make_spec(RankingConsistency()))
        assert not directory.archive.exists()


class Flattering(Objective):
    """Finds constants as good a trade-off as any; nothing is finite for what is beyond 100."""

    type: Literal["flattering"] = "flattering"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        fitness_P = population.losses(batch.log_probs_BC[None], batch.labels_B).mean(dim=1)
        first_P = torch.where(fitness_P.abs() > 100, torch.nan, fitness_P)
        return Evaluation(fitness_P, {}, {"one": first_P, "two": -fitness_P})


class TestWhatIsLeftOut:
    def judged(self, factors: list[float]) -> Archive:
        """The archive of networks whose last layer, and so whose loss, is multiplied by these factors."""
        spec = make_spec(Flattering()).search
        solutions_AD = spec.parameterization.init(1, torch.Generator().manual_seed(0)).repeat(len(factors), 1)
        solutions_AD[:, -4:] *= torch.tensor(factors)[:, None]
        state = {
            SOLUTIONS: solutions_AD,
            VALUES: torch.zeros(len(factors), 2, dtype=torch.float64),
            FOUND_IN: torch.arange(len(factors)),
        }
        found = archive.judged(state, Evaluator(spec, 0, torch.device("cpu")), "toy")
        assert found is not None
        return found

    def test_losses_without_a_gradient_and_values_that_are_not_finite(self):
        found = self.judged([1.0, 0.0, 1e6, 2.0])
        assert sorted(member["restart"] for member in found.members) == [0, 3]
        assert found.solutions_AD.shape == (2, make_spec().search.parameterization.num_parameters)

    def test_nothing_may_be_left(self, tmp_path):
        found = self.judged([0.0])
        assert found.members == ()
        found.save(tmp_path)
        assert load_archive(tmp_path) == ()
        done = CliRunner().invoke(export, [str(tmp_path), "--member", "0"])
        assert (done.exit_code, "the archive is empty" in done.output) == (2, True)

    def test_an_archive_that_never_had_a_member(self):
        assert self.judged([]).members == ()


def rewrite(folder: Path, change: Any) -> None:
    content = json.loads((folder / "archive.json").read_text())
    change(content)
    (folder / "archive.json").write_text(json.dumps(content))


def spoil(folder: Path) -> None:
    path = folder / "solutions.safetensors"
    save_file({"solutions": load_file(path)["solutions"] * math.nan}, path)


class TestReading:
    def test_a_member_is_a_loss(self, finished):
        for folder in (finished.path, finished.archive, str(finished.path)):
            artifacts = load_archive(folder)
            assert [artifact.name for artifact in artifacts] == [f"toy-{i}" for i in range(len(artifacts))]
        logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
        value = artifacts[0].loss()(logits, torch.tensor([0, 1, 2, 3, 6]))
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert artifacts[0].evidence["restart"] in (0, 1)
        assert set(artifacts[0].evidence["objectives"]) == {"ranking", "shape", "descent"}

    def test_a_member_can_be_saved_by_itself(self, tmp_path, finished):
        from lossforge.artifact import load_artifact

        member = load_archive(finished.path)[-1]
        member.save(tmp_path / "one")
        again = load_artifact(tmp_path / "one")
        assert again.identity() == member.identity()
        assert again.evidence["objectives"] == member.evidence["objectives"]

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: (folder / "archive.json").unlink(), "no archive.json here"),
            (lambda folder: (folder / "archive.json").write_text("{"), "cannot be read"),
            (lambda folder: (folder / "archive.json").write_text("[]"), "cannot be read"),
            (lambda folder: (folder / "solutions.safetensors").unlink(), "cannot be read"),
            (lambda folder: (folder / "solutions.safetensors").write_bytes(b"x"), "cannot be read"),
            (lambda folder: rewrite(folder, lambda content: content["members"].pop()), "do not fit the members"),
            (lambda folder: rewrite(folder, lambda content: content["members"][0].pop("scale")), "'scale'"),
            (spoil, "not all finite"),
            (lambda folder: rewrite(folder, lambda content: content.update(format_version=2)), "format_version 2"),
            (
                lambda folder: rewrite(folder, lambda content: content.update(parameterization={"type": "gone"})),
                "unknown type 'gone'",
            ),
        ],
    )
    def test_damage_is_told(self, tmp_path, finished, damage, message):
        folder = tmp_path / "archive"
        folder.mkdir()
        for path in finished.archive.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        damage(folder)
        with pytest.raises(ArtifactError, match=message):
            load_archive(folder)


class TestExport:
    def test_a_member_is_written_as_code(self, tmp_path, finished):
        out = tmp_path / "loss.py"
        done = CliRunner().invoke(export, [str(finished.path), "--out", str(out), "--member", "0"])
        assert done.exit_code == 0
        assert out.read_text() == load_archive(finished.path)[0].source()
        assert "The loss 'toy-0'" in out.read_text()

    def test_a_number_too_high(self, tmp_path, finished):
        last = len(load_archive(finished.path)) - 1
        done = CliRunner().invoke(export, [str(finished.path), "--out", str(tmp_path / "x.py"), "--member", "99"])
        assert done.exit_code == 2
        assert f"there are 0 to {last}" in done.output
        assert not (tmp_path / "x.py").exists()


def test_it_shows_as_a_line():
    family = PairwiseMLP(hidden=(4,))
    found = Archive("toy", family, torch.zeros(2, family.num_parameters), ({}, {}), {})
    assert repr(found) == "<Archive 'toy': 2 trade-offs of pairwise_mlp>"
