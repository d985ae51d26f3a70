"""The mixture in a sampler, wherever it is, and the sampler with other shares of it."""

from __future__ import annotations

from collections.abc import Mapping

from lossforge import registry
from lossforge.interfaces import MixedSampler, SyntheticSampler
from lossforge.regimes import RegimeBounds


def mixture_in(sampler: SyntheticSampler) -> MixedSampler | None:
    """Return the outermost mixture of a sampler: itself, or one that it contains; None: there is none."""
    return next((each for each in sampler.within() if isinstance(each, MixedSampler)), None)


def with_shares(sampler: SyntheticSampler, shares: Mapping[str, float]) -> SyntheticSampler:
    """Return a sampler whose outermost mixture has other shares, all else being as it was."""
    if isinstance(sampler, MixedSampler):
        return sampler.with_shares(shares)
    for name, value in sampler:
        if isinstance(value, SyntheticSampler) and mixture_in(value) is not None:
            return sampler.model_copy(update={name: with_shares(value, shares)})
    raise ValueError(f"there is no mixture in the sampler {sampler.type!r}")


def bounds_of(sampler: SyntheticSampler) -> RegimeBounds:
    """Return where regimes end: as its mixture says, or the usual one where there is none."""
    mixture = mixture_in(sampler)
    if mixture is None:
        usual = registry.get("samplers", "mixture")(type="mixture")
        assert isinstance(usual, MixedSampler)
        mixture = usual
    return mixture.bounds
