"""A perceptron of two inputs in Triton: its value for one item of a row, and its derivatives in the inputs.

The weights of a candidate are the same for all rows of a program: they are loaded one by one, as numbers. Solutions
list, layer by layer, weights (out, in) row by row and then biases; the output layer has no bias.
"""

# mypy: disable-error-code="assignment, no-any-return, no-untyped-def, untyped-decorator"
# Triton's language only looks like Python; where a test is on a constant, a function must have one return after it.

from __future__ import annotations

import triton
import triton.language as tl

from lossforge.native.triton_activations import activated, activated_pair, scale_of, slope

__all__ = ["fixed_input", "network", "network_slopes"]


@triton.jit
def fixed_input(own, item, RIVALS: tl.constexpr):
    """What the network sees besides phi of the item: phi of the own class, or whether the item is the label."""
    return own if RIVALS else tl.where(item == 0, 1.0, 0.0)


@triton.jit
def _first_argument(
    solution,
    unit,
    phi,
    fixed,
    WIDTH: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
    SCALE: tl.constexpr,
):
    """SCALE z of a unit of the first layer; inputs are (own, rival), or (class, is it the label)."""
    by_fixed = fixed * _scaled(tl.load(solution + 2 * unit + (0 if RIVALS else 1)), SCALE)
    if HAS_BIAS:
        by_fixed += _scaled(tl.load(solution + 2 * WIDTH + unit), SCALE)
    return phi * _scaled(tl.load(solution + 2 * unit + (1 if RIVALS else 0)), SCALE) + by_fixed


@triton.jit
def _scaled(x, SCALE: tl.constexpr):
    return x if SCALE == 1.0 else x * SCALE


@triton.jit
def _plus_products(total, weights, inputs):
    """total + sum_i w_i x_i."""
    for i in tl.static_range(len(inputs)):
        total += inputs[i] * tl.load(weights + i)
    return total


@triton.jit
def _argument(
    weights,
    unit,
    phi,
    fixed,
    inputs,
    LAYER: tl.constexpr,
    HIDDEN: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
    SCALE: tl.constexpr,
):
    """SCALE z of a unit of any hidden layer; ``weights`` are its layer's."""
    if LAYER == 0:
        total = _first_argument(weights, unit, phi, fixed, HIDDEN[0], HAS_BIAS, RIVALS, SCALE)
    else:
        bias = tl.load(weights + HIDDEN[LAYER] * HIDDEN[LAYER - 1] + unit) if HAS_BIAS else 0.0
        total = _scaled(_plus_products(bias, weights + unit * HIDDEN[LAYER - 1], inputs), SCALE)
    return total


