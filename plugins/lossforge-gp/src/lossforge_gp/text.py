"""Expressions read from the notation that they are printed in, without ``eval``."""

from __future__ import annotations

import re

from lossforge.errors import SpecError
from lossforge_gp.grammar import ARITIES, CODE_OF, CONSTANT, P, Y
from lossforge_gp.tree import Node, Tree

_TOKEN = re.compile(r"\s*([a-z]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[(),])")


def parsed(text: str) -> Tree:
    """Return the expression that a text such as ``mul(-1, mul(y, log(p)))`` stands for.

    Raises:
        SpecError: it stands for none; the message says where reading ended.
    """
    reader = _Reader(text)
    nodes = reader.expression()
    if reader.text[reader.place :].strip():
        reader.refuse("the end")
    return Tree(tuple(nodes))


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def expression(self) -> list[Node]:
        token = self._next("an expression")
        if token in ("p", "y"):
            return [(P if token == "p" else Y, 0.0)]
        if token in CODE_OF:
            code = CODE_OF[token]
            nodes: list[Node] = [(code, 0.0)]
            for index in range(ARITIES[code]):
                self._expect("(" if index == 0 else ",")
                nodes += self.expression()
            self._expect(")")
            return nodes
        if token in "()," or token.isalpha():
            self.refuse(f"p, y, a number or one of {', '.join(CODE_OF)}")
        return [(CONSTANT, float(token))]

    def refuse(self, wanted: str) -> None:
        raise SpecError([f"{self.text!r}: expected {wanted} before {self.text[self.place :]!r}"])

    def _next(self, wanted: str) -> str:
        match = _TOKEN.match(self.text, self.place)
        if match is None:
            raise SpecError([f"{self.text!r}: expected {wanted} at {self.text[self.place :]!r}"])
        self.place = match.end()
        return match[1]

    def _expect(self, token: str) -> None:
        if self._next(repr(token)) != token:
            self.refuse(repr(token))
