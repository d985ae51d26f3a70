"""What a process has but one of, and results or their place depend on: whoever imports foreign code puts it back."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """Something of the whole process that can be read and set; ``key``: what two equal values have in common."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]
    key: Callable[[Any], object] = lambda value: value


@contextlib.contextmanager
def surroundings_restored() -> Iterator[list[str]]:
    """Put back at the end what the block changes, and yield a list that then has the names of that.

    These are the current folder, the objects behind Python's standard streams, and what torch does where nothing else
    is said. The global random states are put back as well, and not named: sound libraries move them, too. Imports
    torch, which every component needs, for its settings must be known before the block.
    """
    changed: list[str] = []
    settings = _settings()
    before = [(setting, setting.get()) for setting in (*random_states(), *settings)]
    try:
        yield changed
    finally:
        for setting, value in before:
            if setting.key(setting.get()) != setting.key(value):
                changed += [setting.name] if setting in settings else []
                setting.put(value)


@functools.cache
def _settings() -> tuple[Setting, ...]:
    import torch

    return (
        *(_stream(name) for name in ("stdin", "stdout", "stderr")),
        Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's default device", torch.get_default_device, _put_device),
        Setting("whether torch has gradients", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting("torch's deterministic algorithms", _deterministic, _put_deterministic),
        Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("the current folder", _folder, _put_folder),  # the last to be put back: it may be gone
    )


@functools.cache
def random_states() -> tuple[Setting, ...]:
    """Return the global random states of torch on the CPU, of NumPy and of Python."""
    import numpy as np
    import torch

    return (
        Setting("torch", torch.get_rng_state, torch.set_rng_state, _plain),
        Setting("numpy.random", lambda: np.random.get_state(legacy=False), np.random.set_state, _plain),
        Setting("random", random.getstate, random.setstate),
    )


def _plain(value: Any) -> object:
    """Return what compares of arrays and tensors, alone or in mappings."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _stream(name: str) -> Setting:
    return Setting(f"sys.{name}", lambda: getattr(sys, name, None), lambda stream: setattr(sys, name, stream), id)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed: there is nothing to go back to
        return None


def _put_folder(path: str | None) -> None:
    if path is not None:
        os.chdir(path)


def _put_device(device: Any) -> None:
    import torch

    torch.set_default_device(None if device.type == "cpu" else device)  # with one of its own, every call is slower


def _deterministic() -> tuple[bool, bool]:
    import torch

    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put_deterministic(modes: tuple[bool, bool]) -> None:
    import torch

    torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
