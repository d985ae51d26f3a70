"""Activations in Triton: values in pairs, since two divisions can share one reciprocal, and slopes one by one.

Reciprocals and exponentials are the slow operations of a GPU, 16 a clock on a multiprocessor that does 128 products.
Values are those of arguments that come multiplied by :func:`scale_of` already, which can be done to the weights.
Importing this needs Triton; :class:`lossforge.native.perceptron_triton.TritonPerceptron` does it when it is made.
"""

# mypy: disable-error-code="no-any-return, no-untyped-def, untyped-decorator"
# Triton's language only looks like Python; where a test is on a constant, a function must have one return after it.

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether TRITON_INTERPRET was set when this was imported: kernels then run on the CPU, in NumPy, for tests."""

TWO_LOG2_E = tl.constexpr(2.8853900817779268)

ROUNDS_TO_ONE = tl.constexpr(9.01)
"""Beyond it tanh is 1 in float32; its slope there is 0, as in the C++ kernel."""

RATIONAL_END = tl.constexpr(5.0)
P0, P1, P2 = tl.constexpr(0.9999480498731698), tl.constexpr(0.10241767698365173), tl.constexpr(0.0006705650150612947)
Q1, Q2 = tl.constexpr(0.4354324730271376), tl.constexpr(0.012819882965705366)
"""Those of ``rational_tanh``."""

SMALL = tl.constexpr(2.0**-63)

LEAKY_SLOPE = tl.constexpr(0.01)

if INTERPRETED:

    @triton.jit
    def reciprocal(x):
        """1 / x."""
        return 1.0 / x

else:

    @triton.jit
    def reciprocal(x):
        """1 / x to one unit in the last place, for x below 2^126; an ordinary division would look after the others."""
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)


@triton.constexpr_function
def scale_of(activation):
    """What arguments are multiplied by before they are given to an activation."""
    return {"tanh": 2.8853900817779268, "softsign": 2.0**-63}.get(activation, 1.0)


@triton.jit
def activated_pair(x, y, ACTIVATION: tl.constexpr):
    """Values of two units, of scaled arguments."""
    if ACTIVATION == "tanh":
        pair = _tanh_pair(x, y)
    elif ACTIVATION == "softsign":
        pair = _softsign_pair(x, y)
    else:
        pair = (activated(x, ACTIVATION), activated(y, ACTIVATION))
    return pair


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """The value of one unit, of its scaled argument."""
    if ACTIVATION == "tanh":
        value = _tanh_pair(x, x)[0]
    elif ACTIVATION == "rational_tanh":
        value = _rational_tanh(x)
    elif ACTIVATION == "softsign":
        value = _softsign_pair(x, x)[0]
    elif ACTIVATION == "silu":
        value = x * _sigmoid(x)
    elif ACTIVATION == "softplus":
        value = _softplus(x)
    elif ACTIVATION == "sigmoid":
        value = _sigmoid(x)
    elif ACTIVATION == "relu":
        value = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    else:
        tl.static_assert(ACTIVATION == "leaky_relu")
        value = tl.where(x > 0.0, x, x * LEAKY_SLOPE)
    return value


@triton.jit
def slope(x, ACTIVATION: tl.constexpr):
    """The derivative of the value of one unit in its argument, not scaled."""
    if ACTIVATION == "tanh":
        e = tl.exp2(tl.abs(x) * -TWO_LOG2_E)  # sech^2 = 4 e / (1 + e)^2; 1 - tanh^2 would be rounding alone far out
        d = reciprocal(1.0 + e)
        value = tl.where(tl.abs(x) > ROUNDS_TO_ONE, 0.0, 4.0 * e * d * d)
    elif ACTIVATION == "rational_tanh":
        value = _rational_tanh_slope(x)
    elif ACTIVATION == "softsign":
        d = reciprocal(1.0 + tl.abs(x))
        value = d * d
    elif ACTIVATION == "silu":
        s = _sigmoid(x)
        value = s * (1.0 + x * (1.0 - s))
    elif ACTIVATION == "softplus":
        value = _sigmoid(x)
    elif ACTIVATION == "sigmoid":
        s = _sigmoid(x)
        value = s * (1.0 - s)
    elif ACTIVATION == "relu":
        value = tl.where(x > 0.0, 1.0, 0.0)
    else:
        tl.static_assert(ACTIVATION == "leaky_relu")
        value = tl.where(x > 0.0, 1.0, LEAKY_SLOPE)
    return value


@triton.jit
def _tanh_pair(x, y):
    """(1 - e) / (1 + e), e = 2^-|x|, with the sign of x: an absolute error below 2e-7, and never above 1."""
    e, f = tl.exp2(-tl.abs(x)), tl.exp2(-tl.abs(y))
    d, g = 1.0 + e, 1.0 + f
    shared = reciprocal(d * g)
    return _with_sign((1.0 - e) * (g * shared), x), _with_sign((1.0 - f) * (d * shared), y)


@triton.jit
def _with_sign(size, x):
    """The lesser of ``size`` and 1, with the sign of x; NaN where ``size`` is."""
    size = tl.minimum(size, 1.0, propagate_nan=tl.PropagateNan.ALL)
    sign = x.to(tl.int32, bitcast=True) & -2147483648
    return (size.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def _softsign_pair(x, y):
    """x / (SMALL + |x|): denominators so scaled that their product is neither too small nor too large."""
    d, g = tl.abs(x) + SMALL, tl.abs(y) + SMALL
    shared = reciprocal(d * g)
    return x * (g * shared), y * (d * shared)


@triton.jit
def _rational_clamped(x):
    x = tl.minimum(x, RATIONAL_END, propagate_nan=tl.PropagateNan.ALL)
    return tl.maximum(x, -RATIONAL_END, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _rational_tanh(x):
    x = _rational_clamped(x)
    t = x * x
    return x * ((P2 * t + P1) * t + P0) * reciprocal((Q2 * t + Q1) * t + 1.0)


@triton.jit
def _rational_tanh_slope(x):
    """(x P / Q)' = ((P + 2 t P') Q - 2 t P Q') / Q^2, and 0 beyond the clamp."""
    clamped = _rational_clamped(x)
    t = clamped * clamped
    p, q = (P2 * t + P1) * t + P0, (Q2 * t + Q1) * t + 1.0
    d = reciprocal(q)
    inside = ((p + 2.0 * t * (P1 + 2.0 * P2 * t)) * q - 2.0 * t * p * (Q1 + 2.0 * Q2 * t)) * d * d
    return tl.where(tl.abs(x) > RATIONAL_END, 0.0, inside)


@triton.jit
def _sigmoid(x):
    return reciprocal(1.0 + tl.exp(-x))


@triton.jit
def _softplus(x):
    """max(x, 0) + log(1 + e), e = exp(-|x|); log(1 + e) as e log(u) / (u - 1), u = 1 + e, in which roundings cancel."""
    e = tl.exp(-tl.abs(x))
    u = 1.0 + e
    rest = u - 1.0
    log1p = tl.where(rest == 0.0, e, tl.log(u) * e / tl.where(rest == 0.0, 1.0, rest))
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + log1p
