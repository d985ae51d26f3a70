"""Blocks: what they evaluate to, and candidates that run out of memory."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.search import ParameterPopulation
from lossforge.search.blocked_perceptron import BlockedPerceptron
from lossforge.search.blocks import Block, InProcess, assembled, evaluate_block, is_out_of_memory

OUT_OF_MEMORY = ["memory_error", "torch_memory", "allocator"]
out_of_memory = pytest.mark.parametrize("wrong", OUT_OF_MEMORY)
every_quantity = pytest.mark.parametrize("quantity", ["losses", "gradients"])


def draw_batch(
    leading: int = 1, num_pairs: int = 16, num_classes: int = 5, dtype=torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64).to(dtype)
    return torch.log_softmax(logits, dim=2), torch.randint(num_classes, (num_pairs,), generator=generator)


def evaluated(population: ParameterPopulation, quantity: str, inputs: Tensor, labels_B: Tensor) -> Tensor:
    return getattr(population, quantity)(inputs, labels_B)


@pytest.mark.parametrize("family", [PairwiseMLP(), ClasswiseMLP(hidden=(4, 3))], ids=lambda family: family.label)
@pytest.mark.parametrize("leading", [1, 5])
class TestValues:
    def test_losses(self, family, leading):
        solutions_PD = family.init(5, torch.Generator().manual_seed(1))
        log_probs, labels_B = draw_batch(leading)
        result = evaluate_block(family, "losses", Block(solutions_PD, log_probs, labels_B))
        assert torch.equal(result.values, BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B))
        assert result.exhausted_P.tolist() == [False] * 5

    def test_gradients_by_differences(self, family, leading):
        """In double precision, of each candidate's loss in its own logits; 1e-5 up and down."""
        solutions_PD = family.init(5, torch.Generator().manual_seed(1)).double()
        logits, labels_B = draw_batch(leading, num_pairs=3, dtype=torch.float64)
        gradient_PBC = evaluate_block(family, "gradients", Block(solutions_PD, logits, labels_B)).values
        assert gradient_PBC.shape == (5, 3, 5)
        for k in range(5):
            step = torch.zeros(5, dtype=torch.float64)
            step[k] = 1e-5
            above, below = (
                family.loss(solutions_PD, torch.log_softmax(logits + sign * step, dim=2), labels_B) for sign in (1, -1)
            )
            torch.testing.assert_close(gradient_PBC[:, :, k], (above - below) / 2e-5, rtol=1e-6, atol=1e-9)

    def test_inputs_stay_as_they_are(self, family, leading):
        solutions_PD = family.init(5, torch.Generator().manual_seed(1))
        logits, labels_B = draw_batch(leading)
        copies = solutions_PD.clone(), logits.clone(), labels_B.clone()
        for quantity in ("losses", "gradients"):
            result = evaluate_block(family, quantity, Block(solutions_PD, logits, labels_B))
            assert not result.values.requires_grad
        assert all(map(torch.equal, copies, (solutions_PD, logits, labels_B)))
        assert logits.grad is None

    def test_a_row_alone(self, family, leading):
        """As many copies of it: the same bits as among others, on its own inputs where it has some."""
        solutions_PD = family.init(5, torch.Generator().manual_seed(1))
        log_probs, labels_B = draw_batch(leading)
        block = Block(solutions_PD, log_probs, labels_B)
        for quantity in ("losses", "gradients"):
            whole = evaluate_block(family, quantity, block).values
            for row in range(5):
                alone = evaluate_block(family, quantity, block.of_row(row)).values
                assert torch.equal(alone, whole[row].expand_as(whole))


def test_blocks_are_evaluated_on_one_thread(fragile, fragile_solutions):
    """However many there are; and the others are there afterwards."""
    torch.set_num_threads(5)
    try:
        population = ParameterPopulation(fragile(), fragile_solutions(2, {0: "threads", 1: "threads"}), 5)
        assert population.losses(*draw_batch()).unique().tolist() == [1.0]
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(1)


def test_bits_do_not_depend_on_the_number_of_threads():
    """On shapes on which BLAS does round differently with 6 to 16 threads."""
    family = PairwiseMLP(hidden=(16, 16), activation="silu")
    for num_pairs, seed in itertools.product((64, 96), range(6)):
        generator = torch.Generator().manual_seed(seed)
        solutions_PD = family.init(16, generator)
        log_probs = torch.log_softmax(3 * torch.randn(1, num_pairs, 10, generator=generator), dim=2)
        block = Block(solutions_PD, log_probs, torch.randint(10, (num_pairs,), generator=generator))
        alone = evaluate_block(family, "gradients", block).values
        for num_threads in (2, 8, 16):
            torch.set_num_threads(num_threads)
            try:
                assert torch.equal(evaluate_block(family, "gradients", block).values, alone)
            finally:
                torch.set_num_threads(1)


