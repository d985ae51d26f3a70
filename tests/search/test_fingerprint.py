"""Fingerprints: one for a loss, its multiples and its other spellings, and another for every other loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lossforge.hashing import hashed
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation, population
from lossforge.search.fingerprint import Memory, fingerprints, merged, repeats
from lossforge.streams import derive_generator
from lossforge.types import PredictionBatch

RESOLUTION = 1e-4
FACTORS = [1e-6, 0.1, 1 / 3, 3.0, math.pi, 1e6]


@pytest.fixture(scope="module")
def batch() -> PredictionBatch:
    return MixtureSampler().sample(256, 10, torch.Generator().manual_seed(0))


def gradients(candidates: ParameterPopulation, batch: PredictionBatch) -> Tensor:
    return candidates.gradients(batch.log_probs_BC[None], batch.labels_B)


def of_networks(family, solutions_PD: Tensor, batch: PredictionBatch) -> Tensor:
    return fingerprints(gradients(ParameterPopulation(family, solutions_PD, 10), batch), RESOLUTION)


def equal(first_PG: Tensor, second_PG: Tensor) -> Tensor:
    return (first_PG == second_PG).any(dim=1)


def nothing_known(solutions_PD: Tensor) -> Memory:
    return Memory(torch.zeros(2, 0, dtype=torch.int64), solutions_PD[:0])


def known(keys_PG: Tensor, last_PD: Tensor) -> Memory:
    return Memory(keys_PG.T.sort(dim=1).values.contiguous(), last_PD)


def scaled_networks(family, solutions_PD: Tensor, factor: float) -> Tensor:
    """The same networks with a multiple of their output layers."""
    result = solutions_PD.clone()
    result[:, -family.hidden[-1] :] *= factor
    return result


def respelt_networks(family, solutions_PD: Tensor, generator: torch.Generator, flip: bool = False) -> Tensor:
    """The same networks of one hidden layer with their units in another order, and, for tanh, with signs flipped."""
    (width,) = family.hidden
    first, bias, output = solutions_PD.split([2 * width, width, width], dim=1)
    units = torch.cat((first.view(-1, width, 2), bias[:, :, None], output[:, :, None]), dim=2)
    order = torch.rand(len(units), width, generator=generator).argsort(dim=1)
    units = units.gather(1, order[:, :, None].expand(-1, -1, 4))
    if flip:
        units = units * torch.where(torch.rand(len(units), width, 1, generator=generator) < 0.5, -1.0, 1.0)
    return torch.cat((units[:, :, :2].flatten(1), units[:, :, 2], units[:, :, 3]), dim=1)


class TestFingerprints:
    @pytest.mark.parametrize("form", ["cross_entropy", "mae", "brier", "root_error"])
    def test_a_factor_changes_nothing(self, closed_form_population, batch, form):
        """By a multiplication of the loss; predictions that are not quite sure keep gradients finite."""
        tame = replace(batch, log_probs_BC=torch.log_softmax(batch.log_probs_BC.clamp_min(-6), dim=1))
        keys_PG = fingerprints(gradients(closed_form_population(form, [1.0, *FACTORS]), tame), RESOLUTION)
        assert equal(keys_PG[1:], keys_PG[:1].expand(len(FACTORS), -1)).all()

    @pytest.mark.parametrize("factor", FACTORS)
    def test_a_factor_on_any_gradient(self, closed_form_population, batch, factor):
        for form in ("cross_entropy", "mae", "gce", "focal", "poly1", "label_smoothing", "brier", "difficulty"):
            gradient_PBC = gradients(closed_form_population(form, [0.5, 0.9]), batch)
            assert equal(fingerprints(gradient_PBC, RESOLUTION), fingerprints(factor * gradient_PBC, RESOLUTION)).all()

    def test_an_offset_changes_nothing(self, closed_form_population, batch):
        keys_PG = fingerprints(gradients(closed_form_population("shifted", [0.0, -2.5, 1e4]), batch), RESOLUTION)
        assert torch.equal(keys_PG, keys_PG[:1].expand(3, -1))

    def test_a_negative_factor_is_another_loss(self, closed_form_population, batch):
        keys_PG = fingerprints(gradients(closed_form_population("cross_entropy", [1.0, -1.0]), batch), RESOLUTION)
        assert not equal(keys_PG[:1], keys_PG[1:]).any()

    def test_families_meet(self, closed_form_population, batch):
        """GCE(1) is MAE, GCE(q -> 0), focal(0), poly1(0) and smoothing by 0 are cross-entropy."""
        cross_entropy, mae = (
            fingerprints(gradients(closed_form_population(form, [2.0]), batch), RESOLUTION)
            for form in ("cross_entropy", "mae")
        )
        for form, theta in (("focal", 0.0), ("poly1", 0.0), ("label_smoothing", 0.0), ("gce", 1e-7)):
            keys_PG = fingerprints(gradients(closed_form_population(form, [theta]), batch), RESOLUTION)
            assert equal(keys_PG, cross_entropy).all()
            assert not equal(keys_PG, mae).any()
        assert equal(fingerprints(gradients(closed_form_population("gce", [1.0]), batch), RESOLUTION), mae).all()

    def test_near_losses_are_told_apart_by_their_distance(self, closed_form_population, batch):
        """GCE over a thousand values of q: two of them are equal where they are much nearer than a cell is wide."""
        gradient_PBC = gradients(closed_form_population("gce", [0.7 + index * 1e-5 for index in range(1000)]), batch)
        keys_PG = fingerprints(gradient_PBC, RESOLUTION)
        unit = gradient_PBC.flatten(1).double()
        unit = unit / unit.norm(dim=1, keepdim=True)
        distance_PP = torch.cdist(unit, unit) / RESOLUTION
        equal_PP = (keys_PG[:, None] == keys_PG).any(dim=2)
        assert distance_PP[0, 1] < 0.1 < 10 < distance_PP[0, -1]
        assert not equal_PP[distance_PP > 3].any()
        assert equal_PP[distance_PP < 0.1].double().mean() > 0.5
        assert not equal_PP[0, 200]  # q = 0.700 and q = 0.702
        assert equal_PP.diagonal().all()

    @pytest.mark.parametrize(("distance", "least", "most"), [(0.003, 0.998, 1), (0.1, 0.7, 0.85), (2.0, 0, 0.0005)])
    def test_the_share_of_equal_keys_by_distance(self, distance, least, most):
        """Random directions in 640 dimensions, and others at a known angle, in units of the resolution."""
        generator = torch.Generator().manual_seed(0)
        start, step = torch.randn(2, 4000, 64, 10, dtype=torch.float64, generator=generator)
        start = start / start.flatten(1).norm(dim=1)[:, None, None]
        step = step - (step * start).sum(dim=(1, 2))[:, None, None] * start
        step = step / step.flatten(1).norm(dim=1)[:, None, None]
        angle = distance * RESOLUTION
        moved = start * math.cos(angle) + step * math.sin(angle)
        share = equal(fingerprints(start, RESOLUTION), fingerprints(moved, RESOLUTION)).double().mean()
        assert least <= share <= most

    @pytest.mark.parametrize(
        "family", [PairwiseMLP(), PairwiseMLP(activation="silu"), ClasswiseMLP()], ids=lambda f: f.label
    )
    def test_networks(self, family, batch):
        """Of 800, no two are equal, and all but a few in ten thousand copies are found whatever their spelling."""
        generator = torch.Generator().manual_seed(0)
        solutions_PD = family.init(800, generator)
        keys_PG = of_networks(family, solutions_PD, batch)
        assert [len(keys_P.unique()) for keys_P in keys_PG.T] == [800, 800]
        copies = [scaled_networks(family, solutions_PD, factor) for factor in (1e-6, 3.0, 1e6)]
        copies.append(respelt_networks(family, solutions_PD, generator, flip=family.activation == "tanh"))
        missed = sum(int((~equal(keys_PG, of_networks(family, copy, batch))).sum()) for copy in copies)
        assert missed <= 3  # of 3200

    def test_a_key_of_one_grid_is_never_one_of_the_other(self, batch):
        keys_PG = of_networks(PairwiseMLP(), PairwiseMLP().init(100, torch.Generator().manual_seed(0)), batch)
        assert not torch.isin(keys_PG[:, 0], keys_PG[:, 1]).any()
        assert (keys_PG % 2).unique(dim=0).tolist() == [[0, 1]]

    def test_a_vanished_gradient_is_a_loss_of_its_own(self, closed_form_population, batch):
        keys_PG = fingerprints(gradients(closed_form_population("cross_entropy", [0.0, 1.0, 0.0]), batch), RESOLUTION)
        assert torch.equal(keys_PG[0], keys_PG[2])
        assert not equal(keys_PG[:1], keys_PG[1:2]).any()

    def test_what_is_not_finite_raises_nothing_and_harms_no_other(self, batch):
        gradient_PBC = torch.randn(4, 256, 10, generator=torch.Generator().manual_seed(0))
        expected = fingerprints(gradient_PBC, RESOLUTION)
        gradient_PBC[1, 3, 2], gradient_PBC[2, 0, 0] = math.nan, math.inf
        keys_PG = fingerprints(gradient_PBC, RESOLUTION)
        assert torch.equal(keys_PG[[0, 3]], expected[[0, 3]])
        assert keys_PG.dtype == torch.int64

    def test_gradients_too_small_to_be_squared_in_float32(self, batch):
        gradient_PBC = torch.randn(3, 256, 10, generator=torch.Generator().manual_seed(0))
        for factor in (1e-30, 1e30):
            assert equal(fingerprints(gradient_PBC, RESOLUTION), fingerprints(factor * gradient_PBC, RESOLUTION)).all()

    def test_keys_do_not_depend_on_the_company(self, batch):
        family = PairwiseMLP()
        solutions_PD = family.init(40, torch.Generator().manual_seed(0))
        keys_PG = of_networks(family, solutions_PD, batch)
        for index in (torch.tensor([7]), torch.arange(3), torch.arange(39, -1, -1)):
            assert torch.equal(of_networks(family, solutions_PD[index], batch), keys_PG[index])

    def test_the_global_random_state_plays_no_part(self):
        gradient_PBC = torch.randn(5, 16, 4, generator=torch.Generator().manual_seed(0))
        keys_PG = fingerprints(gradient_PBC, RESOLUTION)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        assert torch.equal(fingerprints(gradient_PBC, RESOLUTION), keys_PG)
        assert torch.equal(torch.get_rng_state(), before)

    def test_cells_by_their_definition(self):
        """Floor of the unit gradient's projections over the resolution, on two grids half a cell apart."""
        gradient_PBC = torch.randn(6, 16, 4, generator=torch.Generator().manual_seed(0))
        generator = derive_generator(0, "fingerprint.directions")
        directions = torch.randn(64, 8, dtype=torch.float64, generator=generator).numpy()
        for row, keys in zip(gradient_PBC.double().flatten(1).numpy(), fingerprints(gradient_PBC, 0.01), strict=True):
            coordinates = row / np.sqrt((row**2).sum()) @ directions / 0.01
            for grid, key in enumerate(keys):
                cells = torch.from_numpy(np.floor(coordinates + grid / 2).astype(np.int64))
                assert key == 2 * hashed(cells) + grid

    @pytest.mark.parametrize("resolution", [1e-9, 1e-4, 0.3])
    def test_any_resolution(self, closed_form_population, batch, resolution):
        gradient_PBC = gradients(closed_form_population("gce", [0.2, 0.9]), batch)
        keys_PG = fingerprints(gradient_PBC, resolution)
        assert equal(keys_PG, fingerprints(gradient_PBC.clone(), resolution)).all()
        assert not equal(keys_PG[:1], keys_PG[1:]).any()

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_devices_agree(self, batch):
        gradient_PBC = torch.randn(500, 256, 10, generator=torch.Generator().manual_seed(0))
        on_device = fingerprints(gradient_PBC.cuda(), RESOLUTION)
        assert on_device.is_cuda
        assert equal(on_device.cpu(), fingerprints(gradient_PBC, RESOLUTION)).double().mean() > 0.999


