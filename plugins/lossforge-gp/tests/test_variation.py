"""Mutation, crossover and the prior: types, sizes, rejection, and who decides."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from lossforge.errors import SearchError, SpecError
from lossforge.parameterizations import PairwiseMLP
from lossforge.spec import spec_from_text
from lossforge_gp import GPExpression, GPMutation, Grammar, decoded, encoded, equivalent, moves
from lossforge_gp.draws import Draws
from lossforge_gp.rejection import are_tame, is_acceptable, labels_matter, probed, repeats, shapes
from lossforge_gp.text import parsed

SETS = ("evomal", "autoloss_zero", "glo", ("add", "mul", "log"))
SMALL = {"max_nodes": 12, "max_depth": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_all(solutions_PD: torch.Tensor, grammar: Grammar) -> None:
    trees = decoded(solutions_PD)
    assert torch.equal(encoded(trees, grammar.max_nodes), solutions_PD)
    assert all(is_acceptable(tree, grammar) for tree in trees), "size, depth, types, p and y"
    assert {code for tree in trees for code, _ in tree.nodes} <= {0, 1, 2, *grammar.function_codes}
    assert labels_matter(probed(trees)).all()


@pytest.mark.parametrize("functions", SETS, ids=str)
def test_all_offspring_of_many_generations_are_of_the_grammar(functions):
    """Thousands of draws of the prior, of mutations of mutations, and of crossings."""
    grammar = Grammar(functions=functions, **SMALL)
    operator, source = GPMutation(grammar=grammar), generator()
    solutions_PD = GPExpression(grammar=grammar).init(150, source)
    check_all(solutions_PD, grammar)
    for number in range(6):
        before = solutions_PD
        solutions_PD, _ = operator.mutate(before, 0.5, {}, source)
        check_all(solutions_PD, grammar)
        assert not (solutions_PD == before).all(dim=1).any(), "no child is its parent"
        if number % 2:
            solutions_PD = operator.cross(before, solutions_PD.flip(0), source)
            check_all(solutions_PD, grammar)


def test_a_crossing_is_made_of_its_parents():
    """Every node is that of a parent, and parts of both are in most."""
    grammar = Grammar(functions="evomal")
    first = encoded([parsed("mul(y, square(sub(p, 2)))")] * 60, 20)
    second = encoded([parsed("sub(tanh(sub(p, 3)), sqrt(y))")] * 60, 20)
    children = decoded(GPMutation(grammar=grammar).cross(first, second, generator()))
    allowed = {*decoded(first)[0].nodes, *decoded(second)[0].nodes}
    assert all(set(child.nodes) <= allowed for child in children)
    assert len({str(child) for child in children}) > 12
    assert all(child not in (decoded(first)[0], decoded(second)[0]) for child in children)


class TestMoves:
    grammar = Grammar(functions="evomal", **SMALL)
    tree = parsed("add(log(mul(p, 2)), mul(-3, square(y)))")

    def drawn(self, move, num: int = 300):
        source = Draws(generator())
        return [move(source) for _ in range(num)]

    def test_point_keeps_the_arities(self):
        for child in self.drawn(lambda source: moves.point(self.tree, self.grammar, source)):
            assert len(child) == len(self.tree)
            assert [depth for depth, _ in child.places()] == [depth for depth, _ in self.tree.places()]
            assert sum(a != b for a, b in zip(child.nodes, self.tree.nodes, strict=True)) <= 1

    def test_jitter_moves_constants_by_sigma_and_keeps_signs_where_types_ask_for_it(self):
        children = self.drawn(lambda source: moves.jitter(self.tree, 2.0, source), 4000)
        free = torch.tensor([child.nodes[6][1] for child in children])
        held = torch.tensor([child.nodes[4][1] for child in children])
        assert free.mean().item() == pytest.approx(-3, abs=0.15)
        assert free.std().item() == pytest.approx(2, abs=0.1)
        assert (held >= 0).all()
        assert all([a for a, _ in child.nodes] == [a for a, _ in self.tree.nodes] for child in children)
        assert moves.jitter(parsed("mul(p, y)"), 1.0, Draws(generator())) is None

    def test_hoist_and_shrink_make_it_smaller(self):
        for move in (moves.hoist, moves.shrink):
            for child in self.drawn(lambda source, move=move: move(self.tree, source)):
                assert child is None or len(child) < len(self.tree)
                assert child is None or child.suits(False)
        assert moves.hoist(parsed("p"), Draws(generator())) is None
        assert moves.shrink(parsed("p"), Draws(generator())) is None

    def test_a_new_subexpression_is_at_most_two_deep(self):
        for child in self.drawn(lambda source: moves.subtree(parsed("p"), self.grammar, source)):
            assert child.depth <= 2


class TestRejection:
    @pytest.mark.parametrize(
        ("text", "matters"),
        [
            ("mul(y, log(p))", True),
            ("square(sub(p, y))", True),
            ("log(p)", False),
            ("y", False),
            ("1", False),
            ("add(p, y)", False),
            ("add(square(p), tanh(y))", False),
            ("mul(y, sub(p, p))", False),
            ("mul(sub(y, y), p)", False),
            ("sign(sub(y, 2))", False),
        ],
    )
    def test_the_label_must_matter_to_the_gradient(self, text, matters):
        assert labels_matter(probed([parsed(text)])).tolist() == [matters]

    @pytest.mark.parametrize(
        ("text", "is_tame"), [("inv(y)", False), ("mul(9999, p)", True), ("exp(exp(exp(p)))", False)]
    )
    def test_it_must_not_be_out_of_all_size(self, text, is_tame):
        assert are_tame(probed([parsed(text)])).tolist() == [is_tame]

    def test_a_loss_over_again_is_known_up_to_scale_and_a_constant(self):
        texts = ["square(sub(p, y))", "mul(3, square(sub(y, p)))", "add(7, square(sub(p, y)))", "mul(y, log(p))"]
        texts += ["mul(-1, mul(y, log(p)))", "mul(2, mul(y, log(p)))"]
        shapes_PB = shapes(probed([parsed(text) for text in texts]))
        assert repeats(shapes_PB, shapes_PB[:0]).tolist() == [False, True, True, False, False, True]
        assert repeats(shapes_PB[3:4], shapes_PB).tolist() == [True]

    @pytest.mark.parametrize("functions", SETS[:3], ids=str)
    def test_draws_of_the_prior_are_different_losses(self, functions):
        solutions_PD = GPExpression(grammar=Grammar(functions=functions)).init(60, generator())
        shapes_PB = shapes(probed(decoded(solutions_PD)))
        assert not repeats(shapes_PB, shapes_PB[:0]).any()

    def test_a_small_grammar_may_repeat_itself_rather_than_fail(self):
        grammar = Grammar(functions=("mul",), max_nodes=3, max_depth=1)
        family = GPExpression(grammar=grammar, init_min_depth=1, init_max_depth=1)
        assert {str(tree) for tree in decoded(family.init(12, generator()))} == {"mul(p, y)", "mul(y, p)"}

    def test_a_grammar_without_a_loss_in_it_says_so(self):
        grammar = Grammar(functions=("add",))
        with pytest.raises(SearchError, match=r"no tame loss whose gradient depends on the label.*add"):
            GPExpression(grammar=grammar).init(2, generator())


SPEC = """\
name: tiny
search:
  parameterization: {family}
  sampler: mixture
  objective: gradient_shape
  strategy: gp_generational
  mutation: {{type: gp_mutation, grammar: {grammar}}}
