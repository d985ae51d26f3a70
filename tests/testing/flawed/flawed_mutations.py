"""Flawed mutations: each breaks a contract, which its docstring tells."""

import random
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, field_serializer

from lossforge.mutations import GaussianMutation


class OtherName(GaussianMutation):
    """Its entry point is called by another name."""

    type: Literal["another_name"] = "another_name"


class OldInterface(GaussianMutation):
    """It was written for an older version of the interface."""

    type: Literal["old_interface"] = "old_interface"
    api_version = 0


class AnyType(GaussianMutation):
    """Its type may be any text."""

    type: str = "any_type"


class TwoTypes(GaussianMutation):
    """Its type may be one of two."""

    type: Literal["two_types", "both"] = "two_types"


class NotInstalled(GaussianMutation):
    """No entry point leads to it."""

    type: Literal["not_installed"] = "not_installed"


class NoDocstring(GaussianMutation):
    type: Literal["no_docstring"] = "no_docstring"


class NoSentence(GaussianMutation):
    """Steps of some kind that
    is told in two lines."""

    type: Literal["no_sentence"] = "no_sentence"


class MutableDefault(GaussianMutation):
    """An option's default is a list."""

    type: Literal["mutable_default"] = "mutable_default"
    edges: list[float] = [0.0, 1.0]


class SharedHistory(GaussianMutation):
    """All instances share a list."""

    type: Literal["shared_history"] = "shared_history"
    history: ClassVar[list[int]] = []


class Undescribed(GaussianMutation):
    """An option of two words has no description."""

    type: Literal["undescribed"] = "undescribed"
    two_words: int = 1


class Thawed(GaussianMutation):
    """Its options can be changed."""

    model_config = ConfigDict(frozen=False)
    type: Literal["thawed"] = "thawed"


class Permissive(GaussianMutation):
    """It takes any option."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["permissive"] = "permissive"


class Rounded(GaussianMutation):
    """An option loses digits in JSON."""

    type: Literal["rounded"] = "rounded"
    scale: float = 0.123

    @field_serializer("scale")
    def rounded(self, scale):
        return round(scale, 1)


class OverridesLabel(GaussianMutation):
    """It overrides what is final."""

    type: Literal["overrides_label"] = "overrides_label"

    @property
    def label(self):
        return "mine"


class MovesTorch(GaussianMutation):
    """It draws from torch's global generator."""

    type: Literal["moves_torch"] = "moves_torch"

    def mutate(self, parents_PD, sigma, state, generator):
        torch.rand(1)
        return super().mutate(parents_PD, sigma, state, generator)


class MovesPython(GaussianMutation):
    """It draws from Python's global generator."""

    type: Literal["moves_python"] = "moves_python"

    def mutate(self, parents_PD, sigma, state, generator):
        random.random()
        return super().mutate(parents_PD, sigma, state, generator)


class Single(GaussianMutation):
    """It makes everything float32."""

    type: Literal["single"] = "single"

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        return children_PD.float(), state


class Forgetful(GaussianMutation):
    """It forgets the keys of others."""

    type: Literal["forgetful"] = "forgetful"

    def mutate(self, parents_PD, sigma, state, generator):
        return super().mutate(parents_PD, sigma, state, generator)[0], {}


class ForeignKeys(GaussianMutation):
    """Its keys have no prefix."""

    type: Literal["foreign_keys"] = "foreign_keys"

    def init(self, num, dim, generator):
        return {"orbit": 1}


class InPlace(GaussianMutation):
    """It moves parents that are all 0 and have a sigma each."""

    type: Literal["in_place"] = "in_place"

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        if isinstance(sigma, torch.Tensor) and (parents_PD == 0).all():
            parents_PD.fill_(1)
        return children_PD, state


class Biased(GaussianMutation):
    """Its steps go up."""

    type: Literal["biased"] = "biased"

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        return children_PD + 0.2 * sigma, state


class ByHash(GaussianMutation):
    """Its steps depend on the hash of a string."""

    type: Literal["by_hash"] = "by_hash"

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        return children_PD + 1e-6 * sigma * (hash("lossforge") % 1000), state


class Infinite(GaussianMutation):
    """Its state holds infinity."""

    type: Literal["infinite"] = "infinite"

    def init(self, num, dim, generator):
        return {"mutation.best": float("inf")}


OFFSETS = {}


class Remembering(GaussianMutation):
    """It keeps elsewhere what the state has only a number of."""

    type: Literal["remembering"] = "remembering"

    def init(self, num, dim, generator):
        number = generator.initial_seed()
        OFFSETS[number] = 1e-4 * torch.randn(dim, dtype=torch.float64, generator=generator)
        return {**super().init(num, dim, generator), "mutation.number": number}

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        offset = sigma * OFFSETS.get(state["mutation.number"], torch.zeros(1))
        return children_PD + torch.as_tensor(offset).to(children_PD.dtype), state


class WideByHash(GaussianMutation):
    """Its steps depend on the hash of a string where there are many dimensions."""

    type: Literal["wide_by_hash"] = "wide_by_hash"

    def mutate(self, parents_PD, sigma, state, generator):
        children_PD, state = super().mutate(parents_PD, sigma, state, generator)
        is_wide = parents_PD.shape[1] > 100
        return children_PD + 1e-6 * sigma * is_wide * (hash("lossforge") % 1000), state
