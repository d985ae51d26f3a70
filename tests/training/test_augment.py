import numpy as np
import pytest
import torch

from lossforge.streams import derive_generator
from lossforge.training.augment import AugmentationDraws, augmented_batch, draw_augmentation


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