class TestOutOfMemory:
    @out_of_memory
    @every_quantity
    @pytest.mark.parametrize("leading", [1, 20])
    def test_it_harms_no_other(self, fragile, fragile_solutions, wrong, quantity, leading):
        """One in each of two blocks, of which the second is padded: not a number, and the others bit for bit."""
        log_probs, labels_B = draw_batch(leading)
        sound = ParameterPopulation(fragile(), fragile_solutions(20), 5)
        spoiled = ParameterPopulation(fragile(), fragile_solutions(20, {3: wrong, 18: wrong}), 5)
        expected = evaluated(sound, quantity, log_probs, labels_B)
        found = evaluated(spoiled, quantity, log_probs, labels_B)
        assert expected.isfinite().all()
        assert found.dtype == expected.dtype
        rest = [row for row in range(20) if row not in (3, 18)]
        assert torch.equal(found[rest], expected[rest])
        assert found[[3, 18]].isnan().all()
        assert spoiled.exhausted_P.nonzero().flatten().tolist() == [3, 18]
        assert not sound.exhausted_P.any()

    @every_quantity
    def test_the_first_of_a_padded_block(self, fragile, fragile_solutions, quantity):
        """The padding is made of it."""
        log_probs, labels_B = draw_batch()
        population = ParameterPopulation(fragile(), fragile_solutions(3, {0: "memory_error"}), 5)
        values = evaluated(population, quantity, log_probs, labels_B)
        assert values.isnan().flatten(1).all(dim=1).tolist() == [True, False, False]
        assert population.exhausted_P.tolist() == [True, False, False]

    @out_of_memory
    @every_quantity
    def test_nobody_is_left(self, fragile, fragile_solutions, wrong, quantity):
        log_probs, labels_B = draw_batch()
        population = ParameterPopulation(fragile(), fragile_solutions(3, dict.fromkeys(range(3), wrong)), 5)
        values = evaluated(population, quantity, log_probs, labels_B)
        assert values.shape == ((3, 16) if quantity == "losses" else (3, 16, 5))
        assert values.isnan().all()
        assert population.exhausted_P.all()

    def test_what_is_not_a_number_is_not_out_of_memory(self, fragile, fragile_solutions):
        log_probs, labels_B = draw_batch()
        population = ParameterPopulation(fragile(), fragile_solutions(3, {1: "nan"}), 5)
        assert population.losses(log_probs, labels_B).isnan().all(dim=1).tolist() == [False, True, False]
        assert not population.exhausted_P.any()

    @every_quantity
    @pytest.mark.parametrize("beside", [{}, {1: "memory_error"}], ids=["alone", "beside"])
    def test_any_other_error_passes_through(self, fragile, fragile_solutions, quantity, beside):
        """Also where it shows only in the evaluation row by row."""
        log_probs, labels_B = draw_batch()
        population = ParameterPopulation(fragile(), fragile_solutions(3, {**beside, 2: "mistake"}), 5)
        with pytest.raises(ValueError, match="this candidate is a mistake"):
            evaluated(population, quantity, log_probs, labels_B)

    def test_a_runtime_error_passes_through(self, closed_form):
        class Wrong(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                raise RuntimeError("shapes cannot be multiplied")

        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            ParameterPopulation(Wrong(), torch.ones(2, 1), 5).losses(*draw_batch())

    def test_errors_are_told_apart(self):
        with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
            torch.empty(1 << 48)
        assert is_out_of_memory(caught.value)
        assert is_out_of_memory(MemoryError())
        assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
        with pytest.raises(RuntimeError) as caught:
            torch.ones(2, 3) @ torch.ones(2, 3)
        assert not is_out_of_memory(caught.value)
        assert not is_out_of_memory(ValueError())

    def test_padding_is_not_evaluated_again(self, closed_form):
        """A row alone is tried once for a candidate, not once for every copy of it that fills a block."""
        calls: list[int] = []

        class Counting(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                calls.append(len(solutions_PD))
                raise MemoryError

        population = ParameterPopulation(Counting(), torch.ones(2, 1), 5)
        population.losses(*draw_batch())
        assert population.exhausted_P.all()
        assert calls == [16] * 3

    def test_an_exhausted_candidate_is_not_tried_again(self, closed_form):
        calls: list[Tensor] = []

        class Hungry(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                calls.append(solutions_PD)
                if (solutions_PD == 2).any():
                    raise MemoryError
                return super().loss(solutions_PD, log_probs_PBC, labels_B)

        population = ParameterPopulation(Hungry(), torch.tensor([[1.0], [2.0], [3.0]]), 5)
        loss_PB = population.losses(*draw_batch())
        calls.clear()
        again = population.losses(*draw_batch())
        assert torch.equal(again[[0, 2]], loss_PB[[0, 2]])
        assert again[1].isnan().all()
        assert not any((solutions_PD == 2).any() for solutions_PD in calls)


class TestAssembled:
    @every_quantity
    def test_what_is_missing_is_not_a_number(self, quantity):
        block = Block(torch.zeros(3, 1), torch.zeros(1, 4, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
        shape = (4,) if quantity == "losses" else (4, 2)
        rows = [torch.ones(shape, dtype=torch.float64), None, torch.full(shape, 3.0, dtype=torch.float64)]
        result = assembled(quantity, block, rows)
        assert result.values.shape == (3, *shape)
        assert result.values.dtype == torch.float64
        assert torch.equal(result.values[[0, 2]], torch.stack([rows[0], rows[2]]))
        assert result.values[1].isnan().all()
        assert result.exhausted_P.tolist() == [False, True, False]


class TestInProcess:
    def test_blocks_are_evaluated_in_their_order_as_they_are_asked_for(self):
        family = PairwiseMLP(hidden=(3,))
        log_probs, labels_B = draw_batch()
        drawn: list[int] = []

        def blocks():
            for index in range(3):
                drawn.append(index)
                yield Block(family.init(2, torch.Generator().manual_seed(index)), log_probs, labels_B)

        results = InProcess().evaluate(family, "losses", blocks())
        assert drawn == []
        for index, result in enumerate(results):
            assert drawn == list(range(index + 1))
            solutions_PD = family.init(2, torch.Generator().manual_seed(index))
            assert torch.equal(result.values, BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B))


class TestExhaustedOfTaken:
    """``exhausted_P`` speaks of candidates, through whichever population they were evaluated."""

    def test_it_is_shared_with_the_whole(self, fragile, fragile_solutions):
        everyone = ParameterPopulation(fragile(), fragile_solutions(8, {2: "memory_error", 6: "memory_error"}), 5)
        some = everyone.take(torch.tensor([5, 6, 1]))
        few = some.take(torch.tensor([1, 2]))  # 6 and 1
        few.losses(*draw_batch())
        assert few.exhausted_P.tolist() == [True, False]
        assert some.exhausted_P.tolist() == [False, True, False]
        assert everyone.exhausted_P.nonzero().flatten().tolist() == [6]
        everyone.losses(*draw_batch())
        assert everyone.exhausted_P.nonzero().flatten().tolist() == [2, 6]
        assert few.exhausted_P.tolist() == [True, False]
        assert everyone.take(torch.tensor([2, 3, 6])).exhausted_P.tolist() == [True, False, True]

    def test_once_is_enough(self, closed_form):
        """A candidate that ran out of memory in one evaluation is remembered through all that follow."""

        class Wide(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                if len(labels_B) > 16 and (solutions_PD == 2).any():
                    raise MemoryError
                return super().loss(solutions_PD, log_probs_PBC, labels_B)

        population = ParameterPopulation(Wide(), torch.tensor([[1.0], [2.0]]), 5)
        for num_pairs, expected in ((16, False), (32, True), (16, True)):
            population.losses(*draw_batch(num_pairs=num_pairs))
            assert population.exhausted_P.tolist() == [False, expected]

    def test_it_is_a_copy(self, fragile, fragile_solutions):
        population = ParameterPopulation(fragile(), fragile_solutions(2), 5)
        population.exhausted_P.fill_(True)
        assert not population.exhausted_P.any()

    def test_the_same_candidate_twice(self, fragile, fragile_solutions):
        population = ParameterPopulation(fragile(), fragile_solutions(2, {0: "memory_error"}), 5)
        twice = population.take(torch.tensor([0, 1, 0]))
        twice.losses(*draw_batch())
        assert twice.exhausted_P.tolist() == [True, False, True]
        assert population.exhausted_P.tolist() == [True, False]

    def test_populations_do_not_share_it_by_chance(self, fragile, fragile_solutions):
        first, second = (ParameterPopulation(fragile(), fragile_solutions(2, {0: "memory_error"}), 5) for _ in range(2))
        first.losses(*draw_batch())
        assert not second.exhausted_P.any()
