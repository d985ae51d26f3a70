"""The batched evaluation against a recursive interpreter, sympy, and published losses."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import sympy
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lossforge.registry import get
from lossforge_gp import GPExpression, Grammar, encoded, expression
from lossforge_gp.functions import FUNCTIONS
from lossforge_gp.grammar import CODE_OF
from lossforge_gp.machine import evaluated, planned
from lossforge_gp.symbolic import p, y
from lossforge_gp.text import parsed
from lossforge_gp.tree import Tree, decoded

SETS = ("evomal", "autoloss_zero", "glo")
EVERYTHING = tuple(function.name for function in FUNCTIONS)


def family(functions="evomal", max_nodes: int = 20) -> GPExpression:
    return GPExpression(grammar=Grammar(functions=functions, max_nodes=max_nodes))


def bound(x: float) -> float:
    return min(max(x, -1e7), 1e7)


INTERPRETED = {
    "add": lambda a, b: bound(a + b),
    "sub": lambda a, b: bound(a - b),
    "mul": lambda a, b: bound(a * b),
    "div": lambda a, b: a / math.hypot(1.0, b),
    "min": min,
    "max": max,
    "neg": lambda a: -a,
    "sign": lambda a: math.copysign(1.0, a) if a else 0.0,
    "abs": abs,
    "square": lambda a: bound(a * a),
    "sqrt": lambda a: math.sqrt(max(abs(a), 1e-7)),
    "log": lambda a: math.log(max(abs(a), 1e-7)),
    "exp": lambda a: min(math.exp(min(a, 700.0)), 1e7),
    "inv": lambda a: 1 / max(abs(a), 1e-7),
    "tanh": math.tanh,
}


def interpreted(tree: Tree, log_p: float, label: float) -> float:
    """The value of an expression, one node at a time, in Python's float64."""
    code, constant = tree.nodes[0]
    if code < 3:
        return (math.exp(log_p), label, constant)[code]
    arguments, place = [], 1
    for _ in range(FUNCTIONS[code - 3].arity):
        arguments.append(tree.subtree(place))
        place = tree.end(place)
    if code == CODE_OF["log"] and arguments[0].nodes[0][0] == 0:
        return log_p
    return INTERPRETED[FUNCTIONS[code - 3].name](*(interpreted(each, log_p, label) for each in arguments))


def predictions(num: int = 6, num_classes: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (num,), generator=generator)


def inputs_of(num: int):
    logits, labels = predictions(num)
    return logits.log_softmax(1)[None], labels


@pytest.mark.parametrize("functions", [*SETS, EVERYTHING])
@pytest.mark.parametrize("leading", [1, 40])
def test_values_are_those_of_a_recursive_interpreter(functions, leading):
    """Also of vectors that no grammar has drawn."""
    generator = torch.Generator().manual_seed(0)
    drawn = family(functions).init(20, generator)
    foreign = 9 + 6 * torch.randn(20, drawn.shape[1], generator=generator)
    solutions_PD = torch.cat((drawn, foreign)).double()
    log_p_PBC = (3 * torch.randn(leading, 3, 4, generator=generator, dtype=torch.float64)).log_softmax(dim=-1)
    is_label_BC = F.one_hot(torch.tensor([0, 3, 1]), 4).double()
    found = evaluated(solutions_PD, log_p_PBC, is_label_BC)
    for index, tree in enumerate(decoded(solutions_PD)):
        rows = log_p_PBC[min(index, leading - 1)].flatten().tolist()
        expected = [interpreted(tree, *each) for each in zip(rows, is_label_BC.flatten().tolist(), strict=True)]
        assert found[index].flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9), str(tree)


def test_values_and_gradients_are_those_of_sympy():
    family_ = family(EVERYTHING)
    solutions_PD = family_.init(25, torch.Generator().manual_seed(1)).double()
    points = torch.tensor([0.03, 0.2, 0.45, 0.83], dtype=torch.float64)
    log_p = points.log().expand(1, 2, -1).clone().requires_grad_()
    value_P2G = evaluated(solutions_PD, log_p, torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 4))
    for found_2G, tree in zip(value_P2G, decoded(solutions_PD), strict=True):
        (slope_2G,) = torch.autograd.grad(found_2G.sum(), log_p, retain_graph=True)
        whole = expression(tree)
        for label in (0, 1):
            form = whole.subs(y, label)
            for index, point in enumerate(points.tolist()):
                value = sympy.lambdify(p, form, "math")(point)
                assert found_2G[label, index].item() == pytest.approx(value, rel=1e-7, abs=1e-7), str(tree)
                step = 1e-6 * point
                rise = [sympy.lambdify(p, form, "math")(point + sign * step) for sign in (1, -1)]
                expected = point * (rise[0] - rise[1]) / (2 * step)
                assert slope_2G[0, label, index].item() == pytest.approx(expected, rel=1e-4, abs=1e-4), str(tree)


KNOWN = {
    "cross_entropy": ("mul(-1, mul(y, log(p)))", 1.0),
    "brier": ("square(sub(y, p))", 1.0),
    "mae": ("abs(sub(y, p))", 0.5),
    "focal": ("mul(mul(square(sub(1, p)), neg(y)), log(p))", 1.0),
    "baikal": ("sub(mul(y, inv(p)), log(p))", None),
}


