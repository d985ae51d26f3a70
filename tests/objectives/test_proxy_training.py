"""Proxy training against torch's own layers, autograd and optimiser; and what it says of published losses."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from lossforge.interfaces import LossParameterization
from lossforge.objectives import ProxyTraining
from lossforge.objectives.synthetic_tasks import TaskOptions
from lossforge.parameterizations import LossMixture
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.training.metrics import classification_metrics

NUM_CLASSES = 4
SMALL = TaskOptions(num_tasks=3, num_samples=60, num_held_out=100, num_features=5)
QUICK = ProxyTraining(tasks=SMALL, steps=12, batch_size=20, hidden=(8, 6), learning_rates=(0.1, 0.5))


class ScaledGCE(LossParameterization):
    """theta_1 (1 - p^theta_0) / theta_0."""

    type: Literal["scaled_gce"] = "scaled_gce"

    @property
    def num_parameters(self) -> int:
        return 2

    @property
    def class_count(self) -> int | None:
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 2, generator=generator) + 0.1

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        own = log_probs_PBC.gather(2, labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)).squeeze(2)
        exponent, factor = solutions_PD.to(own.dtype).T[:, :, None]
        return -factor * torch.expm1(exponent * own) / exponent

    def source(self, solution_D: Tensor) -> str:
        raise NotImplementedError


def population(*rows: tuple[float, float]) -> ParameterPopulation:
    return ParameterPopulation(ScaledGCE(), torch.tensor(rows), NUM_CLASSES)


def batch(num_classes: int = NUM_CLASSES):
    return MixtureSampler().sample(256, num_classes, torch.Generator().manual_seed(0))


def evaluate(objective: ProxyTraining, *rows: tuple[float, float], seed: int = 1):
    return objective.evaluate(population(*rows), batch(), torch.Generator().manual_seed(seed))


def trained_by_torch(
    objective: ProxyTraining, rate: float, decay: float, exponent: float, scale: float
) -> list[dict[str, float]]:
    """Return the metrics of a network a task, trained one by one in float64 on the objective's own draws."""
    trials = objective._draw(NUM_CLASSES, torch.Generator().manual_seed(1))
    results = []
    for task in range(objective.tasks.num_tasks):
        layers: list[nn.Module] = []
        for weight in trials.weights:
            linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(weight[task].T)
                linear.bias.zero_()
            layers += [linear, nn.ReLU()]
        network = nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(
            network.parameters(), lr=rate, momentum=objective.momentum, nesterov=True, weight_decay=decay
        )
        for step, rows in enumerate(trials.batches):
            optimizer.param_groups[0]["lr"] = rate * (1 - step / objective.steps)
            p = network(trials.tasks.inputs_TNF[task, rows].double()).softmax(dim=1)
            own = p.gather(1, trials.tasks.labels_TN[task, rows, None])
            optimizer.zero_grad()
            (scale * (1 - own**exponent) / exponent).mean().backward()
            optimizer.step()
        logits = network(trials.tasks.held_out_inputs_TMF[task].double()).detach()
        results.append(vars(classification_metrics(logits, trials.tasks.held_out_labels_TM[task])))
    return results


class TestAgainstTorch:
    @pytest.mark.parametrize(
        ("fitness", "rate_by", "decays"),
        [
            ("error", "fitness", (0.0,)),
            ("nll", "fitness", (0.0,)),
            ("brier", "fitness", (0.0,)),
            ("ece", "fitness", (0.0,)),
            ("ece", "error", (0.0,)),
            ("brier", "fitness", (0.0, 0.03)),
            ("nll", "error", (0.0, 0.3)),
        ],
    )
    def test_fitness_and_metrics_are_those_of_the_best_setting(self, fitness, rate_by, decays):
        from lossforge.gradients import gradient_scale

        objective = QUICK.model_copy(update={"fitness": fitness, "rate_by": rate_by, "weight_decays": decays})
        found = evaluate(objective, (0.5, 3.0))
        scale = gradient_scale(population((0.5, 1.0)), batch()).item()
        expected = []
        for rate, decay in itertools.product(objective.learning_rates, decays):
            results = trained_by_torch(objective, rate, decay, 0.5, scale)
            names = ("accuracy", "nll", "brier", "ece")
            means = {name: sum(each[name] for each in results) / len(results) for name in names}
            expected.append({**means, "error": 1 - means["accuracy"], "rate": rate, "decay": decay})
        best = min(expected, key=lambda each: each[fitness if rate_by == "fitness" else "error"])
        assert found.fitness_P.item() == pytest.approx(best[fitness], abs=1e-4)
        for name in ("error", "nll", "brier", "ece"):
            assert found.metrics[name].item() == pytest.approx(best[name], abs=1e-4)
        assert found.metrics["learning_rate"].item() == pytest.approx(best["rate"])
        assert found.metrics["weight_decay"].item() == pytest.approx(best["decay"])


