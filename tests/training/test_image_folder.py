import os
import shutil

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from lossforge.errors import DataError
from lossforge.training.datasets import ImageFolder

CLASSES = ("bee", "ant")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOSSFORGE_CACHE", str(folder))
    return folder


def pixels(seed, height=6, width=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """Two classes of two training images and one test image each, as lossless PNG."""
    for part, num in (("train", 2), ("test", 1)):
        for label, name in enumerate(CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(num):
                array = pixels(100 * label + 10 * index + (part == "test"))
                Image.fromarray(array).save(tmp_path / part / name / f"{index}.png")
    return tmp_path


def load(root, **options):
    return ImageFolder(root=str(root), **options).load()


def test_reads_pixels_with_classes_in_alphabetical_order(root):
    data = load(root)
    assert data.class_names == ("ant", "bee")
    assert data.train.labels_N.tolist() == [0, 0, 1, 1]
    assert data.test.labels_N.tolist() == [0, 1]
    assert data.train.images_NCHW.shape == (4, 3, 6, 5)
    assert data.train.images_NCHW.dtype == torch.uint8
    for image, seed in zip(data.train.images_NCHW, (100, 110, 0, 10), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels(seed))


def test_decodes_jpeg_to_about_the_same_pixels(root):
    smooth = np.tile(np.linspace(0, 255, 5, dtype=np.uint8)[None, :, None], (6, 1, 3))
    (root / "test" / "ant" / "0.png").unlink()
    Image.fromarray(smooth).save(root / "test" / "ant" / "0.jpg", quality=95)
    found = load(root).test.images_NCHW[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - smooth).max() < 12


def test_grey_images_become_rgb(root):
    grey = pixels(0)[:, :, 0]
    Image.fromarray(grey).save(root / "test" / "ant" / "0.png")
    found = load(root).test.images_NCHW[0].numpy()
    np.testing.assert_array_equal(found, np.stack([grey] * 3))


def test_the_home_folder_is_expanded(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(load(f"~/{root.name}").train.labels_N) == 4


def test_hidden_files_are_passed_over(root):
    (root / "train" / "ant" / ".DS_Store").write_bytes(b"?")
    (root / "train" / ".cache").mkdir()
    assert load(root).class_names == ("ant", "bee")


def test_image_size_scales_and_cuts_to_a_square(root):
    Image.fromarray(pixels(0, 40, 20)).save(root / "train" / "ant" / "0.png")
    data = load(root, image_size=4)
    assert data.train.images_NCHW.shape == (4, 3, 4, 4)
    assert data.test.images_NCHW.shape == (2, 3, 4, 4)


def test_scaling_keeps_the_middle_and_the_proportions(root):
    halves = np.zeros((12, 24, 3), dtype=np.uint8)
    halves[:, 12:] = 255  # dark on the left, bright on the right; the middle square has both
    Image.fromarray(halves).save(root / "test" / "ant" / "0.png")
    found = load(root, image_size=12).test.images_NCHW[0]
    assert found[:, :, :6].eq(0).all()
    assert found[:, :, 6:].eq(255).all()


def test_an_odd_size_is_named_with_its_remedy(root):
    odd = root / "test" / "bee" / "0.png"
    Image.fromarray(pixels(0, 7, 9)).save(odd)
    with pytest.raises(DataError, match="9x7 pixels, but the first training image has 5x6; set image_size") as caught:
        load(root)
    assert str(odd) in str(caught.value)


def test_a_file_that_is_no_image_is_named(root):
    odd = root / "train" / "bee" / "notes.txt"
    odd.write_text("not an image")
    with pytest.raises(DataError, match=r"cannot be read as an image.*replace or remove it") as caught:
        load(root)
    assert str(odd) in str(caught.value)


def test_a_truncated_image_is_named(root):
    odd = root / "train" / "ant" / "1.png"
    odd.write_bytes(odd.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read as an image") as caught:
        load(root)
    assert str(odd) in str(caught.value)


def test_a_folder_among_the_images_is_named(root):
    (root / "train" / "ant" / "more").mkdir()
    with pytest.raises(DataError, match="more: cannot be read as an image"):
        load(root)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named_with_its_remedy(root, part):
    shutil.rmtree(root / part)
    with pytest.raises(DataError, match=r"no such folder; put images in .*, or correct root") as caught:
        load(root)
    assert str(root / part) in str(caught.value)


def test_a_part_without_classes_is_named(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    with pytest.raises(DataError, match=r"train: no class folders; put images in .*<class>"):
        load(root)


def test_a_class_without_images_is_named(root):
    (root / "test" / "ant" / "0.png").unlink()
    with pytest.raises(DataError, match="ant: no images; put some there, or remove the folder"):
        load(root)


def test_classes_of_one_part_alone_are_named(root):
    (root / "test" / "bee").rename(root / "test" / "wasp")
    with pytest.raises(DataError, match=r"different classes \(bee, wasp\); give each class a folder in both"):
        load(root)


def test_a_link_to_nowhere_is_named(root):
    (root / "test" / "ant" / "1.png").symlink_to(root / "absent.png")
    with pytest.raises(DataError, match=r"1\.png: cannot be read as an image \(No such file.*replace or remove it"):
        load(root)


def no_decoding(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("an image is opened")

    monkeypatch.setattr(Image, "open", refuse)


def test_images_are_decoded_once(root, monkeypatch):
    first = load(root)
    no_decoding(monkeypatch)
    again = load(root)
    for part in ("train", "test"):
        assert torch.equal(getattr(again, part).images_NCHW, getattr(first, part).images_NCHW)
        assert torch.equal(getattr(again, part).labels_N, getattr(first, part).labels_N)
    assert again.class_names == first.class_names
    assert torch.equal(load(os.path.relpath(root)).train.images_NCHW, first.train.images_NCHW)


def grown(root):
    Image.fromarray(pixels(7)).save(root / "train" / "bee" / "2.png")


def shrunk(root):
    (root / "train" / "bee" / "1.png").unlink()


def renamed(root):
    (root / "test" / "bee" / "0.png").rename(root / "test" / "bee" / "1.png")


def touched(root):
    os.utime(root / "test" / "bee" / "0.png", ns=(0, 1))


def swapped(root):
    """Two classes change places: as many files of the same names, sizes and times."""
    for part in ("train", "test"):
        (root / part / "bee").rename(root / part / "cat")


@pytest.mark.parametrize("change", [grown, shrunk, renamed, touched, swapped])
def test_images_are_decoded_again_when_a_file_changes(root, monkeypatch, change):
    load(root)
    change(root)
    no_decoding(monkeypatch)
    with pytest.raises(AssertionError, match="an image is opened"):
        load(root)


@pytest.mark.parametrize("image_size", [5, 6])
def test_images_are_decoded_again_for_another_size(root, image_size):
    load(root)
    assert load(root, image_size=4).train.images_NCHW.shape == (4, 3, 4, 4)
    assert load(root, image_size=image_size).train.images_NCHW.shape == (4, 3, image_size, image_size)


def test_images_are_decoded_again_by_another_pillow(root, monkeypatch):
    load(root)
    monkeypatch.setattr(PIL, "__version__", "1.0")
    no_decoding(monkeypatch)
    with pytest.raises(AssertionError, match="an image is opened"):
        load(root)


def test_equal_folders_elsewhere_are_known_apart(root, tmp_path_factory, cache):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root, other, dirs_exist_ok=True)
    load(root)
    load(other)
    assert len(list((cache / "images").iterdir())) == 2


def test_the_cache_does_not_stand_in_for_a_folder_that_is_gone(root):
    load(root)
    shutil.rmtree(root)
    with pytest.raises(DataError, match="no such folder"):
        load(root)
