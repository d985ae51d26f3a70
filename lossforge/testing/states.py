"""States in checks: compared bit for bit, copied, and taken through the format of a checkpoint."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from lossforge.types import State

REMEMBERED = "the state was sent there: whatever the next step needs belongs into the state"


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether type, shape and bytes agree; NaN is equal to itself."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return to_bytes(first) == to_bytes(second)


def to_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor's values, row by row."""
    values = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return values.reshape(-1).view(torch.uint8).numpy().tobytes()


def different_keys(first: State, second: State) -> list[str]:
    """Return the keys that only one of the states has, or whose values differ in a bit."""
    return sorted(key for key in first.keys() | second.keys() if not _same(first.get(key), second.get(key)))


def copy_of(state: State) -> State:
    """Return a state with tensors of its own."""
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}


def through_a_checkpoint(state: State, device: torch.device | str = "cpu") -> State:
    """Return the state as it comes back from a checkpoint: tensors through safetensors, finite scalars through JSON."""
    assert isinstance(state, Mapping), f"a state is a mapping, got {type(state).__name__}"
    for key, value in state.items():
        assert isinstance(key, str), f"keys of a state are strings, got {key!r}"
        assert isinstance(value, Tensor | int | float), (
            f"state[{key!r}] is a {type(value).__name__}; a checkpoint stores tensors, and int or float as JSON"
        )
        assert isinstance(value, Tensor) or math.isfinite(value), f"state[{key!r}] is {value}; JSON has no such number"
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    scalars = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
    restored = {key: value.to(device) for key, value in load(save(tensors)).items()}
    return {**restored, **json.loads(json.dumps(scalars, allow_nan=False))}


def to_text(state: State) -> dict[str, object]:
    """Return a state as JSON, to be sent to a fresh process: tensors as safetensors in base64."""
    state = through_a_checkpoint(state)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    scalars = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
    return {"tensors": base64.b64encode(save(tensors)).decode(), "scalars": scalars}


def from_text(text: Mapping[str, Any]) -> State:
    """Return the state of :func:`to_text`."""
    return {**load(base64.b64decode(text["tensors"])), **text["scalars"]}


def assert_near(found: Tensor, expected: Tensor, complaint: str, *, rtol: float, atol: float) -> None:
    """Fail with the complaint if two tensors are further apart than rounding explains."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda text: f"{complaint}\n{text}")


def num_distinct(rows_PD: Tensor) -> int:
    """Return how many rows differ in a bit."""
    return len({to_bytes(row) for row in rows_PD})


def is_finite(state: State) -> bool:
    """Return whether every number in the state is finite."""
    return all(bool(torch.as_tensor(value).isfinite().all()) for value in state.values())


def _same(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return same_bits(first, second)
    return type(first) is type(second) and first == second
