import numpy as np
import pytest
import torch

from lossforge.streams import derive_generator
from lossforge.training.augment import AugmentationDraws, augmented_batch, cut_out, draw_augmentation


def images(num=6, channels=3, height=9, width=7):
    generator = derive_generator(0, "test.images")
    shape = (num, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def by_hand(image_CHW, flip, row, column, padding):
    """Mirror, pad by reflection, cut out: one image at a time, by NumPy."""
    array = image_CHW.numpy()
    if flip:
        array = array[:, :, ::-1]
    padded = np.pad(array, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
    height, width = array.shape[1:]
    top, left = padding + row, padding + column
    return padded[:, top : top + height, left : left + width]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 2, 6])
def test_equals_mirroring_and_cropping_image_by_image(channels, padding):
    source = images(channels=channels).contiguous(memory_format=torch.channels_last)
    index = torch.tensor([5, 0, 0, 3])
    draws = draw_augmentation(4, flip=True, padding=padding, generator=derive_generator(1, "test"))
    batch = augmented_batch(source, index, draws)
    for position, which in enumerate(index.tolist()):
        row, column = draws.shift_N2[position].tolist()
        expected = by_hand(source[which], bool(draws.flip_N[position]), row, column, padding)
        np.testing.assert_array_equal(batch[position].numpy(), expected)


def test_nothing_drawn_leaves_images_as_they_are():
    draws = draw_augmentation(6, flip=False, padding=0, generator=derive_generator(0, "test"))
    assert torch.equal(augmented_batch(images(), torch.arange(6), draws), images())


def test_gives_channels_last_memory():
    draws = draw_augmentation(6, flip=True, padding=2, generator=derive_generator(0, "test"))
    batch = augmented_batch(images(), torch.arange(6), draws)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.dtype == torch.uint8


def test_draws_are_uniform():
    draws = draw_augmentation(40_000, flip=True, padding=2, generator=derive_generator(0, "test"))
    assert draws.flip_N.double().mean().item() == pytest.approx(0.5, abs=0.01)
    shares = torch.bincount((draws.shift_N2 + 2).flatten(), minlength=5).double() / 80_000
    assert len(shares) == 5
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.01)
    # Rows and columns are independent.
    assert torch.corrcoef(draws.shift_N2.T.double())[0, 1].abs() < 0.02


def test_without_flip_none_is_mirrored():
    draws = draw_augmentation(1000, flip=False, padding=1, generator=derive_generator(0, "test"))
    assert not draws.flip_N.any()


def test_draws_can_be_taken_in_parts_and_moved():
    draws = draw_augmentation(10, flip=True, padding=3, generator=derive_generator(0, "test"))
    part = draws.take(slice(4, 7)).to(torch.device("cpu"))
    assert isinstance(part, AugmentationDraws)
    assert torch.equal(part.flip_N, draws.flip_N[4:7])
    assert torch.equal(part.shift_N2, draws.shift_N2[4:7])


def hole_by_hand(height, width, row, column, side):
    """Return which pixels are zeroed, one by one."""
    first_row, first_column = row - side // 2, column - side // 2
    return torch.tensor(
        [
            [first_row <= i < first_row + side and first_column <= j < first_column + side for j in range(width)]
            for i in range(height)
        ]
    )


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_cutout_zeroes_a_square_of_the_side_and_what_of_it_is_outside_is_lost(side):
    places = [(row, column) for row in range(9) for column in range(7)]
    source = images(len(places)).float() + 1  # no zeros of its own
    holes = torch.tensor([[(row + 0.5) / 9, (column + 0.5) / 7] for row, column in places])
    found = cut_out(source.clone(), holes, side)
    for index, (row, column) in enumerate(places):
        hole = hole_by_hand(9, 7, row, column, side)
        assert torch.equal(found[index] == 0, hole.expand(3, 9, 7))
        assert torch.equal(found[index][:, ~hole], source[index][:, ~hole])
    assert (found[places.index((4, 3)), 0] == 0).sum() == side * side


def test_cutout_is_in_place():
    source = torch.ones(1, 1, 4, 4)
    assert cut_out(source, torch.zeros(1, 2), 2) is source
    assert source.flatten().tolist() == [0.0] + [1.0] * 15


@pytest.mark.parametrize("size", [8, 28, 33])
def test_the_middle_of_a_hole_is_each_pixel_alike(size):
    draws = draw_augmentation(40_000, flip=False, padding=0, cutout=True, generator=derive_generator(0, "test"))
    assert draws.hole_N2.shape == (40_000, 2)
    found = cut_out(torch.ones(40_000, 1, size, 1), draws.hole_N2, 1).flatten(1)
    assert (found == 0).sum(1).eq(1).all()
    expected = 40_000 / size
    assert (found == 0).sum(0).sub(expected).square().sum().item() / expected < 2 * size  # chi-squared
    assert torch.corrcoef(draws.hole_N2.T.double())[0, 1].abs() < 0.02


def test_the_largest_draw_is_still_within_the_image():
    largest = torch.full((1, 2), 1 - 2**-24)
    for size in range(1, 300):
        assert cut_out(torch.ones(1, 1, size, 1), largest, 1)[0, 0, -1, 0] == 0


def test_holes_are_drawn_only_where_they_are_asked_for_and_change_nothing_else():
    without, with_holes = (
        draw_augmentation(30, flip=True, padding=2, cutout=cutout, generator=derive_generator(0, "test"))
        for cutout in (False, True)
    )
    assert without.hole_N2 is None
    assert without.take(slice(3)).to(torch.device("cpu")).hole_N2 is None
    assert torch.equal(without.flip_N, with_holes.flip_N)
    assert torch.equal(without.shift_N2, with_holes.shift_N2)
    part = with_holes.take(slice(4, 7)).to(torch.device("cpu"))
    assert torch.equal(part.hole_N2, with_holes.hole_N2[4:7])