"""


class TestOperator:
    def test_another_length_of_solutions_is_refused_naming_both(self):
        operator = GPMutation(grammar=Grammar(max_nodes=10))
        for call in (
            lambda: operator.init(4, 40, generator()),
            lambda: operator.mutate(torch.zeros(4, 40), 0.1, {}, generator()),
        ):
            with pytest.raises(SpecError, match=r"search\.mutation\.grammar.*10 nodes are 20.*parameterization has 40"):
                call()

    @pytest.mark.parametrize(
        ("grammar", "told"),
        [
            ("{max_nodes: 10}", "grammar.max_nodes: 10 nodes are 20 parameters, but search.parameterization has 40"),
            ("{functions: [add, mul, log]}", "grammar.functions: sub, neg, abs, square of search.parameterization's"),
        ],
    )
    def test_a_spec_whose_grammars_do_not_go_together_is_refused_with_the_place(self, grammar, told):
        family = "{type: gp_expression, grammar: {functions: [add, sub, neg, abs, square, mul]}}"
        with pytest.raises(SpecError) as caught:
            spec_from_text(SPEC.format(family=family, grammar=grammar), "my.yaml")
        (problem,) = caught.value.problems
        assert problem.startswith(f"my.yaml:7:3: search.mutation: {told}")
        assert problem.endswith("; give both the same grammar")

    def test_a_wider_grammar_and_a_family_without_one_are_fine(self):
        family = "{type: gp_expression, grammar: {functions: [add, mul]}}"
        assert spec_from_text(SPEC.format(family=family, grammar="{functions: [add, mul, log]}"))
        assert GPMutation().misfit(PairwiseMLP(hidden=(10,))) is None

    def test_functions_of_another_grammar_are_refused(self):
        operator = GPMutation(grammar=Grammar(functions="autoloss_zero"))
        with pytest.raises(SpecError, match="a parent has 'sub', which is not among these"):
            operator.mutate(encoded([parsed("sub(p, y)")], 20), 0.1, {}, generator())

    def test_a_vector_of_no_expression_of_the_grammar_has_a_fresh_one_for_its_child(self):
        operator = GPMutation()
        children, _ = operator.mutate(torch.zeros(50, 40), 0.1, {}, generator())
        check_all(children, operator.grammar)
        assert len(children.unique(dim=0)) > 25

    def test_each_parent_may_have_its_sigma(self):
        operator = GPMutation(subtree=1e-9, point=0, hoist=0, shrink=0)
        parents = encoded([parsed("mul(y, mul(2, log(p)))")] * 400, 20)
        sigma_P1 = torch.tensor([[0.1], [1.0]]).repeat(200, 1)
        steps = (operator.mutate(parents, sigma_P1, {}, generator())[0] - parents)[:, 23]
        assert steps[::2].std().item() == pytest.approx(0.1, rel=0.2)
        assert steps[1::2].std().item() == pytest.approx(1.0, rel=0.2)

    def test_without_the_change_that_is_always_possible_it_is_refused(self):
        with pytest.raises(ValidationError, match="subtree must be above 0"):
            GPMutation(subtree=0)

    def test_depths_of_the_prior_must_fit_the_grammar(self):
        for options in ({"init_min_depth": 5}, {"init_max_depth": 7}):
            with pytest.raises(ValidationError, match="must not fall"):
                GPExpression(**options)


@pytest.mark.parametrize(
    ("first", "second", "are_equal"),
    [
        ("add(p, y)", "add(y, p)", True),
        ("mul(y, y)", "y", True),
        ("sub(mul(p, p), square(y))", "mul(sub(p, y), add(p, y))", True),
        ("mul(2, p)", "add(p, p)", True),
        ("mul(2, p)", "p", False),
        ("log(p)", "log(mul(1, p))", True),
        ("min(p, y)", "mul(p, y)", True),
        ("div(p, y)", "mul(p, inv(y))", False),
    ],
)
def test_equivalence_is_of_values_and_not_of_form(first, second, are_equal):
    assert equivalent(*encoded([parsed(first), parsed(second)], 20)) == are_equal


def test_draws_are_spread_as_they_say():
    source = Draws(generator())
    numbers = torch.tensor([source.uniform() for _ in range(5000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.02)
    counts = torch.bincount(torch.tensor([source.weighted((1, 0, 3)) for _ in range(4000)]), minlength=3)
    assert counts[1] == 0
    assert counts[0].item() == pytest.approx(1000, abs=120)
    assert torch.tensor([source.normal() for _ in range(5000)]).std().item() == pytest.approx(1, abs=0.04)
    repeated = [Draws(generator()).uniform() for _ in range(2)]
    assert all(a == b for a, b in pairwise(repeated))