class TestPopulation:
    @pytest.mark.parametrize("decays", [(0.0,), (0.01, 0.1)])
    def test_the_scale_of_a_loss_does_not_matter(self, decays):
        objective = QUICK.model_copy(update={"weight_decays": decays})
        found = evaluate(objective, (0.5, 1.0), (0.5, 100.0), (0.5, 1e-3))
        assert found.metrics["nll"].tolist() == pytest.approx([found.metrics["nll"][0].item()] * 3, rel=1e-3)

    def test_a_candidate_is_worth_the_same_in_any_company(self, monkeypatch):
        """To the bit, also where the population does not fit one chunk."""
        from lossforge.objectives import proxy_training

        rows = [(0.1 * k, 1.0) for k in range(1, 8)]
        whole = evaluate(QUICK, *rows)
        permuted = evaluate(QUICK, *reversed(rows))
        assert torch.equal(permuted.fitness_P.flip(0), whole.fitness_P)
        assert torch.equal(permuted.metrics["nll"].flip(0), whole.metrics["nll"])
        assert torch.equal(evaluate(QUICK, *rows[2:3]).metrics["nll"], whole.metrics["nll"][2:3])
        monkeypatch.setitem(proxy_training.CHUNK_ITEMS, "cpu", 3 * 3 * 2 * 50 * 8)
        chunked = evaluate(QUICK, *rows)
        torch.testing.assert_close(chunked.metrics["nll"], whole.metrics["nll"], rtol=1e-4, atol=0)

    def test_no_more_candidates_are_evaluated_than_a_chunk_has(self, monkeypatch):
        """Not those that fill up the blocks of a search."""
        sizes, evaluated = [], LossMixture.loss
        monkeypatch.setattr(
            LossMixture, "loss", lambda self, given, *rest: (sizes.append(len(given)), evaluated(self, given, *rest))[1]
        )
        objective = QUICK.model_copy(update={"steps": 2})
        monkeypatch.setattr(ProxyTraining, "chunk_size", lambda self, device: 2)
        solutions = LossMixture().init(3, torch.Generator().manual_seed(0))
        candidates = ParameterPopulation(LossMixture(), solutions, batch().log_probs_BC.shape[1])
        objective.evaluate(candidates, batch(), torch.Generator().manual_seed(0))
        scaling, *steps = sizes
        assert scaling == 16
        assert steps == [2] * (2 * objective.steps)

    def test_the_number_of_threads_does_not_matter(self):
        before = torch.get_num_threads()
        found = []
        try:
            for num in (1, 2, 5):
                torch.set_num_threads(num)
                found.append(evaluate(QUICK, (0.3, 1.0), (0.8, 1.0)).metrics["nll"])
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    def test_the_generator_decides(self):
        first, again, other = (evaluate(QUICK, (0.5, 1.0), seed=seed) for seed in (1, 1, 2))
        assert torch.equal(first.metrics["nll"], again.metrics["nll"])
        assert not torch.equal(first.metrics["nll"], other.metrics["nll"])

    def test_one_that_is_not_finite_is_worst(self):
        found = evaluate(QUICK, (0.5, 1.0), (0.5, torch.nan), (0.5, 0.0))
        assert found.fitness_P[0].isfinite()
        assert found.fitness_P[1:].isinf().all()

    def test_one_too_steep_to_be_scaled_is_worst(self):
        """Its gradients are finite, their norm is not: at a scale of 0 its networks would stay as they were drawn."""
        steep = population((0.5, 1e30))
        pairs = batch()
        assert steep.gradients(pairs.log_probs_BC[None], pairs.labels_B).isfinite().all()
        assert evaluate(QUICK, (0.5, 1e30), (0.5, 1.0)).fitness_P.isinf().tolist() == [True, False]

    def test_training_that_diverges_is_wrong_everywhere(self):
        objective = QUICK.model_copy(update={"learning_rates": (1e20,), "steps": 30})
        assert evaluate(objective, (0.5, 1.0)).fitness_P.item() == 1.0
        nll = evaluate(objective.model_copy(update={"fitness": "nll"}), (0.5, 1.0))
        assert nll.fitness_P.item() == torch.inf

    def test_a_rate_that_diverges_does_not_hide_one_that_does_not(self):
        for fitness in ("error", "nll", "brier", "ece"):
            both = QUICK.model_copy(update={"learning_rates": (1e20, 0.1), "fitness": fitness})
            one = QUICK.model_copy(update={"learning_rates": (0.1,), "fitness": fitness})
            found, expected = evaluate(both, (0.5, 1.0)), evaluate(one, (0.5, 1.0))
            assert found.fitness_P.item() == pytest.approx(expected.fitness_P.item(), rel=1e-4)
            assert found.metrics["learning_rate"].item() == pytest.approx(0.1)


