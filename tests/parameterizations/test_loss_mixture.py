"""Mixtures of fixed losses: the mean that they are, and code that stands alone."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import pytest
import torch
from pydantic import Field, ValidationError
from torch import Tensor
from torch.nn import functional as F

from lossforge.artifact import Artifact
from lossforge.interfaces import LocalLoss, Loss
from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal
from lossforge.losses.gce import GCE
from lossforge.losses.label_smoothing import LabelSmoothing
from lossforge.losses.mae import MAE
from lossforge.losses.poly1 import Poly1
from lossforge.parameterizations import LossMixture, PairwiseMLP
from lossforge.parameterizations.loss_code import class_code, imports_of

CONSTANT = 2.0
ALL = (CrossEntropy(), Focal(gamma=3.0), Poly1(), GCE(q=0.4), MAE(), LabelSmoothing(smoothing=0.2))


def helper(x: Tensor) -> Tensor:
    return x


class Helpful(LocalLoss):
    """Methods, static ones too, mathematics, a nested function, a default, and options of every plain kind."""

    type: Literal["helpful"] = "helpful"
    power: float = 1.5
    names: tuple[str, ...] = ("a'b", 'c"""d', "e\nimport os")
    shift: int | None = None
    on: bool = True

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return something."""
        root = math.sqrt(self.power)
        return self.scaled(log_prob) * (root if self.on else 1.0) + len(self.names)

    def scaled(self, log_prob: Tensor, factor: float = float("2")) -> Tensor:
        def apply(x: Tensor) -> Tensor:
            return F.softplus(-x) * factor

        return sum([apply(log_prob) for _ in range(2)], self.zero(log_prob))

    @staticmethod
    def zero(like: Tensor) -> Tensor:
        return torch.zeros(like.shape)


class ThroughHelper(LocalLoss):
    type: Literal["through_helper"] = "through_helper"

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        return helper(-log_prob)


class WithConstant(Loss):
    type: Literal["with_constant"] = "with_constant"

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        return sum([CONSTANT * row for row in logits_BC], start=labels_B)


class Importing(LocalLoss):
    type: Literal["importing"] = "importing"

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        import numpy as np

        return -log_prob * np.pi


class WithDefault(LocalLoss):
    type: Literal["with_default"] = "with_default"

    def of_log_prob(self, log_prob: Tensor, factor: float = CONSTANT) -> Tensor:
        return -factor * log_prob


class WithClassVariable(LocalLoss):
    type: Literal["with_class_variable"] = "with_class_variable"
    factor: ClassVar[float] = 2.0

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        return -self.factor * log_prob


class WithComponent(LocalLoss):
    type: Literal["with_component"] = "with_component"
    inner: Loss = Field(default_factory=CrossEntropy)

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        return -log_prob


class WithLambda(LocalLoss):
    type: Literal["with_lambda"] = "with_lambda"

    of_log_prob = lambda self, log_prob: -log_prob  # noqa: E731


class WithSuper(CrossEntropy):
    type: Literal["with_super"] = "with_super"  # type: ignore[assignment]

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        return super().of_log_prob(log_prob)


def draw(num_pairs=7, num_classes=5, leading=1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=2), torch.randint(num_classes, (num_pairs,), generator=generator)


class TestMean:
    @pytest.mark.parametrize("leading", [1, 3])
    def test_it_is_the_mean_by_softmax_weights(self, leading):
        family = LossMixture(losses=ALL)
        log_probs, labels = draw(leading=leading)
        solutions = family.init(3, torch.Generator().manual_seed(1)).double()
        weights = solutions.exp() / solutions.exp().sum(dim=1, keepdim=True)
        rows = log_probs.expand(3, -1, -1)
        expected = [
            sum(w * loss.per_sample(row, labels) for w, loss in zip(weight, ALL, strict=True))
            for weight, row in zip(weights, rows, strict=True)
        ]
        torch.testing.assert_close(
            family.loss(solutions, log_probs, labels), torch.stack(expected), rtol=1e-12, atol=1e-12
        )

    @pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.type)
    def test_of_one_it_is_that_loss(self, loss):
        log_probs, labels = draw()
        found = LossMixture(losses=(loss,)).loss(torch.tensor([[3.0]]), log_probs, labels)[0]
        torch.testing.assert_close(found, loss.per_sample(log_probs[0], labels), rtol=1e-14, atol=1e-14)

    def test_a_weight_can_take_it_all(self):
        log_probs, labels = draw()
        for index, loss in enumerate(ALL):
            solution = torch.zeros(1, len(ALL), dtype=torch.float64)
            solution[0, index] = 1000.0
            found = LossMixture(losses=ALL).loss(solution, log_probs, labels)[0]
            torch.testing.assert_close(found, loss.per_sample(log_probs[0], labels), rtol=1e-14, atol=1e-14)

    def test_a_constant_added_to_the_solution_changes_nothing(self):
        log_probs, labels = draw()
        family, solutions = LossMixture(), torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double()
        torch.testing.assert_close(
            family.loss(solutions, log_probs, labels), family.loss(solutions + 7, log_probs, labels)
        )

    def test_the_prior_is_normal(self):
        draws = LossMixture().init(4000, torch.Generator().manual_seed(0))
        assert (draws.mean(dim=0).abs() < 5 * 1.5 / 4000**0.5).all()
        assert ((draws.std(dim=0) / 1.5 - 1).abs() < 5 * 8000**-0.5).all()

    def test_one_weight_does_not_take_it_all(self):
        """The largest of the five, on average: neither near 1/5, all alike, nor near 1."""
        largest = LossMixture().init(4000, torch.Generator().manual_seed(0)).softmax(dim=1).amax(dim=1)
        assert largest.mean().item() == pytest.approx(0.57, abs=0.01)


class TestOptions:
    def test_the_default_is_every_local_loss(self):
        assert [loss.type for loss in LossMixture().losses] == ["cross_entropy", "focal", "poly1", "gce", "mae"]
        assert LossMixture().num_parameters == 5

    def test_losses_are_named_or_described(self):
        family = LossMixture.model_validate_json('{"losses": ["mae", {"type": "gce", "q": 0.3}]}')
        assert family.losses == (MAE(), GCE(q=0.3))
        assert LossMixture.model_validate_json(family.model_dump_json()) == family

    @pytest.mark.parametrize("losses", [("mae", "mae"), (GCE(q=0.7), "gce"), ("mae", "focal", MAE())], ids=str)
    def test_the_same_loss_twice_is_refused(self, losses):
        with pytest.raises(ValidationError, match="the same loss stands here twice"):
            LossMixture(losses=losses)

    def test_a_loss_with_other_options_is_another(self):
        assert LossMixture(losses=(GCE(q=0.7), GCE(q=0.3))).num_parameters == 2

    @pytest.mark.parametrize(
        ("losses", "message"),
        [
            ((), "at least 1 item"),
            (("maee",), "did you mean 'mae'"),
            ((PairwiseMLP(),), "expected one of losses"),
            (({"type": "gce", "q": 2},), "less than or equal to 1"),
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, losses, message):
        with pytest.raises(ValidationError, match=message):
            LossMixture(losses=losses)


class TestCode:
    def run(self, family: LossMixture) -> tuple[Tensor, Tensor]:
        """Values of the exported code and of the family."""
        solution = family.init(1, torch.Generator().manual_seed(2))[0]
        namespace: dict = {}
        exec(compile(Artifact("mixture", family, solution, 1.0).source(), "loss.py", "exec"), namespace)
        log_probs, labels = draw()
        return namespace["Network"]()(log_probs[0], labels), family.loss(solution[None], log_probs, labels)[0]

    def test_the_exported_mixture_is_the_family(self):
        found, expected = self.run(LossMixture(losses=ALL))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_methods_mathematics_and_strings_come_along(self):
        family = LossMixture(losses=(Helpful(), Helpful(power=4.0, on=False), "cross_entropy"))
        found, expected = self.run(family)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        source = family.source(torch.zeros(3))
        assert source.startswith("import math\n")
        assert "\nimport os" not in source

    def test_nothing_is_imported_that_is_not_needed(self):
        assert imports_of(class_code(Focal(), "Part")) == []
        assert "import" not in LossMixture(losses=ALL).source(torch.zeros(6))

    def test_options_are_attributes(self):
        code = class_code(GCE(q=0.25), "Part")
        assert "class Part:\n    # 'gce(q=0.25)'\n    q = 0.25\n" in code

    @pytest.mark.parametrize(
        ("loss", "message"),
        [
            (ThroughHelper(), r"loss 'through_helper': of_log_prob uses helper, so its code cannot stand alone"),
            (WithConstant(), r"loss 'with_constant': per_sample uses CONSTANT, so"),
            (Importing(), r"of_log_prob uses numpy, so"),
            (WithDefault(), r"of_log_prob uses CONSTANT, so"),
            (WithClassVariable(), r"'factor' is neither an option nor a method"),
            (WithComponent(), r"option 'inner' is not a plain value"),
            (WithLambda(), r"of_log_prob must be defined by 'def of_log_prob'"),
            (WithSuper(), r"of_log_prob uses (__class__, )?super, so"),
        ],
        ids=lambda case: getattr(case, "type", ""),
    )
    def test_a_loss_whose_code_cannot_stand_alone_is_refused(self, loss, message):
        with pytest.raises(ValidationError, match=message):
            LossMixture(losses=("cross_entropy", loss))

    def test_a_name_that_means_something_else_there_is_refused(self, tmp_path, monkeypatch):
        (tmp_path / "odd_loss.py").write_text(
            "from typing import Literal\nfrom lossforge.interfaces import LocalLoss\nimport cmath as math\n\n"
            "class Odd(LocalLoss):\n    type: Literal['odd'] = 'odd'\n\n"
            "    def of_log_prob(self, log_prob):\n        return -log_prob * math.pi\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import odd_loss

        with pytest.raises(ValidationError, match="of_log_prob uses math, so"):
            LossMixture(losses=(odd_loss.Odd(),))

    def test_a_loss_without_a_source_is_refused(self):
        namespace = {"Literal": Literal, "LocalLoss": LocalLoss, "__name__": __name__}
        exec(
            "class Typed(LocalLoss):\n    type: Literal['typed'] = 'typed'\n"
            "    def of_log_prob(self, log_prob):\n        return -log_prob\n",
            namespace,
        )
        with pytest.raises(ValidationError, match="the source of of_log_prob cannot be read; define it in a file"):
            LossMixture(losses=(namespace["Typed"](),))
