"""What expressions a search may make: functions, types and sizes, and the numbers that stand for them in a solution.

Types as in D. J. Montana, "Strongly typed genetic programming", Evolutionary Computation 3, 1995.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lossforge.component import Options
from lossforge_gp.functions import FUNCTIONS, SETS, FunctionName

P, Y, CONSTANT = 0, 1, 2
"""Codes of the terminals: the probability of a class, whether it is the label (1 or 0), and a number."""

FIRST_FUNCTION = 3
"""Code of the first of FUNCTIONS; the others follow."""

NUM_CODES = FIRST_FUNCTION + len(FUNCTIONS)

ARITIES = (0, 0, 0, *(function.arity for function in FUNCTIONS))
"""Arguments by code."""

CODE_OF = {function.name: FIRST_FUNCTION + index for index, function in enumerate(FUNCTIONS)}


class Grammar(Options):
    """The expressions that a search may make; parameterization and mutation must have the same."""

    functions: Literal["evomal", "autoloss_zero", "glo"] | tuple[FunctionName, ...] = Field(
        default="evomal", description="the functions: the set of a source, or their names"
    )
    max_nodes: int = Field(default=20, ge=3, le=256, description="N, most nodes of an expression")
    max_depth: int = Field(default=6, ge=1, le=256, description="most functions from the root down to a terminal")

    @model_validator(mode="after")
    def _p_and_y_can_meet(self) -> Self:
        if isinstance(self.functions, tuple) and len(set(self.functions)) < len(self.functions):
            raise ValueError("functions: the same one stands here twice; give each once")
        if not any(ARITIES[code] == 2 for code in self.function_codes):
            raise ValueError("functions: none takes two arguments, so that p and y never meet; add one, such as mul")
        return self

    @property
    def function_codes(self) -> tuple[int, ...]:
        """The codes of the functions allowed."""
        names = SETS[self.functions] if isinstance(self.functions, str) else self.functions
        return tuple(CODE_OF[name] for name in names)

    @property
    def num_parameters(self) -> int:
        """D = 2 N: a code and a number a node."""
        return 2 * self.max_nodes


def is_allowed(code: int, constant: float, nonnegative: bool) -> bool:
    """Return whether a node may stand where a number that is not negative is asked for, if that is asked for."""
    if not nonnegative:
        return True
    if code == CONSTANT:
        return constant >= 0
    return code < FIRST_FUNCTION or FUNCTIONS[code - FIRST_FUNCTION].may_be_nonnegative


def asked_of_arguments(code: int, nonnegative: bool) -> tuple[bool, ...]:
    """Return of each argument whether it must not be negative, given what is asked of the node itself."""
    if code < FIRST_FUNCTION:
        return ()
    wants = FUNCTIONS[code - FIRST_FUNCTION].wants
    return tuple(nonnegative if want == "same" else want == "nonnegative" for want in wants)
