"""Named random streams: a generator is a pure function of (seed, stream name, index).

Generators are derived afresh where they are needed and never saved, so a resumed run draws what the uninterrupted one
would have drawn, and two streams never share numbers.
"""

from __future__ import annotations

import hashlib

import torch


def derive_generator(seed: int, stream: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of a named stream.

    Args:
        seed: seed of the run.
        stream: name of the purpose, such as ``"sampler"``.
        index: position in the stream, such as the generation.
        device: device the generator draws on.
    """
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    # 63 bits: torch takes seeds as signed 64-bit integers.
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def split_generator(generator: torch.Generator, num: int) -> tuple[torch.Generator, ...]:
    """Return ``num`` generators seeded by draws from one, on its device.

    For a component that contains others: what one part draws then moves no other part's numbers.
    """
    seeds = torch.randint(2**63 - 1, (num,), generator=generator, device=generator.device)
    return tuple(torch.Generator(device=generator.device).manual_seed(seed) for seed in seeds.tolist())
