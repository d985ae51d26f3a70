"""Checkpoints: exact, complete or absent, the two newest kept."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
import torch

from lossforge.errors import SearchError
from lossforge.search import checkpoint
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint

STATE = {
    "strategy.parents": torch.tensor([[1.5, -0.0], [math.pi, 1e-40]]),
    "mutation.orbit": torch.tensor([0.1, 1 / 3], dtype=torch.float64),
    "mutation.reseeded": torch.tensor(7),
    "search.generation_bests": torch.empty(0, 2),
    "search.generation": 3,
    "strategy.sigma": 0.3 * 0.98**3,
}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save_checkpoint(tmp_path, 3, STATE)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state.keys() == STATE.keys()
    for key, value in STATE.items():
        assert type(state[key]) is type(value)
        if isinstance(value, torch.Tensor):
            assert state[key].dtype == value.dtype
            assert state[key].shape == value.shape
            assert torch.equal(state[key], value)
            assert torch.equal(state[key].signbit(), value.signbit())
        else:
            assert state[key] == value


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "absent") is None


def test_folders_are_made_as_needed(tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoint", 0, {"search.generation": 0})
    assert load_checkpoint(tmp_path / "run" / "checkpoint") == {"search.generation": 0}


def test_the_two_newest_are_kept_and_the_newest_is_read(tmp_path):
    for generation in (2, 9, 10, 100):
        save_checkpoint(tmp_path, generation, {"search.generation": generation})
    assert names(tmp_path) == ["00000010", "00000100"]
    assert load_checkpoint(tmp_path) == {"search.generation": 100}


def test_one_that_exists_is_left_as_it_is(tmp_path):
    save_checkpoint(tmp_path, 4, {"search.generation": 4})
    before = (tmp_path / "00000004" / "state.json").stat().st_ino
    save_checkpoint(tmp_path, 4, {"search.generation": 4})
    assert (tmp_path / "00000004" / "state.json").stat().st_ino == before


def test_tensors_that_share_memory_are_stored(tmp_path):
    """As before generation 0, where the parents are the last population."""
    solutions = torch.arange(6.0).reshape(3, 2)
    state = {"parents": solutions, "last": solutions, "bests": solutions[:0], "column": solutions[:, 1]}
    save_checkpoint(tmp_path, 0, state)
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert all(torch.equal(restored[key], value) for key, value in state.items())


def test_tensors_that_need_gradients_are_stored_without(tmp_path):
    save_checkpoint(tmp_path, 0, {"x": torch.ones(2, requires_grad=True)})
    restored = load_checkpoint(tmp_path)
    assert restored is not None
    assert restored["x"].tolist() == [1.0, 1.0]
    assert not restored["x"].requires_grad


def test_scalars_must_be_finite(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(tmp_path, 0, {"x": math.nan})
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize("step", ["write_synced", "sync"])
def test_a_write_cut_short_leaves_the_older_checkpoint(tmp_path, monkeypatch, step):
    """Whatever is interrupted, a complete checkpoint is read, and saving works again afterwards."""
    save_checkpoint(tmp_path, 1, {"search.generation": 1, "x": torch.zeros(2)})

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, 2, {"search.generation": 2, "x": torch.ones(2)})
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["x"].tolist() == [float(state["search.generation"] - 1)] * 2

    save_checkpoint(tmp_path, 2, {"search.generation": 2, "x": torch.ones(2)})
    assert names(tmp_path) == ["00000001", "00000002"]
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["x"].tolist() == [1.0, 1.0]


def test_what_a_killed_process_left_behind_is_ignored_and_cleared(tmp_path):
    for generation in (1, 2):
        left = tmp_path / f".0000000{generation}.tmp"
        left.mkdir()
        (left / "state.json").write_text("{")
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 2, {"search.generation": 2})
    assert load_checkpoint(tmp_path) == {"search.generation": 2}
    assert names(tmp_path) == ["00000002"]


def test_files_beside_the_checkpoints_do_no_harm(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "1234").write_text("a file, not a folder")
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 1, {"search.generation": 1})
    assert load_checkpoint(tmp_path) == {"search.generation": 1}
    assert (tmp_path / "notes.txt").exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped_at(content: bytes, place: int, bit: int = 1) -> bytes:
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def flipped(content: bytes) -> bytes:
    """One bit of a number, which still parses."""
    return flipped_at(content, content.rindex(b"1") if b"1" in content else len(content) - 1)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", [cut, emptied, flipped])
class TestDamage:
    def test_the_one_before_is_used_and_it_is_said(self, tmp_path, name, damage, caplog):
        for number in (1, 2):
            save_checkpoint(tmp_path, number, {"search.generation": number, "strategy.parents": torch.ones(2)})
        damaged = tmp_path / "00000002" / name
        damaged.write_bytes(damage(damaged.read_bytes()))
        state = load_checkpoint(tmp_path)
        assert state is not None
        assert state["search.generation"] == 1
        (warning,) = [record.getMessage() for record in caplog.records]
        assert warning.startswith(f"{tmp_path / '00000002'}: the checkpoint is damaged (")
        assert warning.endswith("); it is now damaged-00000002; going on from 00000001, the one before")
        assert names(tmp_path) == ["00000001", "damaged-00000002"]

    def test_its_number_can_be_saved_again(self, tmp_path, name, damage):
        save_checkpoint(tmp_path, 2, {"search.generation": 2, "strategy.parents": torch.ones(2)})
        damaged = tmp_path / "00000002" / name
        damaged.write_bytes(damage(damaged.read_bytes()))
        assert load_checkpoint(tmp_path) is None
        save_checkpoint(tmp_path, 2, {"search.generation": 2, "strategy.parents": torch.zeros(2)})
        state = load_checkpoint(tmp_path)
        assert state is not None
        assert torch.equal(state["strategy.parents"], torch.zeros(2))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_no_flipped_bit_goes_unnoticed(tmp_path, name, caplog):
    """In any byte of either file, a bit of each: the checkpoint is set aside, and never read as something else."""
    save_checkpoint(tmp_path, 1, {"search.generation": 12, "strategy.sigma": 0.25, "strategy.parents": torch.ones(2)})
    whole, aside = tmp_path / "00000001", tmp_path / "damaged-00000001"
    content = (whole / name).read_bytes()
    for place in range(len(content)):
        (whole / name).write_bytes(flipped_at(content, place, bit=1 << place % 8))
        assert load_checkpoint(tmp_path) is None, f"byte {place} of {len(content)}"
        aside.rename(whole)
    assert len(caplog.records) == len(content)
    (whole / name).write_bytes(content)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["search.generation"] == 12


def test_both_damaged_is_none_and_both_are_kept(tmp_path, caplog):
    for number in (1, 2):
        save_checkpoint(tmp_path, number, {"search.generation": number})
        (tmp_path / f"{number:08d}" / "state.json").write_bytes(b"{}")
    assert load_checkpoint(tmp_path) is None
    assert names(tmp_path) == ["damaged-00000001", "damaged-00000002"]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith("going on from 00000001, the one before")
    assert second.endswith("it is now damaged-00000001; there is none before it")


def test_damaged_twice_the_later_one_is_kept(tmp_path):
    for sigma in (0.1, 0.2):
        save_checkpoint(tmp_path, 1, {"strategy.sigma": sigma})
        path = tmp_path / "00000001" / "state.json"
        path.write_bytes(path.read_bytes().replace(b"digest", b"DIGEST"))
        assert load_checkpoint(tmp_path) is None
    assert names(tmp_path) == ["damaged-00000001"]
    assert b"0.2" in (tmp_path / "damaged-00000001" / "state.json").read_bytes()


def test_a_file_that_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    """Nothing is set aside for what another try, or another user, could read."""
    save_checkpoint(tmp_path, 1, {"search.generation": 1})

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(PermissionError):
            load_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path) == {"search.generation": 1}


def test_a_missing_file_counts_as_damage(tmp_path):
    for number in (1, 2):
        save_checkpoint(tmp_path, number, {"search.generation": number})
    (tmp_path / "00000002" / "state.safetensors").unlink()
    assert load_checkpoint(tmp_path) == {"search.generation": 1}


def test_one_of_another_format_is_refused_and_left_alone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT_VERSION", 9)
        save_checkpoint(tmp_path, 1, {"search.generation": 1})
    with pytest.raises(SearchError, match=r"00000001: format_version 9, this lossforge reads 1; .* manifest\.json"):
        load_checkpoint(tmp_path)
    assert names(tmp_path) == ["00000001"]
