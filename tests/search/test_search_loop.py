"""The loop: determinism, resumption, history, streams, and components that a user defines."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lossforge.artifact import Artifact, load_artifact
from lossforge.errors import ArtifactError, NoFeasibleSolutionError, PluginLoadError, SearchError
from lossforge.gradients import gradient_scale
from lossforge.interfaces import MutationOperator, Objective, Population, SelectiveMutation, SyntheticSampler
from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import ClassCorrelation, ClasswiseMLP, PairwiseMLP
from lossforge.samplers import DirichletSampler, MixtureSampler
from lossforge.search import Search, apply_gates, constrained_rank
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.search.history import Record
from lossforge.spec import GateSpec, SearchSpec, SignGate, WeightBandGate
from lossforge.strategies import MuCommaLambda, MuPlusLambda, RandomSearch
from lossforge.types import Evaluation, PredictionBatch, State

NO_GATES = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)
LOOSE = GateSpec(weight_band=WeightBandGate(minimum=1e-3, maximum=1e3), signs=SignGate(tolerance=0.3))
IMPOSSIBLE = GateSpec(weight_band=WeightBandGate(minimum=2.9), patience=3)


def make_spec(**options: Any) -> SearchSpec:
    """A search that takes a tenth of a second."""
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuCommaLambda(population_size=12, num_parents=3),
        "mutation": GaussianMutation(),
        "generations": 5,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": NO_GATES,
    }
    return SearchSpec(**{**defaults, **options})


class Picky(GaussianMutation, SelectiveMutation):
    """Does not like pairwise_mlp."""

    type: Literal["picky"] = "picky"
    fails: bool = False

    def misfit(self, parameterization):
        if self.fails:
            raise SystemExit("no")
        is_liked = not isinstance(parameterization, PairwiseMLP)
        return None if is_liked else f"{parameterization.type} is not for me; take another"


SPECS = {
    "comma-gaussian": make_spec(),
    "comma-chaotic": make_spec(mutation=ChaoticMutation(form="gaussianised")),
    "plus-chaotic": make_spec(
        strategy=MuPlusLambda(population_size=12, num_parents=3, recombination="none"),
        mutation=ChaoticMutation(),
        parameterization=ClasswiseMLP(hidden=(3, 2)),
        objective=RankingConsistency(form="hinge"),
    ),
    "random": make_spec(strategy=RandomSearch(population_size=12), mutation=None, sampler=DirichletSampler()),
    "gated": make_spec(gates=LOOSE),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def run(search: Search) -> tuple[list[dict], Artifact]:
    history: list[dict] = []
    artifact = search.run(lambda record: history.append(dict(record)))
    return history, artifact


def contents(artifact: Artifact, folder) -> dict[str, bytes]:
    artifact.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@every_spec
class TestDeterminism:
    def test_the_same_seed_gives_the_same_history_and_artifact(self, spec, tmp_path):
        first, artifact = run(Search(spec, seed=3))
        torch.manual_seed(7)
        again, artifact_again = run(Search(spec, seed=3))
        assert json.dumps(first) == json.dumps(again)
        assert contents(artifact, tmp_path / "a") == contents(artifact_again, tmp_path / "b")

    def test_another_seed_gives_another(self, spec):
        first, _ = run(Search(spec, seed=3))
        other, _ = run(Search(spec, seed=4))
        assert json.dumps(first) != json.dumps(other)

    def test_by_hand_and_in_one_call_are_the_same(self, spec, tmp_path):
        history, artifact = run(Search(spec, seed=3))
        search, by_hand = Search(spec, seed=3), []
        while not search.finished:
            solutions_PD = search.ask()
            by_hand.append(search.tell(solutions_PD, search.evaluate(solutions_PD)))
        assert json.dumps(by_hand) == json.dumps(history)
        assert contents(search.winner(), tmp_path / "a") == contents(artifact, tmp_path / "b")

    @pytest.mark.parametrize("generation", [0, 2, 5])
    @pytest.mark.parametrize("on_disk", [False, True])
    def test_an_earlier_state_goes_on_exactly(self, spec, generation, on_disk, tmp_path):
        history, artifact = run(Search(spec, seed=3))
        search = Search(spec, seed=3)
        records = [search.step() for _ in range(generation)]
        state = search.state_dict()
        if on_disk:
            save_checkpoint(tmp_path / "checkpoint", generation, state)
            state = load_checkpoint(tmp_path / "checkpoint")
        other = Search(spec, seed=3)
        other.load_state_dict(state)
        rest, resumed = run(other)
        assert json.dumps(records + rest) == json.dumps(history)
        assert contents(resumed, tmp_path / "a") == contents(artifact, tmp_path / "b")

    def test_evaluating_twice_gives_the_same_and_moves_nothing(self, spec):
        search = Search(spec, seed=3)
        search.step()
        solutions_PD = search.ask()
        state = search.state
        first, again = search.evaluate(solutions_PD), search.evaluate(solutions_PD)
        torch.testing.assert_close(
            first.evaluation.fitness_P, again.evaluation.fitness_P, rtol=0, atol=0, equal_nan=True
        )
        assert search.state is state

    def test_evaluation_does_not_depend_on_the_company(self, spec):
        """Common random numbers: alone, in other order, in another crowd, a solution gets the very same fitness."""
        search = Search(spec, seed=3)
        solutions_PD = search.ask()
        whole = search.evaluate(solutions_PD)
        for index in (torch.tensor([7]), torch.tensor([5, 1, 9]), torch.arange(11, -1, -1)):
            part = search.evaluate(solutions_PD[index])
            assert torch.equal(part.gates.total_P, whole.gates.total_P[index])
            torch.testing.assert_close(
                part.evaluation.fitness_P, whole.evaluation.fitness_P[index], rtol=1e-6, atol=1e-7, equal_nan=True
            )


class TestSearch:
    def test_generation_0_evaluates_draws_from_the_prior(self):
        """Within 5 standard errors: the mean square of pairwise_mlp's 16 parameters, whose variances are known."""
        spec = make_spec(strategy=MuCommaLambda(population_size=500, num_parents=3))
        for each in (spec, spec.model_copy(update={"strategy": RandomSearch(population_size=500), "mutation": None})):
            solutions_PD = Search(each).ask()
            variance = torch.tensor([1 / 2] * 8 + [1.0] * 4 + [1 / 4] * 4)
            assert ((solutions_PD.var(dim=0) / variance - 1).abs() < 5 * (2 / 500) ** 0.5).all()

    def test_every_generation_has_a_fresh_batch(self):
        search = Search(make_spec())
        solutions_PD = search.ask()
        fitness = [search.evaluate(solutions_PD).evaluation.fitness_P]
        search.tell(solutions_PD, search.evaluate(solutions_PD))
        fitness.append(search.evaluate(solutions_PD).evaluation.fitness_P)
        assert not torch.equal(*fitness)

    def test_it_gets_better(self):
        """On one large held-out batch, the winner of 15 generations ranks better than the median of the prior."""
        search = Search(make_spec(generations=15, batch_size=128, selection_batch_size=512))
        prior = search.evaluator.assess(search.ask(), "comparison").evaluation.fitness_P
        artifact = Search(search.spec).run()
        winner = search.evaluator.assess(artifact.solution_D[None], "comparison").evaluation.fitness_P
        assert winner.item() < prior.median().item() / 2

    def test_generations_and_evaluations_are_counted(self):
        search = Search(make_spec())
        assert (search.generation, search.evaluations) == (0, 0)
        search.step()
        search.step()
        assert (search.generation, search.evaluations) == (2, 24)

    def test_a_finished_search_only_names_its_winner(self):
        search = Search(make_spec())
        artifact = search.run()
        records: list = []
        again = search.run(records.append)
        assert records == []
        assert torch.equal(again.solution_D, artifact.solution_D)

    def test_the_state_is_flat_and_can_be_stored(self):
        search = Search(make_spec(mutation=ChaoticMutation()))
        search.step()
        for key, value in search.state.items():
            assert key.split(".")[0] in ("strategy", "mutation", "search")
            assert isinstance(value, Tensor) or math.isfinite(value)

    def test_a_mutation_is_asked_for_where_it_is_needed_and_refused_where_not(self):
        with pytest.raises(ValidationError, match="'mu_comma_lambda' needs a mutation operator"):
            make_spec(mutation=None)
        with pytest.raises(ValidationError, match="'random_search' uses no mutation operator"):
            make_spec(strategy=RandomSearch())

    def test_a_selective_mutation_says_which_families_it_cannot_move_in(self):
        assert make_spec(mutation=Picky(), parameterization=ClasswiseMLP()).mutation == Picky()
        with pytest.raises(ValidationError, match="pairwise_mlp is not for me; take another") as caught:
            make_spec(mutation=Picky())
        assert [error["loc"] for error in caught.value.errors()] == [("mutation",)]
        with pytest.raises(PluginLoadError, match="mutation 'picky' fails to say whether it fits: SystemExit: no; upd"):
            make_spec(mutation=Picky(fails=True))

    def test_a_family_for_one_number_of_classes_is_held_to_it(self, closed_form):
        assert make_spec(parameterization=closed_form(classes=4)).num_classes == 4
        with pytest.raises(ValidationError, match="works for 3 classes only"):
            make_spec(parameterization=closed_form(classes=3))


