"""Trees: their text, their types, their vectors, and how they are grown."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from lossforge.errors import SpecError
from lossforge_gp.draws import Draws
from lossforge_gp.equivalence import values
from lossforge_gp.functions import FUNCTIONS
from lossforge_gp.grammar import CODE_OF, NUM_CODES, Grammar
from lossforge_gp.growth import grown, half_and_half
from lossforge_gp.text import parsed
from lossforge_gp.tree import decoded, encoded

SETS = ("evomal", "autoloss_zero", "glo")


def draws(seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


def trees(grammar: Grammar, num: int, nonnegative: bool = False):
    source = draws()
    return [half_and_half(grammar, 0, 5, nonnegative, source) for _ in range(num)]


class TestText:
    def test_what_is_printed_is_read_again(self):
        for functions in SETS:
            for tree in trees(Grammar(functions=functions), 200):
                assert parsed(str(tree)) == tree
        assert str(parsed(" mul( -1.50,mul(y , log(p)))")) == "mul(-1.5, mul(y, log(p)))"

    @pytest.mark.parametrize("text", ["", "mul(p)", "mul(p, y, y)", "log(p", "p p", "cos(p)", "x", "p)", "--1", "(p)"])
    def test_what_is_no_expression_is_refused_with_the_place(self, text):
        with pytest.raises(SpecError, match="expected"):
            parsed(text)


class TestVectors:
    def test_encoding_and_decoding_is_a_round_trip(self):
        grammar = Grammar(max_nodes=63)
        found = trees(grammar, 300)
        solutions_PD = encoded(found, grammar.max_nodes)
        assert solutions_PD.shape == (300, grammar.num_parameters)
        assert solutions_PD.dtype == torch.float32
        assert decoded(solutions_PD) == found
        assert torch.equal(encoded(decoded(solutions_PD), grammar.max_nodes), solutions_PD)

    def test_one_that_is_too_long_is_refused(self):
        with pytest.raises(ValueError, match="5 nodes does not fit 4"):
            encoded([parsed("mul(p, mul(y, p))")], 4)

    def test_every_vector_stands_for_an_expression(self):
        """Codes are rounded and bounded, what is too many ignored, what is missing p; constants count alone."""
        codes = [[CODE_OF["mul"] + 0.4, -3.0, 999.0], [2.3, 7.0, 7.0], [CODE_OF["sub"], CODE_OF["sub"], CODE_OF["sub"]]]
        numbers = [[9.0, 9.0, 9.0], [0.25, 9.0, 9.0], [0.0, 0.0, 0.0]]
        solutions_PD = torch.cat((torch.tensor(codes), torch.tensor(numbers)), dim=1)
        assert [str(tree) for tree in decoded(solutions_PD)] == [
            "mul(p, tanh(p))",
            "0.25",
            "sub(sub(sub(p, p), p), p)",
        ]

    def test_codes_are_for_ever(self):
        """Stored losses are read by them: a new function gets the next one."""
        names = [function.name for function in FUNCTIONS]
        assert " ".join(names) == "add sub mul div min max neg sign abs square sqrt log exp inv tanh"
        assert [CODE_OF[name] for name in names] == list(range(3, 18))
        assert NUM_CODES == 18


class TestTypes:
    @pytest.mark.parametrize(
        ("text", "is_right"),
        [
            ("log(p)", True),
            ("log(sub(p, y))", False),
            ("log(abs(sub(p, y)))", True),
            ("log(-1)", False),
            ("sqrt(mul(p, 2))", True),
            ("sqrt(mul(p, -2))", False),
            ("sqrt(square(mul(p, -2)))", True),
            ("inv(log(p))", False),
            ("inv(exp(log(p)))", True),
            ("log(div(p, -1))", True),
            ("log(div(-1, p))", False),
            ("sqrt(tanh(sqrt(add(p, y))))", True),
            ("sub(log(p), neg(-1))", True),
        ],
    )
    def test_log_sqrt_and_inv_take_what_is_not_negative(self, text, is_right):
        assert parsed(text).suits(False) == is_right

    @pytest.mark.parametrize("functions", SETS)
    def test_what_suits_a_place_for_such_numbers_is_never_negative(self, functions):
        for tree in trees(Grammar(functions=functions, max_nodes=63), 300, nonnegative=True):
            assert tree.suits(True)
            assert (values(encoded([tree], 63)[0]) >= 0).all()

    def test_places_know_their_depth_and_type(self):
        tree = parsed("sub(log(mul(p, 2)), y)")
        assert tree.places() == [(0, False), (1, False), (2, True), (3, True), (3, True), (1, False)]
        assert tree.depth == 3
        assert str(tree.subtree(2)) == "mul(p, 2)"
        assert str(tree.replaced(2, parsed("p"))) == "sub(log(p), y)"


class TestGrowth:
    def test_full_trees_are_as_deep_everywhere(self):
        grammar, source = Grammar(), draws()
        for depth in (1, 2, 3):
            for _ in range(50):
                tree = grown(grammar, depth, True, False, source)
                is_leaf = [code < 3 for code, _ in tree.nodes]
                assert {level for (level, _), leaf in zip(tree.places(), is_leaf, strict=True) if leaf} == {depth}

    def test_half_and_half_has_all_depths_functions_and_terminals(self):
        found = trees(Grammar(), 2000)
        assert {tree.depth for tree in found} == {0, 1, 2, 3, 4, 5}
        counts = Counter(node for tree in found for node in tree.nodes)
        assert {code for code, _ in counts} == {0, 1, 2, *Grammar().function_codes}
        assert {number for code, number in counts if code == 2} == {-1.0, 1.0}

    def test_functions_are_those_of_the_sources(self):
        assert sorted(Grammar(functions="evomal").function_codes) == [3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 17]
        names = ["add", "mul", "neg", "abs", "inv", "log", "exp", "tanh", "square", "sqrt"]
        assert set(Grammar(functions="autoloss_zero").function_codes) == {CODE_OF[name] for name in names}
        assert Grammar(functions=("mul", "log")).function_codes == (CODE_OF["mul"], CODE_OF["log"])

    @pytest.mark.parametrize(
        ("functions", "message"),
        [(("log", "neg"), "p and y never meet"), (("mul", "mul"), "twice"), ((), "never meet")],
    )
    def test_a_grammar_that_makes_no_sense_is_refused(self, functions, message):
        with pytest.raises(ValidationError, match=message):
            Grammar(functions=functions)
