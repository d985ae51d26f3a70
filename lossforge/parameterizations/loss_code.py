"""A fixed loss as the code of a small class that needs torch alone."""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
import math
import textwrap
from collections.abc import Iterator
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossforge.interfaces import LocalLoss, Loss

GIVEN = {"torch": torch, "Tensor": Tensor, "F": F, "nn": nn, "math": math}
"""Names that may be used, and what they stand for; all but ``math`` are imported around ``class Network``."""


def entry(loss: Loss) -> str:
    """Return the method that is the loss: of log p_y for a local one, of logits and labels for any other."""
    return "of_log_prob" if isinstance(loss, LocalLoss) else "per_sample"


def class_code(loss: Loss, name: str) -> str:
    """Return the code of ``class <name>``: the options as attributes, and the methods that the loss consists of.

    Raises:
        ValueError: the code cannot stand alone; the message says why.
    """
    options = {key: value for key, value in loss if key != "type"}
    for key, value in options.items():
        if not _is_plain(value):
            raise ValueError(f"{_whose(loss)}: option {key!r} is not a plain value, so its code cannot stand alone")
    methods = "\n".join(textwrap.indent(code, "    ") for code in _methods(loss, options))
    attributes = "".join(f"    {key} = {value!r}\n" for key, value in options.items())
    # In the form of a literal: a string among the options must not end the comment.
    return f"class {name}:\n    # {loss.label!r}\n{attributes}\n{methods}"


def imports_of(code: str) -> list[str]:
    """Return the import that code needs beside those around ``class Network``, if it does."""
    return ["import math"] if "math" in _global_names(code) else []


def _methods(loss: Loss, options: dict[str, Any]) -> Iterator[str]:
    """Yield the code of the entry method and of every method it calls."""
    pending, done = [entry(loss)], set[str]()
    while pending:
        method = pending.pop(0)
        if method in done:
            continue
        done.add(method)
        code = _source(loss, method)
        scope = getattr(type(loss), method).__globals__
        foreign = {
            name
            for name in _global_names(code) - (vars(builtins).keys() - {"super"})
            if name not in GIVEN or scope.get(name) is not GIVEN[name]
        }
        if foreign:
            raise ValueError(
                f"{_whose(loss)}: {method} uses {', '.join(sorted(foreign))}, so its code cannot stand alone; it may "
                "use its arguments, its options, its other methods, and torch, Tensor, F, nn and math"
            )
        if not isinstance(inspect.getattr_static(type(loss), method), staticmethod):
            pending += sorted(_own_attributes(code) - options.keys())
        yield code


def _source(loss: Loss, method: str) -> str:
    """Return the dedented source of a method."""
    function = getattr(type(loss), method, None)
    if not inspect.isfunction(function):
        raise ValueError(
            f"{_whose(loss)}: {method!r} is neither an option nor a method, so its code cannot stand alone"
        )
    try:
        code = textwrap.dedent(inspect.getsource(function))
        (definition,) = ast.parse(code).body
    except (OSError, SyntaxError) as cause:
        raise ValueError(f"{_whose(loss)}: the source of {method} cannot be read; define it in a file") from cause
    if not (isinstance(definition, ast.FunctionDef) and definition.name == method):
        raise ValueError(
            f"{_whose(loss)}: {method} must be defined by 'def {method}', so that its code can stand alone"
        )
    return code


def _global_names(code: str) -> set[str]:
    """Return the names that the code looks up outside, and the modules it imports, but for annotations."""
    flags = __future__.annotations.compiler_flag
    return set(_looked_up(compile(code, "loss", "exec", flags=flags, dont_inherit=True)))


def _looked_up(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
        elif instruction.opname == "IMPORT_NAME":
            yield instruction.argval.partition(".")[0]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _looked_up(constant)


def _own_attributes(code: str) -> set[str]:
    """Return what is read of the first argument, ``self``."""
    tree = ast.parse(code)
    own = next(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == own
    }


def _is_plain(value: object) -> bool:
    """Return whether a value can be written as a Python literal."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _whose(loss: Loss) -> str:
    return f"loss {loss.type!r}"