class TestHash:
    def test_no_collisions(self):
        """A million random cells, as far from the origin as those of unit gradients are."""
        cells = torch.randint(-30000, 30000, (1_000_000, 8), generator=torch.Generator().manual_seed(0))
        assert len(hashed(cells).unique()) == 1_000_000

    def test_neighbouring_cells(self):
        """All of 5^8 cells around one."""
        steps = torch.cartesian_prod(*[torch.arange(-2, 3)] * 8)
        cells = torch.randint(-30000, 30000, (1, 8), generator=torch.Generator().manual_seed(0)) + steps
        assert len(hashed(cells).unique()) == 5**8

    def test_a_cell_and_its_mirror_image(self):
        """The cells of a loss and of its negative."""
        cells = torch.randint(-30000, 30000, (100_000, 8), generator=torch.Generator().manual_seed(0))
        assert not torch.isin(hashed(-1 - cells), hashed(cells)).any()


class TestRepeats:
    FAMILY = PairwiseMLP(hidden=(6,))

    @pytest.fixture
    def solutions_PD(self) -> Tensor:
        return self.FAMILY.init(5, torch.Generator().manual_seed(1))

    def of(self, solutions_PD: Tensor, memory: Memory, batch: PredictionBatch) -> list[bool]:
        return repeats(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD, memory).tolist()

    def test_the_first_of_equals_stays(self, solutions_PD, batch):
        some = solutions_PD[[0, 1, 0, 2, 1, 0]].clone()
        some[4] = scaled_networks(self.FAMILY, some[4:5], 7.0)
        assert self.of(some, nothing_known(some), batch) == [False, False, True, False, True, True]

    def test_known_losses(self, solutions_PD, batch):
        memory = known(of_networks(self.FAMILY, solutions_PD[[1, 3]], batch), solutions_PD[:0])
        assert self.of(solutions_PD, memory, batch) == [False, True, False, True, False]
        copies = scaled_networks(self.FAMILY, solutions_PD, 1e3)
        assert self.of(copies, memory, batch) == [False, True, False, True, False]

    def test_one_of_the_last_generation_is_itself(self, solutions_PD, batch):
        keys_PG = of_networks(self.FAMILY, solutions_PD, batch)
        assert self.of(solutions_PD, known(keys_PG, solutions_PD[[2, 4]]), batch) == [True, True, False, True, False]

    @pytest.mark.parametrize("factor", [0.5, 2.0, 256.0, 2.0**16, 2.0**64, 3.0, 1e-5])
    def test_a_multiple_of_one_of_the_last_generation_is_a_copy(self, solutions_PD, batch, factor):
        memory = known(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD)
        copies = scaled_networks(self.FAMILY, solutions_PD, factor)
        assert self.of(torch.cat((solutions_PD, copies)), memory, batch) == [False] * 5 + [True] * 5
        assert self.of(copies, memory, batch) == [True] * 5

    def test_a_copy_with_flipped_signs_is_a_copy(self, solutions_PD, batch):
        """tanh is odd: the weights into and out of a unit may change their signs together, and the loss is the same."""
        memory = known(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD)
        flipped = solutions_PD.clone()
        flipped[:, [0, 1, 12, 18]] *= -1
        assert self.of(flipped, memory, batch) == [True] * 5

    def test_two_that_survive_are_one_too_many(self, solutions_PD, batch):
        memory = known(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD)
        assert self.of(solutions_PD[[3, 0, 3]], memory, batch) == [False, False, True]

    def test_a_copy_before_one_that_survives(self, solutions_PD, batch):
        """The copy is known, and the other is itself."""
        memory = known(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD)
        some = torch.cat((scaled_networks(self.FAMILY, solutions_PD[:1], 2.5), solutions_PD[:1], solutions_PD[:1]))
        assert self.of(some, memory, batch) == [True, False, True]

    def test_nearly_equal_parameters_are_not_the_same_solution(self, solutions_PD, batch):
        """One unit in the last place makes another solution, of a loss that is the same to any optimiser."""
        memory = known(of_networks(self.FAMILY, solutions_PD, batch), solutions_PD)
        moved = solutions_PD.clone()
        moved[:, 0] = torch.nextafter(moved[:, 0], torch.tensor(math.inf))
        assert self.of(moved, memory, batch) == [True] * 5

    def test_a_thousand_in_one_call(self):
        """Against a loop: repeated is who shares a key with somebody before."""
        generator = torch.Generator().manual_seed(2)
        keys_PG = torch.randint(0, 2000, (1000, 2), generator=generator) * 2 + torch.arange(2)
        solutions_PD = torch.randn(1000, 3, generator=generator)
        seen: set[int] = set()
        expected = []
        for keys in keys_PG.tolist():
            expected.append(not seen.isdisjoint(keys))
            seen.update(keys)
        assert repeats(keys_PG, solutions_PD, nothing_known(solutions_PD)).tolist() == expected
        assert 0.1 < sum(expected) / 1000 < 0.9

    def test_a_thousand_and_a_memory(self):
        """Against a loop: repeated is who shares a key with the memory, but for every third, which survives."""
        generator = torch.Generator().manual_seed(2)
        keys_PG = torch.stack([torch.randperm(1000, generator=generator) * 2 + grid for grid in (0, 1)], dim=1)
        known_PG = torch.randint(0, 1500, (300, 2), generator=generator) * 2 + torch.arange(2)
        solutions_PD = torch.randn(1000, 3, generator=generator)
        everything = set(known_PG.flatten().tolist())
        expected = [row % 3 != 0 and not everything.isdisjoint(keys) for row, keys in enumerate(keys_PG.tolist())]
        assert repeats(keys_PG, solutions_PD, known(known_PG, solutions_PD[::3])).tolist() == expected
        assert 0.1 < sum(expected) / 1000 < 0.5