@triton.jit
def _after(weights, LAYER: tl.constexpr, HIDDEN: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Where the numbers of the next layer begin."""
    return weights + HIDDEN[LAYER] * ((HIDDEN[LAYER - 1] if LAYER > 0 else 2) + (1 if HAS_BIAS else 0))


@triton.jit
def network(
    weights, phi, fixed, HIDDEN: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr, RIVALS: tl.constexpr
):
    """f of one item. The last hidden layer is a loop; those before it are unrolled, their units in registers.

    With one hidden layer, 16 units are unrolled: what there is of their weights is then loaded once for all items.
    """
    LAST: tl.constexpr = len(HIDDEN) - 1
    STEP: tl.constexpr = 16 if LAST == 0 else 2
    WHOLE: tl.constexpr = HIDDEN[LAST] // STEP * STEP
    units = (phi,)
    for layer in tl.static_range(LAST):
        values = ()
        for unit in tl.static_range(0, tl.constexpr(HIDDEN[layer]), 2):
            values += _units(weights, unit, phi, fixed, units, layer, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
        weights = _after(weights, layer, HIDDEN, HAS_BIAS)
        units = values
    output = _after(weights, LAST, HIDDEN, HAS_BIAS)
    total = tl.full(phi.shape, 0.0, tl.float32)
    for start in range(0, WHOLE, STEP):
        for unit in tl.static_range(0, STEP, 2):
            pair = _pair(weights, start + unit, phi, fixed, units, LAST, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
            total = _plus_products(total, output + start + unit, pair)
    for unit in tl.static_range(WHOLE, tl.constexpr(HIDDEN[LAST]), 2):
        pair = _units(weights, unit, phi, fixed, units, LAST, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
        total = _plus_products(total, output + unit, pair)
    return total


@triton.jit
def _units(
    weights,
    unit: tl.constexpr,
    phi,
    fixed,
    inputs,
    LAYER: tl.constexpr,
    HIDDEN: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
):
    """Values of a unit and, where there is one, of the next."""
    if unit + 1 < HIDDEN[LAYER]:
        values = _pair(weights, unit, phi, fixed, inputs, LAYER, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
    else:
        SCALE: tl.constexpr = scale_of(ACTIVATION)
        x = _argument(weights, unit, phi, fixed, inputs, LAYER, HIDDEN, HAS_BIAS, RIVALS, SCALE)
        values = (activated(x, ACTIVATION),)
    return values


@triton.jit
def _pair(
    weights,
    unit,
    phi,
    fixed,
    inputs,
    LAYER: tl.constexpr,
    HIDDEN: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
):
    """Values of a unit and of the next."""
    SCALE: tl.constexpr = scale_of(ACTIVATION)
    x = _argument(weights, unit, phi, fixed, inputs, LAYER, HIDDEN, HAS_BIAS, RIVALS, SCALE)
    y = _argument(weights, unit + 1, phi, fixed, inputs, LAYER, HIDDEN, HAS_BIAS, RIVALS, SCALE)
    return activated_pair(x, y, ACTIVATION)


@triton.jit
def network_slopes(
    weights, phi, fixed, HIDDEN: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr, RIVALS: tl.constexpr
):
    """The derivatives of f of one item in phi and, of rivals, in phi of the own class, which are carried forward."""
    LAST: tl.constexpr = len(HIDDEN) - 1
    units, by_phi, by_own = (phi,), (phi,), (phi,)
    for layer in tl.static_range(LAST):
        values, in_phi, in_own = (), (), ()
        for unit in tl.static_range(tl.constexpr(HIDDEN[layer])):
            x = _argument(weights, unit, phi, fixed, units, layer, HIDDEN, HAS_BIAS, RIVALS, 1.0)
            s = slope(x, ACTIVATION)
            values += (activated(_scaled(x, scale_of(ACTIVATION)), ACTIVATION),)
            in_phi += (s * _tangent(weights, unit, by_phi, layer, HIDDEN, 1 if RIVALS else 0),)
            if RIVALS:
                in_own += (s * _tangent(weights, unit, by_own, layer, HIDDEN, 0),)
        weights = _after(weights, layer, HIDDEN, HAS_BIAS)
        units, by_phi = values, in_phi
        if RIVALS:
            by_own = in_own
    output = _after(weights, LAST, HIDDEN, HAS_BIAS)
    total_phi, total_own = tl.full(phi.shape, 0.0, tl.float32), tl.full(phi.shape, 0.0, tl.float32)
    for unit in range(HIDDEN[LAST]):
        x = _argument(weights, unit, phi, fixed, units, LAST, HIDDEN, HAS_BIAS, RIVALS, 1.0)
        s = slope(x, ACTIVATION) * tl.load(output + unit)
        total_phi += s * _tangent(weights, unit, by_phi, LAST, HIDDEN, 1 if RIVALS else 0)
        if RIVALS:
            total_own += s * _tangent(weights, unit, by_own, LAST, HIDDEN, 0)
    return total_phi, total_own


@triton.jit
def _tangent(weights, unit, tangents, LAYER: tl.constexpr, HIDDEN: tl.constexpr, INPUT: tl.constexpr):
    """The derivative of z of a unit, given those of the units before, in the first layer in the input INPUT."""
    if LAYER == 0:
        tangent = tl.load(weights + 2 * unit + INPUT)
    else:
        tangent = _plus_products(0.0, weights + unit * HIDDEN[LAYER - 1], tangents)
    return tangent