class TestWhatItSays:
    """Facts that are known of real training hold here as well; ten classes, default sizes but fewer tasks and steps."""

    TASKS = TaskOptions(num_tasks=6, num_held_out=500)

    def errors(self, **options: float) -> list[float]:
        """Return the errors of cross-entropy (very nearly), GCE 0.7 and the MAE."""
        objective = ProxyTraining(tasks=self.TASKS.model_copy(update=options), steps=60, learning_rates=(0.03, 0.1))
        solutions = torch.tensor([(1e-3, 1.0), (0.7, 1.0), (1.0, 1.0)])
        found = objective.evaluate(
            ParameterPopulation(ScaledGCE(), solutions, 10), batch(10), torch.Generator().manual_seed(3)
        )
        return found.fitness_P.tolist()

    def test_a_clean_task_is_learned_and_the_mae_learns_worse(self):
        cross_entropy, _, mae = self.errors()
        assert cross_entropy < 0.5  # chance: 0.9
        assert mae > cross_entropy + 0.03

    def test_label_noise_hurts_and_gce_bears_it_better(self):
        cross_entropy, gce, _ = self.errors(label_noise=0.4)
        assert cross_entropy > self.errors()[0] + 0.05
        assert gce < cross_entropy - 0.01

    def test_imbalance_hurts(self):
        assert self.errors(imbalance=100.0)[0] > self.errors()[0] + 0.03

    def test_more_samples_help(self):
        assert self.errors(num_samples=2000)[0] < self.errors(num_samples=100)[0] - 0.05


class TestOptions:
    def test_json_round_trip(self):
        assert ProxyTraining.model_validate_json(QUICK.model_dump_json()) == QUICK

    @pytest.mark.parametrize(
        "options",
        [
            {"learning_rates": ()},
            {"learning_rates": (0.0,)},
            {"weight_decays": ()},
            {"weight_decays": (-0.1,)},
            {"steps": 0},
            {"batch_size": 0},
            {"hidden": ()},
            {"momentum": 1.0},
            {"fitness": "accuracy"},
            {"tasks": {"num_task": 3}},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            ProxyTraining(**options)

    def test_batches_larger_than_a_task_are_all_of_it(self):
        objective = QUICK.model_copy(update={"batch_size": 1000})
        assert objective._draw(NUM_CLASSES, torch.Generator().manual_seed(0)).batches.shape == (12, 60)
        full = QUICK.model_copy(update={"batch_size": None})
        assert torch.equal(evaluate(objective, (0.5, 1.0)).fitness_P, evaluate(full, (0.5, 1.0)).fitness_P)

    def test_a_batch_has_no_sample_twice(self):
        batches = QUICK._draw(NUM_CLASSES, torch.Generator().manual_seed(0)).batches
        assert all(len(row.unique()) == 20 for row in batches)
