import re

import numpy as np
import pytest
import torch

from lossforge.errors import DataError, SpecError
from lossforge.spec.training import AsymmetricNoise, FileNoise, SymmetricNoise
from lossforge.training.label_noise import noisy_labels

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LETTERS = ("a", "b", "c")
LABELS = torch.arange(30_000) % 10


def noisy(noise, labels=LABELS, names=CIFAR10, seed=0):
    return noisy_labels(labels, noise, names, seed)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.8, 1.0])
def test_symmetric_noise_flips_its_share_to_every_other_class_alike(rate):
    given = noisy(SymmetricNoise(rate=rate))
    flipped = given != LABELS
    assert flipped.double().mean().item() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 30_000) ** 0.5)
    counts = torch.bincount(LABELS * 10 + given, minlength=100).view(10, 10)
    others = counts[~torch.eye(10, dtype=torch.bool)].double()
    expected = 3000 * rate / 9
    assert (others - expected).abs().max() <= 5 * max(expected, 0) ** 0.5
    assert given.dtype == torch.int64


def test_symmetric_noise_never_keeps_a_flipped_label():
    assert not (noisy(SymmetricNoise(rate=1.0)) == LABELS).any()
    two = torch.arange(100) % 2
    assert torch.equal(noisy(SymmetricNoise(rate=1.0), two, ("a", "b")), 1 - two)


def test_asymmetric_noise_of_cifar_10_flips_between_its_usual_pairs():
    given = noisy(AsymmetricNoise(rate=0.4))
    pairs = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}
    for label, name in enumerate(CIFAR10):
        of_class = given[label == LABELS]
        if name not in pairs:
            assert of_class.eq(label).all()
            continue
        target = CIFAR10.index(pairs[name])
        assert set(of_class.tolist()) == {label, target}
        assert of_class.eq(target).double().mean().item() == pytest.approx(0.4, abs=0.04)


def test_asymmetric_noise_may_go_to_the_next_class():
    given = noisy(AsymmetricNoise(rate=1.0, pairs="next"))
    assert torch.equal(given, (LABELS + 1) % 10)
    some = noisy(AsymmetricNoise(rate=0.3, pairs="next"))
    assert set((some - LABELS).remainder(10).tolist()) == {0, 1}


def test_asymmetric_noise_takes_pairs_of_ones_own():
    given = noisy(AsymmetricNoise(rate=1.0, pairs=(("c", "a"), ("a", "b"))), torch.tensor([0, 1, 2, 0]), LETTERS)
    assert given.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("usual", "no class is called 'airplane'; the classes are a, b, c; give pairs of these, or 'next'"),
        ((("a", "z"),), "no class is called 'z'; the classes are a, b, c; correct the names"),
        ((("a", "b"), ("a", "c")), "a class is taken for one other class, but one stands first in two pairs"),
    ],
)
def test_pairs_that_do_not_fit_the_classes_are_refused(pairs, message):
    with pytest.raises(SpecError) as caught:
        noisy(AsymmetricNoise(rate=0.1, pairs=pairs), torch.tensor([0, 1, 2]), LETTERS)
    assert str(caught.value) == f"training.label_noise.pairs: {message}"


def test_of_many_classes_the_first_are_listed():
    names = tuple(f"class {index}" for index in range(100))
    with pytest.raises(SpecError, match=r"the classes are class 0, .*, class 11, \.\.\.; give pairs"):
        noisy(AsymmetricNoise(rate=0.1), torch.tensor([0]), names)


@pytest.mark.parametrize("noise", [SymmetricNoise(rate=0.5), AsymmetricNoise(rate=0.5)], ids=["symmetric", "usual"])
def test_depends_on_the_seed_alone_and_leaves_the_labels_given(noise):
    before = LABELS.clone()
    assert torch.equal(noisy(noise), noisy(noise))
    assert not torch.equal(noisy(noise), noisy(noise, seed=1))
    assert torch.equal(LABELS, before)


def test_more_noise_adds_to_less():
    """A label that is wrong at one rate is wrong, and the same, at a higher one."""
    some, more = (noisy(SymmetricNoise(rate=rate)) for rate in (0.2, 0.4))
    wrong = some != LABELS
    assert torch.equal(more[wrong], some[wrong])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", ">i4"])
def test_labels_from_an_array_file(tmp_path, dtype):
    np.save(tmp_path / "labels.npy", np.array([2, 0, 1, 1], dtype=dtype))
    given = noisy(FileNoise(path=str(tmp_path / "labels.npy")), torch.tensor([0, 0, 0, 0]), LETTERS)
    assert given.tolist() == [2, 0, 1, 1]
    assert given.dtype == torch.int64


def test_labels_from_text(tmp_path, monkeypatch):
    (tmp_path / "labels.txt").write_text("2\n0\n1\n1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(tmp_path / "labels.txt"), "~/labels.txt"):
        assert noisy(FileNoise(path=path), torch.tensor([0, 0, 0, 0]), LETTERS).tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", None, "labels cannot be read (.*No such file.*); give an .npy file or text, an integer a line"),
        ("labels.npy", None, "labels cannot be read (.*No such file.*"),
        ("labels.txt", b"0\n1.7\n2\n", "labels cannot be read (.*'1.7'.*"),
        ("labels.txt", b"0\nx\n2\n", "labels cannot be read (.*'x'.*"),
        ("labels.txt", b"\xff\xfe\n", "labels cannot be read (.*"),
        ("labels.txt", b"0\n1\n99999999999999999999\n", "labels cannot be read (.*"),
        ("labels.npy", b"", "labels cannot be read (.*"),
        ("labels.npy", b"0\n1\n2\n", "labels cannot be read (.*"),
        ("labels.npy", [0, 1, None], "labels cannot be read (Object arrays cannot be loaded.*"),
        ("labels.txt", b"", "holds int64 of shape (0,); it needs an integer for each of the dataset's 3 training.*"),
        ("labels.txt", b"0\n1\n", "holds int64 of shape (2,); it needs an integer.*"),
        ("labels.npy", [[0, 1, 2]], "holds int64 of shape (1, 3); it needs.*"),
        ("labels.npy", [0.0, 1.0, 2.0], "holds float64 of shape (3,); it needs.*"),
        ("labels.npy", [True, False, True], "holds bool of shape (3,); it needs.*"),
        ("labels.npy", [0, 1, 3], "labels go from 0 to 3; they must be 0 to 2"),
        ("labels.txt", b"0\n1\n-1\n", "labels go from -1 to 1; they must be 0 to 2"),
    ],
)  # fmt: skip
def test_files_that_hold_something_else_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, np.array(content, dtype=object if None in content else None))
    pattern = re.escape(message).replace(re.escape(".*"), ".*")
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: {pattern}$"):
        noisy(FileNoise(path=str(path)), torch.tensor([0, 1, 2]), LETTERS)


def test_a_damaged_array_and_an_archive_of_arrays_are_refused(tmp_path):
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(3))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="labels cannot be read"):
        noisy(FileNoise(path=str(path)), torch.tensor([0, 1, 2]), LETTERS)
    with path.open("wb") as file:
        np.savez(file, labels=np.arange(3))
    with pytest.raises(DataError, match="labels cannot be read"):
        noisy(FileNoise(path=str(path)), torch.tensor([0, 1, 2]), LETTERS)
