"""Recorded predictions: what is read, what is drawn, and what is said when a file is not what it should be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor

from lossforge import recorded as module
from lossforge.errors import DataError
from lossforge.samplers import ReplaySampler, record_predictions

SUFFIXES = (".safetensors", ".npz")
both_formats = pytest.mark.parametrize("suffix", SUFFIXES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recorded(num: int = 40, num_classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return logits and labels."""
    return 3 * torch.randn(num, num_classes, generator=generator(9)), torch.arange(num) % num_classes


def write(path: Path, **tensors: Tensor) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        save_file(tensors, path)
    return path


@both_formats
class TestDrawing:
    def test_rows_are_recorded_ones(self, tmp_path, suffix):
        logits, labels = recorded()
        record_predictions(tmp_path / f"p{suffix}", logits, labels)
        batch = ReplaySampler(path=str(tmp_path / f"p{suffix}")).sample(500, 3, generator())
        expected = torch.log_softmax(logits.double(), dim=1).float()
        # Rows are divided by their sums once more on reading.
        row = ((batch.log_probs_BC[:, None] - expected).abs() < 1e-5).all(dim=2).int()
        assert (row.sum(dim=1) == 1).all()
        assert torch.equal(labels[row.argmax(dim=1)], batch.labels_B)
        assert batch.regime_names == ("replay",)
        assert batch.regime_B.tolist() == [0] * 500

    def test_they_are_drawn_with_replacement_and_alike(self, tmp_path, suffix):
        """Each label stands for one row here."""
        path = write(tmp_path / f"p{suffix}", logits=torch.randn(8, 8), labels=torch.arange(8))
        batch = ReplaySampler(path=str(path)).sample(4000, 8, generator())
        assert stats.chisquare(torch.bincount(batch.labels_B, minlength=8).numpy()).pvalue > 1e-3

    def test_the_generator_decides(self, tmp_path, suffix):
        path = tmp_path / f"p{suffix}"
        record_predictions(path, *recorded())
        first, again, other = (ReplaySampler(path=str(path)).sample(50, 3, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first.log_probs_BC, again.log_probs_BC)
        assert not torch.equal(first.labels_B, other.labels_B)

    @pytest.mark.parametrize("form", ["log_probs", "logits", "probs"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_forms_and_precisions(self, tmp_path, suffix, form, dtype):
        logits, labels = recorded()
        values = {
            "logits": logits,
            "log_probs": torch.log_softmax(logits, dim=1),
            "probs": torch.softmax(logits, dim=1),
        }[form]
        path = write(tmp_path / f"p{suffix}", **{form: values.to(dtype)}, labels=labels.to(torch.int32))
        batch = ReplaySampler(path=str(path)).sample(400, 3, generator())
        assert batch.log_probs_BC.dtype == torch.float32
        assert batch.labels_B.dtype == torch.int64
        total = batch.log_probs_BC.double().exp().sum(dim=1)
        torch.testing.assert_close(total, torch.ones(400, dtype=torch.float64), rtol=1e-6, atol=0)
        expected = torch.log_softmax(logits, dim=1)
        nearest = (batch.log_probs_BC[:, None] - expected).abs().amax(dim=2).amin(dim=1)
        assert nearest.max() < (0.02 if dtype == torch.float16 else 1e-5)

    def test_the_home_folder_is_found(self, tmp_path, suffix, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        record_predictions(f"~/p{suffix}", *recorded())
        assert (tmp_path / f"p{suffix}").exists()
        assert len(ReplaySampler(path=f"~/p{suffix}").sample(5, 3, generator()).labels_B) == 5

    def test_json_round_trip(self, tmp_path, suffix):
        sampler = ReplaySampler(path=f"p{suffix}")
        assert ReplaySampler.model_validate_json(sampler.model_dump_json()) == sampler


class TestRecording:
    def test_what_is_written(self, tmp_path):
        logits, labels = recorded()
        record_predictions(tmp_path / "new" / "p.safetensors", logits.requires_grad_(), labels.int())
        tensors = load_file(tmp_path / "new" / "p.safetensors")
        assert tensors.keys() == {"log_probs", "labels"}
        assert tensors["log_probs"].dtype == torch.float32
        torch.testing.assert_close(tensors["log_probs"], torch.log_softmax(logits.detach(), dim=1))
        assert torch.equal(tensors["labels"], labels)

    def test_the_same_predictions_make_the_same_bytes(self, tmp_path):
        for name in ("a.safetensors", "b.safetensors"):
            record_predictions(tmp_path / name, *recorded())
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    @pytest.mark.parametrize(
        ("name", "logits", "labels", "message"),
        [
            ("p.pt", *recorded(), r"kept in \.safetensors or \.npz files; rename or convert it"),
            ("p.npz", torch.zeros(4), torch.zeros(4, dtype=torch.int64), r"logits of shape \(4,\)"),
            ("p.npz", torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), r"labels from 0 to 3; .* must be in 0\.\.2"),
            ("p.npz", torch.full((2, 3), torch.nan), torch.tensor([0, 1]), "not finite, in 2 rows"),
        ],
    )
    def test_what_cannot_be_read_is_not_written(self, tmp_path, name, logits, labels, message):
        with pytest.raises(DataError, match=message):
            record_predictions(tmp_path / name, logits, labels)
        assert not (tmp_path / name).exists()


class TestReading:
    def test_a_file_is_read_once_and_again_when_it_changes(self, tmp_path, monkeypatch):
        reads = []
        read = module._read
        monkeypatch.setattr(module, "_read", lambda path: reads.append(path) or read(path))
        path = tmp_path / "p.npz"
        record_predictions(path, *recorded())
        sampler = ReplaySampler(path=str(path))
        before = [sampler.sample(20, 3, generator()) for _ in range(3)]
        assert len(reads) == 1
        logits, labels = recorded()
        record_predictions(path, -logits, labels)
        os.utime(path, ns=(1, 1))  # whatever the clock's resolution
        after = sampler.sample(20, 3, generator())
        assert len(reads) == 2
        assert not torch.equal(before[0].log_probs_BC, after.log_probs_BC)

    def test_a_caller_cannot_spoil_what_was_read(self, tmp_path):
        record_predictions(tmp_path / "p.npz", *recorded())
        sampler = ReplaySampler(path=str(tmp_path / "p.npz"))
        first = sampler.sample(20, 3, generator())
        kept = first.log_probs_BC.clone()
        first.log_probs_BC.zero_()
        assert torch.equal(sampler.sample(20, 3, generator()).log_probs_BC, kept)

    def test_a_pickle_is_not_executed(self, tmp_path):
        np.savez(tmp_path / "p.npz", logits=np.array([[print]], dtype=object), labels=np.zeros(1, dtype=np.int64))
        with pytest.raises(DataError, match=r"p\.npz: cannot be read as \.npz .*; record it anew"):
            ReplaySampler(path=str(tmp_path / "p.npz")).sample(5, 3, generator())


ROWS, LABELS = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])


class TestErrors:
    """Each names the file and what to do."""

    @staticmethod
    def message(path: Path, num_classes: int = 3) -> str:
        with pytest.raises(DataError) as caught:
            ReplaySampler(path=str(path)).sample(5, num_classes, generator())
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_a_missing_file(self, tmp_path):
        message = self.message(tmp_path / "none.npz")
        assert "No such file" in message
        assert "record_predictions(path, logits, labels)" in message

    def test_a_folder(self, tmp_path):
        (tmp_path / "p.npz").mkdir()
        assert "cannot be read" in self.message(tmp_path / "p.npz")

    def test_another_suffix(self, tmp_path):
        torch.save({"logits": ROWS}, tmp_path / "p.pt")
        assert "kept in .safetensors or .npz files" in self.message(tmp_path / "p.pt")

    @both_formats
    @pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 and then nothing"])
    def test_damage(self, tmp_path, suffix, content):
        path = tmp_path / f"p{suffix}"
        path.write_bytes(content)
        assert "record it anew" in self.message(path)

    @both_formats
    def test_a_file_cut_short(self, tmp_path, suffix):
        path = tmp_path / f"p{suffix}"
        record_predictions(path, *recorded())
        path.write_bytes(path.read_bytes()[:-100])
        assert "record it anew" in self.message(path)

    def test_an_array_that_is_no_archive(self, tmp_path):
        with (tmp_path / "p.npz").open("wb") as file:
            np.save(file, np.zeros((3, 3)))
        assert "record it anew" in self.message(tmp_path / "p.npz")

    def test_compressed_content_that_is_damaged(self, tmp_path):
        path = tmp_path / "p.npz"
        np.savez_compressed(path, logits=np.random.default_rng(0).random((500, 3)), labels=np.zeros(500, dtype=int))
        content = bytearray(path.read_bytes())
        content[300:900] = bytes(600)
        path.write_bytes(content)
        assert "record it anew" in self.message(path)

    def test_another_number_of_classes(self, tmp_path):
        path = write(tmp_path / "p.npz", logits=ROWS, labels=LABELS)
        assert "set search.num_classes: 3, or record others" in self.message(path, num_classes=10)

    @both_formats
    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"logits": ROWS}, "holds logits; it must hold labels and one of log_probs, logits, probs"),
            ({"labels": LABELS}, "holds labels; it must hold labels and one of"),
            ({"logits": ROWS, "probs": ROWS, "labels": LABELS}, "holds labels, logits, probs; it must hold"),
            ({"logits": ROWS[0], "labels": LABELS}, "logits of shape (3,), torch.float32; they must be (N, C)"),
            ({"logits": ROWS[:0], "labels": LABELS[:0]}, "logits of shape (0, 3)"),
            ({"logits": ROWS[:, :1], "labels": LABELS}, "logits of shape (4, 1)"),
            ({"logits": ROWS.long(), "labels": LABELS}, "torch.int64; they must be (N, C) floating point"),
            ({"logits": ROWS, "labels": LABELS[:3]}, "labels of shape (3,), torch.int64; they must be 4 class indices"),
            ({"logits": ROWS, "labels": LABELS.float()}, "torch.float32; they must be 4 class indices"),
            ({"logits": ROWS, "labels": LABELS - 1}, "labels from -1 to 1; with 3 classes they must be in 0..2"),
            ({"logits": ROWS, "labels": LABELS + 1}, "labels from 1 to 3"),
            ({"logits": ROWS / 0, "labels": LABELS}, "logits give log-probabilities that are not finite, in 4 rows"),
            ({"probs": torch.eye(3), "labels": LABELS[:3]}, "in 3 rows; record log_probs or logits, in which no class"),
            ({"probs": -ROWS - 1, "labels": LABELS}, "probs give log-probabilities that are not finite"),
            ({"probs": ROWS + 0.5, "labels": LABELS}, "rows of probs do not sum to 1 (by up to 0.5); record them as"),
            ({"log_probs": ROWS, "labels": LABELS}, "rows of log_probs do not sum to 1 (by up to 2)"),
        ],
        ids=lambda value: value[:40] if isinstance(value, str) else "-",
    )
    def test_content(self, tmp_path, suffix, tensors, message):
        tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        assert message in self.message(write(tmp_path / f"p{suffix}", **tensors))

    def test_options(self):
        for options in ({}, {"path": ""}, {"path": "p.npz", "pickle": True}):
            with pytest.raises(ValidationError):
                ReplaySampler(**options)