class TestHistory:
    def test_its_keys(self):
        history, _ = run(Search(make_spec(gates=LOOSE)))
        for generation, record in enumerate(history):
            assert list(record) == [
                "restart",
                "generation",
                "evaluations",
                "num_solutions",
                "num_feasible",
                "best_violation",
                "best_fitness",
                "median_fitness",
                "pass_rates",
                "rejected",
                "best_metrics",
                "stopped",
            ]
            assert record["restart"] == 0
            assert record["stopped"] == ("generations" if generation == 4 else None)
            assert sum(record["rejected"].values()) == 12 - record["num_feasible"]
            assert record["generation"] == generation
            assert record["evaluations"] == 12 * (generation + 1)
            assert record["num_solutions"] == 12
            assert list(record["pass_rates"]) == ["finite", "weight_band", "signs", "same_prediction", "duplicate"]
            assert list(record["rejected"]) == ["memory", *record["pass_rates"], "fitness"]
            assert set(record["best_metrics"]) >= {"ranking_accuracy", "ranking_accuracy.boundary"}
            json.dumps(record, allow_nan=False)

    def test_its_values_are_those_of_the_assessment(self):
        search = Search(make_spec(gates=GateSpec()))
        for _ in range(3):
            solutions_PD = search.ask()
            assessment = search.evaluate(solutions_PD)
            record = search.tell(solutions_PD, assessment)
            fitness_P, total_P = assessment.evaluation.fitness_P, assessment.gates.total_P
            best = int(constrained_rank(fitness_P, total_P).argmin())
            assert record["num_feasible"] == int((total_P == 0).sum())
            assert record["best_fitness"] == (fitness_P[best].item() if record["num_feasible"] else None)
            assert record["best_violation"] == total_P[best].item()
            evaluated_P = fitness_P[total_P == 0]
            assert record["median_fitness"] == (evaluated_P.median().item() if len(evaluated_P) else None)
            assert fitness_P[total_P > 0].isnan().all()
            for name, violation_P in assessment.gates.violations.items():
                assert record["pass_rates"][name] == pytest.approx((violation_P == 0).double().mean().item())
            for name, metric_P in assessment.evaluation.metrics.items():
                value = metric_P[best].item()
                assert record["best_metrics"][name] == (value if math.isfinite(value) else None)

    def test_what_json_cannot_hold_is_null(self, closed_form):
        """A family whose solutions are all not a number."""
        spec = make_spec(parameterization=closed_form(form="root"), gates=NO_GATES.model_copy(update={"patience": 9}))
        search = Search(spec)
        search.ask()
        bad = -torch.ones(12, 1)
        record = search.tell(bad, search.evaluate(bad))
        assert (record["best_fitness"], record["median_fitness"], record["best_violation"]) == (None, None, None)
        assert record["num_feasible"] == 0
        assert record["pass_rates"] == {"finite": 0.0}
        json.dumps(record, allow_nan=False)

    def test_an_objective_without_metrics(self):
        history, artifact = run(Search(make_spec(objective=MeanLoss())))
        assert [record["best_metrics"] for record in history] == [{}] * 5
        assert artifact.evidence["held_out"]["metrics"] == {}


