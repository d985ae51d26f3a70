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
class ProcessSetting:
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
            found = setting.get()
            if setting.key(found) != setting.key(value):
                _keep(found)
                changed += [setting.name] if setting in settings else []
                setting.put(value)


_KEPT: list[object] = []
"""A text stream that wraps the one before closes it as it is collected."""


def _keep(found: object) -> None:
    """Keep a stream that is taken out, and have it write what it has not written."""
    if hasattr(found, "flush"):
        _KEPT.append(found)
        with contextlib.suppress(OSError, ValueError):
            found.flush()


@functools.cache
def _settings() -> tuple[ProcessSetting, ...]:
    import torch

    return (
        *(_stream(name) for name in ("stdin", "stdout", "stderr")),
        ProcessSetting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        ProcessSetting("torch's default device", torch.get_default_device, _put_device),
        ProcessSetting("whether torch has gradients", torch.is_grad_enabled, torch.set_grad_enabled),
        ProcessSetting("torch's deterministic algorithms", _deterministic, _put_deterministic),
        ProcessSetting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        ProcessSetting("the current folder", _folder, _put_folder),  # the last to be put back: it may be gone
    )


@functools.cache
def random_states() -> tuple[ProcessSetting, ...]:
    """Return the global random states of torch on the CPU, of NumPy and of Python."""
    import numpy as np
    import torch

    return (
        ProcessSetting("torch", torch.get_rng_state, torch.set_rng_state, _plain),
        ProcessSetting("numpy.random", lambda: np.random.get_state(legacy=False), np.random.set_state, _plain),
        ProcessSetting("random", random.getstate, random.setstate),
    )


def _plain(value: Any) -> object:
    """Return what compares of arrays and tensors, alone or in mappings."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _stream(name: str) -> ProcessSetting:
    return ProcessSetting(
        f"sys.{name}", lambda: getattr(sys, name, None), lambda stream: setattr(sys, name, stream), id
    )


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