@pytest.mark.parametrize(("name", "text", "factor"), [(name, *known) for name, known in KNOWN.items()])
def test_published_losses_are_expressions(name, text, factor):
    """A mean over classes, of which some are sums; values, and gradients in the logits."""
    family_, num_classes = family(EVERYTHING), 4
    logits, labels = predictions(20, num_classes)
    logits = logits / 2  # Baikal is continued below p = 0.001
    solution_1D = encoded([parsed(text)], family_.grammar.max_nodes)
    loss = get("losses", name)(**({"gamma": 2.0} if name == "focal" else {}))

    def ours(leaf):
        return (factor * num_classes if factor else 1.0) * family_.loss(solution_1D, leaf.log_softmax(1)[None], labels)[
            0
        ]

    results = []
    for function in (ours, lambda leaf: loss.per_sample(leaf, labels)):
        leaf = logits.clone().requires_grad_()
        value = function(leaf)
        results.append((value.detach(), *torch.autograd.grad(value.sum(), leaf)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_cross_entropy_keeps_its_gradient_however_small_p_is():
    solution_1D = encoded([parsed("mul(-1, mul(y, log(p)))")], 20)
    for gap in (10.0, 100.0, 1e4):
        logits = torch.tensor([[0.0, gap, 0.0]], requires_grad=True)
        loss = 3 * family().loss(solution_1D, logits.log_softmax(1)[None], torch.tensor([0])).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(gap, rel=1e-4)
        assert gradient[0, :2].tolist() == pytest.approx([-1, 1], rel=1e-4)


@pytest.mark.parametrize("functions", [*SETS, EVERYTHING])
def test_thousands_are_finite_with_their_gradients_at_any_confidence(functions):
    family_ = family(functions)
    generator = torch.Generator().manual_seed(2)
    drawn = family_.init(300, generator)
    foreign = 9 + 8 * torch.randn(300, drawn.shape[1], generator=generator)
    solutions_PD = torch.cat((drawn, 30 * drawn[:100], foreign))
    gaps = torch.tensor([0.0, 1e-6, 1.0, 17.0, 50.0, 100.0, 1e3, 1e4])
    logits = torch.stack((torch.cat((gaps, -gaps)), torch.zeros(16), torch.linspace(-5, 5, 16)), dim=1)
    logits.requires_grad_()
    for label in (0, 1):
        loss_PB = family_.loss(solutions_PD, logits.log_softmax(1)[None], torch.full((16,), label))
        (gradient,) = torch.autograd.grad(loss_PB.sum(), logits)
        assert loss_PB.isfinite().all()
        assert gradient.isfinite().all()


class Counting(TorchDispatchMode):
    """How many operations were run."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num += function is not torch.ops.aten.view.default  # what torch does to tensors of one row
        return function(*args, **(kwargs or {}))


def test_operations_do_not_depend_on_the_number_of_candidates_or_pairs():
    family_ = family()
    solutions_PD = family_.init(16, torch.Generator().manual_seed(3))
    counts = []
    for copies, num_pairs in ((1, 4), (10, 4), (10, 50)):
        inputs = inputs_of(num_pairs)
        planned.cache_clear()
        with Counting() as counting:
            family_.loss(solutions_PD.repeat(copies, 1), *inputs)
        counts.append(counting.num)
    assert counts[0] == counts[1] == counts[2]
    with Counting() as counting:
        family_.loss(solutions_PD.repeat(10, 1), *inputs)
    assert counting.num < counts[2] / 2, "the plan is remembered"


def test_a_vector_that_is_not_finite_raises_nothing():
    solutions_PD = torch.full((2, 40), torch.nan)
    solutions_PD[1] = torch.inf
    logits, labels = predictions()
    assert family().loss(solutions_PD, logits.log_softmax(1)[None], labels).shape == (2, 6)


def test_an_empty_population_has_no_losses():
    logits, labels = predictions()
    assert family().loss(torch.empty(0, 40), logits.log_softmax(1)[None], labels).shape == (0, 6)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch looks at the gradient of a tensor that is no leaf
def test_torch_compile_gets_around_the_plan():
    torch._dynamo.reset()
    family_ = family()
    solutions_PD = family_.init(3, torch.Generator().manual_seed(3))
    compiled = torch.compile(family_.loss, backend="eager")
    for num in (4, 4, 7):
        torch.testing.assert_close(compiled(solutions_PD, *inputs_of(num)), family_.loss(solutions_PD, *inputs_of(num)))


def test_importing_it_takes_neither_the_compiler_nor_sympy():
    code = "import sys, lossforge_gp.family; print({'torch._dynamo', 'sympy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "set()\n"


def test_training_works_after_inference():
    planned.cache_clear()
    family_ = family()
    solutions_PD = family_.init(4, torch.Generator().manual_seed(0))
    log_probs_PBC, labels_B = inputs_of(4)
    with torch.inference_mode():
        expected = family_.loss(solutions_PD.clone(), log_probs_PBC, labels_B)
    found = family_.loss(solutions_PD, log_probs_PBC.requires_grad_(), labels_B)
    found.sum().backward()
    assert torch.equal(found, expected)
    assert log_probs_PBC.grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_used_may_be_anything_in_the_code(value):
    (solution_D,) = encoded([parsed("mul(-1, mul(y, log(p)))")], 20)
    solution_D[-1] = value
    namespace = {"torch": torch, "Tensor": torch.Tensor, "nn": torch.nn, "F": F}
    exec(family().source(solution_D), namespace)
    assert torch.equal(namespace["Network"]().solution.isnan(), solution_D.isnan())
    assert not namespace["Network"]().solution[:-1].isinf().any()