class TestFeasibility:
    def test_a_search_without_a_feasible_candidate_stops_after_patience(self):
        search = Search(make_spec(gates=IMPOSSIBLE, generations=20))
        with pytest.raises(NoFeasibleSolutionError) as caught:
            search.run()
        assert search.generation == 3
        message = str(caught.value)
        assert message.startswith("no candidate passed all gates for 3 generations (of 36 candidates, rejected by: ")
        for hint in ("weight_band 36)", "search.gates", "log_prob"):
            assert hint in message
        assert [end.stopped for end in search.ended] == ["no_feasible"]
        with pytest.raises(SearchError, match=r"the search has ended \(no_feasible\)"):
            search.ask()
        with pytest.raises(NoFeasibleSolutionError, match="for 3 generations"):
            search.winner()

    def test_patience_counts_generations_in_a_row(self, closed_form):
        """CE passes and -CE does not; a generation with one that passes starts the count anew."""
        spec = make_spec(parameterization=closed_form(), gates=GateSpec(patience=2, duplicate=None), generations=20)
        search = Search(spec)
        barren = -torch.linspace(1, 2, 12)[:, None]
        fruitful = barren.clone()
        fruitful[4] = 1.0
        for solutions_PD in (barren, fruitful, barren, fruitful, barren):
            search.ask()
            search.tell(solutions_PD, search.evaluate(solutions_PD))
        assert not search.finished
        record = search.tell(barren, search.evaluate(barren))
        assert (search.generation, search.finished, record["stopped"]) == (6, True, "no_feasible")

    def test_patience_survives_a_checkpoint(self, tmp_path):
        search = Search(make_spec(gates=IMPOSSIBLE, generations=20))
        search.step()
        search.step()
        save_checkpoint(tmp_path, 2, search.state)
        state = load_checkpoint(tmp_path)
        assert state is not None
        resumed = Search(search.spec)
        resumed.load_state_dict(state)
        assert resumed.step()["stopped"] == "no_feasible"
        with pytest.raises(NoFeasibleSolutionError, match="for 3 generations"):
            resumed.winner()

    def test_without_any_feasible_solution_there_is_no_winner(self):
        search = Search(make_spec(gates=IMPOSSIBLE, generations=2))
        with pytest.raises(NoFeasibleSolutionError, match="none of 14 solutions"):  # 2 bests and 12 of the last
            search.run()

    def test_the_winner_passes_the_gates(self):
        search = Search(make_spec(gates=LOOSE))
        artifact = search.run()
        assert search.evaluator.assess(artifact.solution_D[None], "any").gates.feasible_P.tolist() == [True]

    def test_infeasible_candidates_are_told_as_worse(self, closed_form):
        """With -CE among CE, the parents are the feasible ones whatever their fitness."""
        gates = GateSpec(duplicate=None)  # multiples of cross-entropy are copies of one loss
        spec = make_spec(parameterization=closed_form(), gates=gates, objective=MeanLoss())
        search = Search(spec)
        search.ask()
        thetas = torch.tensor([1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0, 5.0, -5.0, 6.0, -6.0])[:, None]
        assessment = search.evaluate(thetas)
        assert assessment.evaluation.fitness_P[1::2].isnan().all(), "they are not evaluated"
        search.tell(thetas, assessment)
        assert search.state["strategy.parents"].flatten().tolist() == [1.0, 2.0, 3.0]


