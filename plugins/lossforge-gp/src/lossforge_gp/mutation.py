"""Mutation and crossover of expressions that are encoded as vectors."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge.errors import SpecError
from lossforge.interfaces import LossParameterization, SelectiveMutation
from lossforge.types import State
from lossforge_gp import moves
from lossforge_gp.crossover import crossed
from lossforge_gp.draws import Draws
from lossforge_gp.grammar import FIRST_FUNCTION, Grammar
from lossforge_gp.growth import half_and_half
from lossforge_gp.rejection import drawn_until_accepted, is_acceptable
from lossforge_gp.tree import Tree, decoded, encoded, name_of

FRESH_DEPTH = 4
"""Greatest depth of an expression that takes the place of a vector that stands for none of the grammar."""


class GPMutation(SelectiveMutation):
    """Typed mutation of expressions: each child is one change from its parent, and never the parent itself.

    The change is drawn by the shares below: a random subexpression in place of another; another function of as many
    arguments; sigma times N(0, 1) added to every constant; a part in place of the whole; a terminal in place of a
    function. A child that is not of the grammar, that is beyond 1e4, or whose gradient does not depend on the label is
    drawn again; after 600 draws its parent lives on. Sigma is the length of the constants' steps and of no other
    change: children of sigma 0 are not their parents, and steps do not have variance 1.

    A parent that is not of the grammar, as another operator may have made it, has a random expression for its child.
    """

    type: Literal["gp_mutation"] = "gp_mutation"
    grammar: Grammar = Field(default=Grammar(), description="the expressions there are, those of the parameterization")
    subtree: float = Field(default=0.4, ge=0, description="share of random subexpressions in place of others")
    point: float = Field(default=0.2, ge=0, description="share of other functions of as many arguments")
    jitter: float = Field(default=0.2, ge=0, description="share of steps of all constants")
    hoist: float = Field(default=0.1, ge=0, description="share of parts in place of the whole")
    shrink: float = Field(default=0.1, ge=0, description="share of terminals in place of functions")

    @model_validator(mode="after")
    def _something_is_changed(self) -> Self:
        if not self.subtree:
            raise ValueError("subtree must be above 0: the other changes are not possible in every expression")
        return self

    def misfit(self, parameterization: LossParameterization) -> str | None:
        """Return how the grammar differs from the family's: in the length of solutions, or in functions it lacks."""
        if parameterization.num_parameters != self.grammar.num_parameters:
            return self._other_length(parameterization.num_parameters)
        grammar = getattr(parameterization, "grammar", None)
        drawn = grammar.function_codes if isinstance(grammar, Grammar) else ()
        lacking = [name_of(code, 0.0) for code in drawn if code not in self.grammar.function_codes]
        if not lacking:
            return None
        return (
            f"grammar.functions: {', '.join(lacking)} of search.parameterization's grammar are not among these; "
            "give both the same grammar"
        )

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return the empty state; SpecError where solutions are not as long as the grammar's."""
        self._check_length(dim)
        return {}

    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent.

        Raises:
            SpecError: the parents are of another grammar.
        """
        draws = Draws(generator)
        parents = self._read(parents_PD)
        sigmas = torch.as_tensor(sigma, dtype=torch.float64).expand(len(parents), 1).flatten().tolist()
        children = drawn_until_accepted(
            lambda source: self._changed(*source, draws),
            list(zip(parents, sigmas, strict=True)),
            self.grammar,
            instead=lambda source: source[0],
        )
        return encoded(children, self.grammar.max_nodes).to(parents_PD), state

    def cross(self, first_PD: Tensor, second_PD: Tensor, generator: torch.Generator) -> Tensor:
        """Return a child of each pair: the first with a part of the second in it, and neither of them itself.

        Where 600 draws give none, the first lives on.

        Raises:
            SpecError: the parents are of another grammar.
        """
        draws = Draws(generator)
        children = drawn_until_accepted(
            lambda pair: _unless_in(pair, crossed(*pair, self.grammar, draws)),
            list(zip(self._read(first_PD), self._read(second_PD), strict=True)),
            self.grammar,
            instead=lambda pair: pair[0],
        )
        return encoded(children, self.grammar.max_nodes).to(first_PD)

    def _changed(self, tree: Tree, sigma: float, draws: Draws) -> Tree | None:
        if not is_acceptable(tree, self.grammar):
            deepest = min(FRESH_DEPTH, self.grammar.max_depth)
            return half_and_half(self.grammar, 1, deepest, False, draws)
        kind = draws.weighted((self.subtree, self.point, self.jitter, self.hoist, self.shrink))
        if kind == 0:
            child: Tree | None = moves.subtree(tree, self.grammar, draws)
        elif kind == 1:
            child = moves.point(tree, self.grammar, draws)
        elif kind == 2:
            child = moves.jitter(tree, sigma, draws)
        else:
            child = moves.hoist(tree, draws) if kind == 3 else moves.shrink(tree, draws)
        return _unless_in((tree,), child)

    def _read(self, solutions_PD: Tensor) -> list[Tree]:
        """Return the expressions that solutions stand for, if the grammar has their functions."""
        self._check_length(solutions_PD.shape[1])
        trees = decoded(solutions_PD)
        for code in {code for tree in trees for code, _ in tree.nodes if code >= FIRST_FUNCTION}:
            if code not in self.grammar.function_codes:
                raise SpecError(
                    [
                        f"search.mutation.grammar.functions: a parent has {name_of(code, 0.0)!r}, which is not among "
                        "these; give search.parameterization and search.mutation the same grammar"
                    ]
                )
        return trees

    def _check_length(self, dim: int) -> None:
        if dim != self.grammar.num_parameters:
            raise SpecError([f"search.mutation.{self._other_length(dim)}"])

    def _other_length(self, dim: int) -> str:
        return (
            f"grammar.max_nodes: {self.grammar.max_nodes} nodes are {self.grammar.num_parameters} parameters, but "
            f"search.parameterization has {dim}; give both the same grammar"
        )


def _unless_in(parents: tuple[Tree, ...], child: Tree | None) -> Tree | None:
    return None if child in parents else child
