import math

import pytest
import scipy.stats
import torch

from lossforge import losses
from lossforge.streams import derive_generator
from lossforge.training.mixing import Mix, draw_mixes, mixed

SIZE = (12, 9)


def draws(num, mixup=0.0, cutmix=0.0, size=SIZE, seed=0):
    generator = derive_generator(seed, "test.mixing")
    return draw_mixes(num, mixup=mixup, cutmix=cutmix, size=size, generator=generator)


def batch(num=5, channels=2, size=SIZE):
    return torch.randn(num, channels, *size, generator=derive_generator(0, "test.images"))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 100.0])
def test_shares_of_mixup_follow_a_beta_distribution(alpha):
    shares = [mix.share for mix in draws(4000, mixup=alpha)]
    assert all(0.0 <= share <= 1.0 for share in shares)
    # Below a half alone: near 1 numbers are coarse, and of small alphas a share is rounded to it.
    lower = [share for share in shares if share < 0.5]
    assert scipy.stats.kstest(lower, lambda share: 2 * scipy.stats.beta.cdf(share, alpha, alpha)).pvalue > 0.01
    mean, square = sum(shares) / 4000, sum((share - 0.5) ** 2 for share in shares) / 4000
    variance = 1 / (4 * (2 * alpha + 1))
    assert mean == pytest.approx(0.5, abs=4 * math.sqrt(variance / 4000))
    assert square == pytest.approx(variance, rel=0.1)


def test_a_tiny_alpha_leaves_images_nearly_whole():
    shares = [mix.share for mix in draws(400, mixup=1e-6)]
    assert all(min(share, 1 - share) < 1e-9 for share in shares)
    assert 150 < sum(share > 0.5 for share in shares) < 250


def test_mixup_has_no_box_and_cutmix_has_one():
    assert all(mix.box is None for mix in draws(50, mixup=1.0))
    assert all(mix.box is not None for mix in draws(50, cutmix=1.0))


def test_where_both_are_asked_for_each_batch_has_either_at_even_odds():
    mixes = draws(4000, mixup=0.2, cutmix=1.0)
    by_box = [mix for mix in mixes if mix.box is not None]
    assert len(by_box) == pytest.approx(2000, abs=130)  # 4 standard deviations
    shares = [mix.share for mix in mixes if mix.box is None]
    assert scipy.stats.kstest(shares, scipy.stats.beta(0.2, 0.2).cdf).pvalue > 0.01


def test_draws_depend_on_the_generator_alone():
    assert draws(20, 0.3, 0.7) == draws(20, 0.3, 0.7)
    assert draws(20, 0.3, 0.7)[:5] == draws(5, 0.3, 0.7)
    assert draws(20, 0.3, 0.7) != draws(20, 0.3, 0.7, seed=1)


def test_a_box_is_what_is_left_within_the_image_and_the_share_counts_its_pixels():
    for mix in draws(500, cutmix=1.0):
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 12
        assert 0 <= left <= right <= 9
        taken = torch.zeros(12, 9)
        taken[top:bottom, left:right] = 1
        assert mix.share == pytest.approx(1 - taken.mean().item(), rel=1e-6)


def test_boxes_are_those_of_the_papers_algorithm():
    """A square root of 1 - lambda of each side, round a uniform centre, cut at the border; lambda is Beta(1, 1)."""
    generator = derive_generator(0, "test.reference")
    shares = []
    for share, middle_h, middle_w in torch.rand(4000, 3, generator=generator, dtype=torch.float64).tolist():
        ratio = math.sqrt(1 - share)
        cut_h, cut_w = int(32 * ratio), int(24 * ratio)
        y, x = int(32 * middle_h), int(24 * middle_w)
        height = min(y + cut_h // 2, 32) - max(y - cut_h // 2, 0)
        width = min(x + cut_w // 2, 24) - max(x - cut_w // 2, 0)
        shares.append(1 - height * width / (32 * 24))
    found = [mix.share for mix in draws(4000, cutmix=1.0, size=(32, 24))]
    assert scipy.stats.ks_2samp(found, shares).pvalue > 0.01


def test_centres_of_boxes_are_uniform():
    # A narrow box is seldom cut, so its middle is what was drawn.
    boxes = [mix.box for mix in draws(20_000, cutmix=0.3, size=(40, 60))]
    small = [box for box in boxes if 2 <= box[1] - box[0] <= 4]
    assert len(small) > 500
    for first, size in ((0, 40), (2, 60)):
        middles = [
            (box[first] + box[first + 1]) / 2 / size for box in small if box[first] > 0 and box[first + 1] < size
        ]
        assert scipy.stats.kstest(middles, scipy.stats.uniform(0.025, 0.95).cdf).statistic < 0.08


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mixup_equals_a_loop(share):
    images = batch()
    expected = [share * images[index] + (1 - share) * images[index - 1] for index in range(5)]
    torch.testing.assert_close(mixed(images.clone(), Mix(share)), torch.stack(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("box", [(2, 7, 0, 4), (0, 12, 0, 9), (3, 3, 2, 5), (11, 12, 8, 9)])
def test_cutmix_equals_a_loop_over_pixels(box):
    images = batch()
    top, bottom, left, right = box
    found = mixed(images.clone(), Mix(0.5, box))
    for index in range(5):
        for row in range(12):
            for column in range(9):
                inside = top <= row < bottom and left <= column < right
                source = images[index - 1] if inside else images[index]
                assert torch.equal(found[index, :, row, column], source[:, row, column])


@pytest.mark.parametrize("mix", [Mix(0.25), Mix(0.5, (0, 6, 0, 9))], ids=["mixup", "cutmix"])
def test_images_are_mixed_in_place_and_stay_channels_last(mix):
    images = batch().contiguous(memory_format=torch.channels_last)
    found = mixed(images, mix)
    assert found.data_ptr() == images.data_ptr()
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", losses.list())
def test_two_labels_cost_what_their_probabilities_do(name):
    """lambda l(z, a) + (1 - lambda) l(z, b) is the loss of soft targets, whatever the loss."""
    loss = losses.get(name)
    generator = derive_generator(0, "test.logits")
    logits = torch.randn(16, 5, generator=generator, dtype=torch.float64).mul(0.4).tanh()  # cosines, too
    labels = torch.randint(0, 5, (16,), generator=generator)
    neighbours = labels.roll(1)
    one_hot, others = (torch.nn.functional.one_hot(each, 5).double() for each in (labels, neighbours))
    for share in (0.0, 0.3, 1.0):
        expected = loss(logits, share * one_hot + (1 - share) * others)
        found = share * loss(logits, labels) + (1 - share) * loss(logits, neighbours)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