class MeanLoss(Objective):
    """The mean loss, without metrics."""

    type: Literal["mean_loss"] = "mean_loss"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        return Evaluation(population.losses(batch.log_probs_BC[None], batch.labels_B).mean(dim=1), {})


class SpySampler(SyntheticSampler):
    """Remembers the seed and the size of every draw."""

    type: Literal["spy"] = "spy"
    draws: ClassVar[list[tuple[int, int]]] = []

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        self.draws.append((generator.initial_seed(), num))
        return DirichletSampler().sample(num, num_classes, generator)


class SpyObjective(Objective):
    """Remembers the seed and how many candidates there were."""

    type: Literal["spy"] = "spy"
    calls: ClassVar[list[tuple[int, int]]] = []

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        self.calls.append((generator.initial_seed(), population.num_solutions))
        return RankingConsistency().evaluate(population, batch, generator)


class SignFlip(MutationOperator):
    """A mutation of a user's own: normal steps, and every child counts."""

    type: Literal["sign_flip"] = "sign_flip"
    rate: float = 0.1

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        return {"mutation.children": 0}

    def mutate(
        self, parents_PD: Tensor, sigma: float, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        noise = torch.randn(parents_PD.shape, generator=generator)
        flips = torch.where(torch.rand(parents_PD.shape, generator=generator) < self.rate, -1.0, 1.0)
        count = int(state["mutation.children"]) + len(parents_PD)
        return parents_PD * flips + sigma * noise, {**state, "mutation.children": count}


class TestStreams:
    def test_selection_and_held_out_batches_are_drawn_apart(self):
        SpySampler.draws.clear()
        SpyObjective.calls.clear()
        Search(make_spec(sampler=SpySampler(), objective=SpyObjective(), references=())).run()
        seeds = [seed for seed, _ in SpySampler.draws]
        # Five generations, the gates' batch in the first; selection, scale, held-out and its gates once each, large.
        assert [num for _, num in SpySampler.draws] == [24, 256, *[24] * 4, 48, 48, 48, 48]
        assert len(set(seeds)) == 10
        assert [num for _, num in SpyObjective.calls] == [12] * 5 + [17, 1]
        assert len({seed for seed, _ in SpyObjective.calls} | set(seeds)) == 17

    def test_streams_are_those_of_the_seed(self):
        draws = []
        for seed in (0, 0, 1):
            SpySampler.draws.clear()
            search = Search(make_spec(sampler=SpySampler()), seed=seed)
            search.step()
            draws.append(list(SpySampler.draws))
        assert draws[0] == draws[1]
        assert not {seed for seed, _ in draws[0]} & {seed for seed, _ in draws[2]}


class TestWinner:
    def test_it_is_the_best_of_generation_bests_and_last_population_on_the_selection_stream(self):
        search = Search(make_spec())
        history: list[Tensor] = []
        while search.generation < 5:
            solutions_PD = search.ask()
            assessment = search.evaluate(solutions_PD)
            history.append(solutions_PD[assessment.evaluation.fitness_P.argmin()])
            search.tell(solutions_PD, assessment)
        pool = torch.cat((torch.stack(history), solutions_PD))
        fitness = search.evaluator.assess(pool, "selection").evaluation.fitness_P
        artifact = search.winner()
        assert torch.equal(artifact.solution_D, pool[fitness.argmin()])
        assert artifact.evidence["selection"]["fitness"] == fitness.min().item()

    def test_the_held_out_figures_are_of_another_stream(self):
        search = Search(make_spec(selection_batch_size=64))
        artifact = search.run()
        held_out = search.evaluator.assess(artifact.solution_D[None], "held_out")
        assert artifact.evidence["held_out"]["fitness"] == held_out.evaluation.fitness_P.item()
        accuracy = held_out.evaluation.metrics["ranking_accuracy"].item()
        assert artifact.evidence["held_out"]["metrics"]["ranking_accuracy"] == accuracy
        assert artifact.evidence["selection"] != artifact.evidence["held_out"]

    def test_the_profile_of_a_family_that_treats_classes_unalike_names_its_class(self):
        spec = make_spec()
        family = ClassCorrelation(num_classes=spec.num_classes)
        artifact = Search(spec.model_copy(update={"parameterization": family}), seed=0).run()
        assert artifact.evidence["weight_profile"]["label"] == 0

    def test_what_the_artifact_says(self):
        search = Search(make_spec(), seed=11, name="my-run")
        artifact = search.run()
        assert artifact.name == "my-run"
        assert artifact.parameterization == search.spec.parameterization
        assert artifact.solution_D.dtype == torch.float32
        population = search.evaluator.population(artifact.solution_D[None])
        assert artifact.scale == pytest.approx(gradient_scale(population, search.evaluator.fixed_batch("scale")).item())
        evidence = artifact.evidence
        assert evidence["seed"] == 11
        assert evidence["generations"] == 5
        assert evidence["evaluations"] == 60
        assert evidence["class_count"] is None
        said = search.spec.model_copy(update={"generations_per_launch": "auto"})  # on which the loss does not depend
        assert SearchSpec.model_validate_json(json.dumps(evidence["search"])) == said
        profile = evidence["weight_profile"]
        w_2G = population.weight_profile(torch.tensor(profile["p"]))[0] * artifact.scale
        assert "label" not in profile
        assert profile["rivals_uniform"] == pytest.approx(w_2G[0].tolist())
        assert profile["rival_dominant"] == pytest.approx(w_2G[1].tolist())

    def test_the_scale_and_profile_of_a_known_family(self, closed_form):
        """A search among multiples of cross-entropy: scaled, w = 1 throughout."""
        artifact = Search(make_spec(parameterization=closed_form(), gates=GateSpec(duplicate=None))).run()
        assert artifact.scale == pytest.approx(1 / artifact.solution_D.item(), rel=1e-5)
        profile = artifact.evidence["weight_profile"]
        assert profile["rivals_uniform"] + profile["rival_dominant"] == pytest.approx([1.0] * 14, rel=1e-4)
        logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 4
        torch.testing.assert_close(artifact.loss()(logits, labels), torch.nn.functional.cross_entropy(logits, labels))


class TestUserComponents:
    def test_a_mutation_defined_here(self, tmp_path):
        spec = make_spec(mutation=SignFlip(rate=0.2))
        history, artifact = run(Search(spec))
        again, artifact_again = run(Search(spec))
        assert json.dumps(history) == json.dumps(again)
        search = Search(spec)
        for _ in range(3):
            search.step()
        assert search.state["mutation.children"] == 24
        assert artifact.evidence["search"]["mutation"] == {"type": "sign_flip", "rate": 0.2, "unregistered": True}
        assert contents(artifact, tmp_path / "a") == contents(artifact_again, tmp_path / "b")
        assert torch.equal(load_artifact(tmp_path / "a").solution_D, artifact.solution_D)

    def test_a_family_defined_here_cannot_be_loaded_without_its_class(self, closed_form, tmp_path):
        artifact = Search(make_spec(parameterization=closed_form())).run()
        artifact.save(tmp_path)
        with pytest.raises(ArtifactError, match=r"loss\.json.*'closed_form' is a class that was defined in Python"):
            load_artifact(tmp_path)

    def test_the_global_random_state_is_left_alone(self):
        before = torch.get_rng_state()
        Search(make_spec(mutation=ChaoticMutation())).run()
        assert torch.equal(torch.get_rng_state(), before)


def test_on_generation_is_called_once_a_generation_with_the_state_in_step():
    search = Search(make_spec())
    seen: list[tuple[int, int]] = []

    def notice(record: Record) -> None:
        seen.append((record["generation"], search.generation))

    search.run(notice)
    assert seen == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


class TestWinnerIsLookedAtAgain:
    def test_gates_are_looked_at_again_on_held_out_pairs(self):
        search = Search(make_spec(gates=LOOSE))
        artifact = search.run()
        population = search.evaluator.population(artifact.solution_D[None])
        fresh = apply_gates(search.spec.gates, population, search.evaluator.fixed_batch("held_out.gates"))
        recorded = artifact.evidence["held_out"]["gate_violations"]
        assert recorded == {name: violation.item() for name, violation in fresh.violations.items()}
        assert "finite" in recorded

    def test_a_winner_without_a_fitness_is_no_winner(self):
        class Undecided(SpyObjective):
            type: Literal["undecided"] = "undecided"

            def evaluate(self, population, batch, generator):
                return Evaluation(torch.full((population.num_solutions,), torch.nan), {})

        with pytest.raises(SearchError, match=r"nothing was found; enlarge search\.selection_batch_size"):
            Search(make_spec(objective=Undecided(), gates=NO_GATES)).run()

    def test_a_loss_without_a_gradient_cannot_be_scaled(self, closed_form):
        search = Search(make_spec(parameterization=closed_form(), gates=NO_GATES, generations=1))
        solutions_PD = search.ask() * 0
        search.tell(solutions_PD, search.evaluate(solutions_PD))
        with pytest.raises(SearchError, match="cannot be scaled"):
            search.winner()