class TestMerged:
    @pytest.mark.parametrize("num_known", [0, 1, 50])
    @pytest.mark.parametrize("num_new", [0, 1, 30])
    def test_it_is_a_sort(self, num_known, num_new):
        """Also where keys occur more than once."""
        generator = torch.Generator().manual_seed(0)
        known_GN = torch.randint(-40, 40, (2, num_known), generator=generator).sort(dim=1).values
        keys_PG = torch.randint(-40, 40, (num_new, 2), generator=generator)
        found = merged(known_GN, keys_PG, torch.ones(len(keys_PG), dtype=torch.bool))
        assert torch.equal(found, torch.cat((known_GN, keys_PG.T), dim=1).sort(dim=1).values)
        assert found.is_contiguous()

    def test_the_extremes(self):
        low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
        found = merged(
            torch.tensor([[low, high], [0, 1]]), torch.tensor([[high, low], [low, high]]), torch.tensor([True, True])
        )
        assert found.tolist() == [[low, low, high, high], [low, 0, 1, high]]


def test_gradients_of_blocks_of_any_size_have_the_same_keys(batch, monkeypatch):
    """What rounding is left between block sizes is far below the resolution."""
    family = PairwiseMLP()
    solutions_PD = family.init(60, torch.Generator().manual_seed(0))
    keys_PG = of_networks(family, solutions_PD, batch)
    monkeypatch.setattr(population, "BLOCK_SOLUTIONS", 3)
    assert equal(of_networks(family, solutions_PD, batch), keys_PG).all()
