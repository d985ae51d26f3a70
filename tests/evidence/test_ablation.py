"""Ablations: arms, curves, what is concluded, and going on after an interruption."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import pytest

from lossforge.errors import NothingFoundError, RunDirectoryError, SpecError
from lossforge.evidence import ablate, plan_ablation
from lossforge.evidence import ablation as module
from lossforge.evidence.ablation_analysis import Arm, analyse
from lossforge.evidence.ablation_run import Curve, run_job, run_search
from lossforge.evidence.step_variance import measure_steps
from lossforge.report import write_ablation
from lossforge.run_directory import RunDirectory
from lossforge.search import Search
from lossforge.spec import AblationSpec, RunSpec

TINY = {
    "search.generations": 4,
    "search.strategy.population_size": 6,
    "search.strategy.num_parents": 2,
    "search.batch_size": 32,
    "search.selection_batch_size": 64,
    "search.parameterization.hidden": [2],
    "search.gates": {"weight_band": None, "signs": None, "same_prediction": None},
}


def spec(**options) -> AblationSpec:
    default = {
        "name": "tiny",
        "base": "edl",
        "settings": {"small": {**TINY, "search.strategy.sigma": 0.1}, "large": {**TINY, "search.strategy.sigma": 1.0}},
        "variants": {"gaussian": {"search.mutation": "gaussian"}, "logistic": {"search.mutation": "chaotic"}},
        "seeds": 2,
    }
    return AblationSpec(**{**default, **options})


def curve(*fitness: float | None, found: float | None = 0.0) -> Curve:
    return Curve(tuple(range(len(fitness))), tuple(10 * (k + 1) for k in range(len(fitness))), fitness, found)


class TestCurve:
    def test_the_area_is_the_mean_height(self):
        assert curve(4.0, 2.0, 0.0).area(30, nothing=9.0) == 2.0
        uneven = Curve((0, 1, 5), (1, 2, 6), (4.0, 2.0, 0.0), 0.0)
        assert uneven.area(6, nothing=9.0) == pytest.approx((3 + 4 * 1) / 5)
        assert curve(3.0).area(10, nothing=9.0) == 3.0

    def test_nothing_found_yet_has_its_price(self):
        assert curve(None, 3.0, 1.0).area(30, nothing=5.0) == pytest.approx((4 + 2) / 2)
        assert curve(None, None, found=None).area(20, nothing=5.0) == 5.0

    def test_a_search_that_stopped_early_keeps_its_last_value(self):
        assert curve(4.0, 2.0).area(40, nothing=9.0) == pytest.approx((10 * 3 + 20 * 2) / 30)
        assert curve(4.0).area(40, nothing=9.0) == 4.0

    def test_evaluations_to_a_target(self):
        assert curve(4.0, 2.0, 3.0, 1.0).evaluations_to(2.0) == 20
        assert curve(None, 1.0, 1.0).evaluations_to(1.5) == 20
        assert curve(None, found=None).evaluations_to(1.5) == math.inf
        assert curve(4.0, 2.0).evaluations_to(1.0) == math.inf

    def test_json_round_trip(self):
        once = curve(1.0, None, found=None)
        assert Curve.from_json(json.loads(json.dumps(once.to_json()))) == once


class TestOneSearch:
    def run_spec(self) -> RunSpec:
        return plan_ablation(spec(), Path())[0].specs[0]

    def test_the_curve_is_that_of_the_generations_best_on_one_batch(self):
        run_spec = self.run_spec()
        found = run_search(run_spec, 10)
        search = Search(run_spec.search, seed=0)
        for generation in range(4):
            solutions = search.ask()
            assessment = search.evaluate(solutions)
            best = solutions[assessment.rank_P.argmin()]
            search.tell(solutions, assessment)
            value = search.evaluator.evaluate_afresh(search.evaluator.population(best[None]), "ablation")
            assert found.fitness[generation] == pytest.approx(value.fitness_P.item(), abs=1e-6)
        assert found.generations == (0, 1, 2, 3)
        assert found.evaluations == (6, 12, 18, 24)
        assert found.found == search.winner().evidence["held_out"]["fitness"]

    def test_what_fails_the_gates_has_not_been_found(self, monkeypatch):
        """Of generations without a candidate that passes, the curve is that of the last one that had some."""
        run_spec = self.run_spec()
        whole = run_search(run_spec, 4)
        step, feasible = Search.step, iter([0, 6, 0, 3])
        monkeypatch.setattr(Search, "step", lambda search: {**step(search), "num_feasible": next(feasible)})
        found = run_search(run_spec, 4)
        assert found.fitness == (None, whole.fitness[1], whole.fitness[1], whole.fitness[3])
        assert found.evaluations == whole.evaluations

    def test_restarts_leave_the_curve_of_the_first_search(self):
        run_spec = self.run_spec()
        search = run_spec.search.model_copy(update={"restarts": 3})
        one, three = run_search(run_spec, 4), run_search(run_spec.model_copy(update={"search": search}), 4)
        assert (three.fitness, three.evaluations) == (one.fitness, one.evaluations)

    def test_a_point_of_the_curve_does_not_compete_with_its_successors(self):
        """Under halving only the best go on: a curve judged at once would have its early points out at the first."""
        rungs = [{"objective": "ranking_consistency", "fraction": 0.25}, {"objective": "gradient_shape"}]
        options = {**TINY, "search.objective": {"type": "halving", "rungs": rungs}}
        run_spec = plan_ablation(spec(settings={"halving": options}), Path())[0].specs[0]
        found = run_search(run_spec, 4)
        assert all(value is not None and 0 < value < 1 for value in found.fitness), "each came to the last rung"

    def test_a_winner_without_fitness_is_nothing_found(self, monkeypatch):
        def no_winner(search):
            raise NothingFoundError("the winner's gradient cannot be scaled")

        run_spec = self.run_spec()
        whole = run_search(run_spec, 4)
        monkeypatch.setattr(Search, "winner", no_winner)
        found = run_search(run_spec, 4)
        assert found.found is None
        assert found.fitness == whole.fitness

    def test_an_error_names_the_search(self):
        noise = {"type": "noisy_labels", "sampler": "mixture", "noise": "matrix", "matrix": [[0.9, 0.1], [0.1, 0.9]]}
        arms = plan_ablation(spec(variants={"a": {}, "noisy": {"search.sampler": noise}}), Path())
        with pytest.raises(SpecError, match=r"^small / noisy, seed 1: .*matrix"):
            run_job("small / noisy, seed 1", arms[1].specs[1].model_dump_json(), 4)

    def test_fewer_points_are_evenly_spaced_and_hold_both_ends(self):
        whole, some = run_search(self.run_spec(), 4), run_search(self.run_spec(), 2)
        assert some.generations == (0, 3)
        assert some.fitness == (whole.fitness[0], whole.fitness[3])


class TestPlan:
    def test_arms_are_settings_times_variants(self):
        arms = plan_ablation(spec(), Path())
        assert [(arm.setting, arm.variant) for arm in arms] == [
            ("small", "gaussian"),
            ("small", "logistic"),
            ("large", "gaussian"),
            ("large", "logistic"),
        ]
        assert [each.seed for each in arms[0].specs] == [0, 1]
        assert arms[2].specs[0].search.strategy.sigma == 1.0
        assert arms[1].specs[0].search.mutation.type == "chaotic"
        assert all(arm.specs[0].search.references == () for arm in arms)

    def test_a_base_may_be_a_file_beside(self, tmp_path):
        (tmp_path / "base.yaml").write_text(RunSpec.from_yaml(_preset(tmp_path)).to_yaml())
        assert plan_ablation(spec(base="base.yaml"), tmp_path)[0].specs[0].name == "edl"

    def test_unequal_steps_are_refused(self):
        wide = {"search.mutation": "gaussian", "search.strategy.sigma": 0.2}
        with pytest.raises(SpecError, match=r"step variances differ: .*small / wide 0\.2"):
            plan_ablation(spec(variants={"gaussian": {"search.mutation": "gaussian"}, "wide": wide}), Path())
        variants = {"gaussian": {"search.mutation": "gaussian"}, "cauchy": {"search.mutation": "cauchy"}}
        with pytest.raises(SpecError, match="equal_step_variance: false"):
            plan_ablation(spec(variants=variants), Path())
        assert len(plan_ablation(spec(variants=variants, equal_step_variance=False), Path())) == 4

    @pytest.mark.parametrize("changed", [{"sigma_decay": 0.5}, {"sigma_schedule": "constant"}], ids=str)
    def test_so_are_steps_that_become_unequal(self, changed):
        changes = {f"search.strategy.{name}": value for name, value in changed.items()}
        variants = {"gaussian": {"search.mutation": "gaussian"}, "other": {"search.mutation": "chaotic", **changes}}
        with pytest.raises(SpecError, match=r"come to differ, .*small / other .*equal_step_variance: false"):
            plan_ablation(spec(variants=variants), Path())
        assert plan_ablation(spec(variants=variants, equal_step_variance=False), Path())

    def test_random_search_takes_no_steps(self):
        variants = {
            "gaussian": {"search.mutation": "gaussian"},
            "random": {"search.strategy": {"type": "random_search"}, "search.mutation": None},
        }
        settings = {"here": {key: value for key, value in TINY.items() if "strategy" not in key}}
        steps = [arm.steps for arm in plan_ablation(spec(variants=variants, settings=settings), Path())]
        assert steps[0] is not None
        assert steps[1] is None

    def test_the_steps_of_an_operator_are_measured_once(self, monkeypatch):
        measured: list[str] = []

        def measure(mutation, dim):
            measured.append(mutation.type)
            return measure_steps(mutation, dim)

        monkeypatch.setattr(module, "measure_steps", measure)
        assert len(plan_ablation(spec(), Path())) == 4
        assert measured == ["gaussian", "chaotic"]

    def test_a_variant_that_is_no_spec_is_named(self):
        variants = {"gaussian": {"search.mutation": "gaussian"}, "typo": {"search.mutation": "gausian"}}
        with pytest.raises(SpecError, match=r"^small / typo: search.mutation: .*did you mean 'gaussian'"):
            plan_ablation(spec(variants=variants), Path())

    def test_the_mistakes_of_all_variants_come_at_once_and_once_for_all_settings(self):
        mistakes = {"a": {"search.mutation": "gausian"}, "b": {"search.mutaton": "x"}, "c": {"search.generations": "x"}}
        with pytest.raises(SpecError) as caught:
            plan_ablation(spec(variants=mistakes), Path())
        told = [": ".join(problem.split(": ")[:2]) for problem in caught.value.problems]
        keys = ("search.mutation", "search.mutaton", "search.generations")
        assert told == [f"small / {name}: {key}" for name, key in zip("abc", keys, strict=True)]
        with pytest.raises(SpecError) as caught:
            plan_ablation(spec(base="nothing.yaml"), Path())
        assert caught.value.problems == ("base: nothing.yaml: no such file",)

    def test_a_mistake_of_some_arms_names_them(self):
        variants = {name: {"search.strategy.num_parents": number} for name, number in (("few", 2), ("many", 7))}
        large = {**TINY, "search.strategy.population_size": 8}
        settings = {"large": large, "small": TINY, "also small": TINY}
        with pytest.raises(
            SpecError, match=r"^small / many, also small / many: search.strategy: num_parents \(7\) "
        ) as caught:
            plan_ablation(spec(settings=settings, variants=variants), Path())
        assert len(caught.value.problems) == 1

    def test_what_this_machine_cannot_serve_is_told_once(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        settings = {name: {**TINY, "device": "cuda"} for name in ("small", "large")}
        with pytest.raises(SpecError, match=r"^small / gaussian: device: ") as caught:
            plan_ablation(spec(settings=settings), Path())
        assert len(caught.value.problems) == 1

    def test_a_seed_of_a_variant_is_refused(self):
        with pytest.raises(SpecError, match="small / logistic: seed: an ablation counts its seeds"):
            plan_ablation(spec(variants={"gaussian": {}, "logistic": {"seed": 3}}), Path())

    def test_a_fitness_that_is_relative_is_refused(self):
        pareto = {
            "type": "pareto",
            "objectives": [{"objective": "ranking_consistency"}, {"objective": "gradient_shape"}],
        }
        with pytest.raises(SpecError, match="means nothing beside another run's"):
            plan_ablation(spec(settings={"pareto": {"search.objective": pareto}}), Path())

    @pytest.mark.parametrize(
        "options",
        [
            {"variants": {"one": {}}},
            {"seeds": 1},
            {"reference": "nobody"},
            {"targets": {"nowhere": 0.1}},
            {"settings": {}},
            {"curve_points": 1},
            {"targets": {"small": math.nan}},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValueError, match=r"validation error"):
            spec(**options)


class TestAnalysis:
    def arms(self, **curves: list[Curve]) -> list[Arm]:
        return [Arm("here", name, (), None, tuple(each)) for name, each in curves.items()]

    def asked(self, *variants: str, **options) -> AblationSpec:
        return spec(settings={"here": {}}, variants={name: {} for name in variants}, **options)

    def test_the_better_variant_is_lower_in_every_seed(self):
        good = [curve(4.0, 1.0 + 0.1 * k, found=0.5 + 0.01 * k) for k in range(8)]
        bad = [curve(4.0, 3.0 + 0.2 * k, found=2.0 + 0.02 * k) for k in range(8)]
        found = analyse(self.asked("bad", "good", seeds=8), self.arms(bad=bad, good=good))
        assert repr(found) == f"<Ablation {found.spec.name!r}: bad, good in 1 setting(s) over 8 seeds>"
        rows = {(row.variant, row.measure): row for row in found.rows}
        assert rows["bad", "area"].difference is None
        for measure in ("area", "end"):
            row = rows["good", measure]
            assert row.difference.num_lower == 8
            assert row.adjusted_p == pytest.approx(2 / 2**8)
        assert rows["good", "end"].median == pytest.approx(0.535)

    def test_the_target_is_what_more_than_half_of_the_references_reach(self):
        reference = [curve(4.0, value) for value in (1.0, 2.0, 3.0, 9.0)]
        other = [curve(2.5, 1.0)] * 4
        found = analyse(self.asked("a", "b", seeds=4), self.arms(a=reference, b=other))
        assert found.targets == {"here": 3.0}
        rows = {row.variant: row for row in found.rows if row.measure == "evaluations"}
        assert rows["a"].median == 20
        assert rows["b"].median == 10

    def test_or_the_one_that_is_given(self):
        arms = self.arms(a=[curve(4.0, 1.0)] * 2, b=[curve(0.5, 0.5)] * 2)
        found = analyse(self.asked("a", "b", targets={"here": 0.75}), arms)
        rows = {row.variant: row for row in found.rows if row.measure == "evaluations"}
        assert rows["a"].median == math.inf
        assert rows["b"].median == 10

    def test_p_values_are_adjusted_over_all_comparisons_of_a_measure(self):
        good = [curve(1.0, 1.0 + 0.1 * k) for k in range(8)]
        bad = [curve(2.0, 3.0 + 0.2 * k) for k in range(8)]
        found = analyse(self.asked("bad", "x", "y", "z", seeds=8), self.arms(bad=bad, x=good, y=good, z=good))
        assert {row.adjusted_p for row in found.rows if row.measure == "area"} == {None, 3 * 2 / 2**8}

    def test_areas_are_over_one_number_of_evaluations(self):
        arms = self.arms(a=[curve(4.0, 2.0, 2.0, 2.0)] * 3, b=[curve(4.0, 2.0)] * 3)
        rows = [row for row in analyse(self.asked("a", "b", seeds=3), arms).rows if row.measure == "area"]
        assert rows[0].median == rows[1].median

    def test_one_that_finds_nothing_ranks_last(self):
        ends = [curve(2.0, 1.0, found=0.5 + k) for k in range(6)]
        arms = self.arms(a=ends, b=[curve(None, None, found=None)] * 6)
        rows = {row.measure: row for row in analyse(self.asked("a", "b", seeds=6), arms).rows if row.difference}
        assert all(row.difference.num_lower == 0 for row in rows.values())
        assert rows["area"].median == 2.0, "as much as the worst that any had found"
        assert rows["end"].median == rows["evaluations"].median == math.inf

    def test_where_nobody_finds_anything_nobody_is_better(self):
        arms = self.arms(a=[curve(None, found=None)] * 3, b=[curve(None, found=None)] * 3)
        rows = [row for row in analyse(self.asked("a", "b", seeds=3), arms).rows if row.difference]
        assert all(row.adjusted_p == 1.0 and row.difference.num_equal == 3 for row in rows)


class TestRuns:
    def test_results_do_not_depend_on_processes_or_interruptions(self, tmp_path):
        told: list[int] = []

        def stop(done: int, total: int, which: str) -> None:
            told.append(done)
            if done == 3:
                raise KeyboardInterrupt

        one = ablate(spec(), tmp_path / "one", jobs=2, on_search=lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            ablate(spec(), tmp_path / "two", on_search=stop)
        assert len(list((tmp_path / "two").rglob("seed-*.json"))) >= 3
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").rglob("seed-*.json")}
        two = ablate(spec(), tmp_path / "two", on_search=lambda done, total, which: told.append(done))
        assert all(path.stat().st_mtime_ns == time for path, time in before.items()), "nothing is run twice"
        assert told[-1] == 8
        for name, out in (("one", one), ("two", two)):
            write_ablation(out, tmp_path / name)
        for file in ("ablation.json", "ablation.md", "curves.svg"):
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()

        text = (tmp_path / "one" / "ablation.md").read_text()
        assert text.count("reference") >= 6
        assert "2 variants x 2 settings x 2 seeds" in text
        content = json.loads((tmp_path / "one" / "ablation.json").read_text())
        assert len(content["arms"]) == 4
        assert len(content["rows"]) == 12
        self.refuses_another(tmp_path / "one")

    def refuses_another(self, out) -> None:
        with pytest.raises(RunDirectoryError, match="holds another ablation"):
            ablate(spec(seeds=3), out)
        path = next(out.rglob("seed-1.json"))
        path.write_text("{")
        with pytest.raises(RunDirectoryError, match="damaged"):
            ablate(spec(), out)
        path.write_text(
            json.dumps({"identity": "x", "generations": [], "evaluations": [], "fitness": [], "found": None})
        )
        with pytest.raises(RunDirectoryError, match="of another spec"):
            ablate(spec(), out)

    def test_two_do_not_work_in_one_folder(self, tmp_path):
        with RunDirectory(tmp_path).locked():
            pass
        (tmp_path / ".lock").unlink(missing_ok=True)
        (tmp_path / ".ablation.yaml.1.tmp").write_text("of one that was killed")
        with pytest.raises(KeyboardInterrupt):
            ablate(spec(), tmp_path, on_search=self.ends_at_once)
        with RunDirectory(tmp_path).locked(), pytest.raises(RunDirectoryError, match="another process is at work"):
            ablate(spec(), tmp_path)

    def ends_at_once(self, done: int, total: int, which: str) -> None:
        raise KeyboardInterrupt

    def test_a_folder_that_cannot_be_written_is_told_with_the_way_on(self, tmp_path, monkeypatch):
        def full(path, content):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(module, "write_atomically", full)
        with pytest.raises(RunDirectoryError, match=r"ablation.yaml: No space left .*give the same command again"):
            ablate(spec(), tmp_path / "new")

    def test_a_folder_with_something_else_is_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(RunDirectoryError, match="not an empty folder"):
            ablate(spec(), tmp_path)


class TestFile:
    def test_yaml_round_trip(self, tmp_path):
        once = spec(targets={"small": 1e-3}, description="what it is for")
        (tmp_path / "ablation.yaml").write_text(once.to_yaml())
        assert AblationSpec.from_yaml(tmp_path / "ablation.yaml") == once

    def test_mistakes_have_places(self, tmp_path):
        path = tmp_path / "ablation.yaml"
        path.write_text("name: x\nbase: edl\nvariants:\n  a: {}\n  b: {}\nsedes: 3\n")
        with pytest.raises(SpecError, match=r"ablation.yaml:6:1: sedes: unknown field \(did you mean 'seeds'\?\)"):
            AblationSpec.from_yaml(path)


def _preset(folder):
    from lossforge import presets

    path = folder / "preset.yaml"
    path.write_text(presets.text("edl"))
    return path
