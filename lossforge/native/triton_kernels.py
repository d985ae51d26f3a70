"""Perceptron losses in Triton: values, gradients in the logits, and comparisons.

A program is one candidate on one tile of rows, a few rows a thread. It goes over the items of its rows one after the
other with everything in registers, so that nothing of the size candidates x rows x classes x units is ever in memory.
Every row's numbers are its own: no bit of them depends on another row or candidate. One kernel serves all sizes and
addresses of a form: nothing is compiled anew for numbers that happen to be multiples of 16.

Predictions come class by class, the row's own class first and then (label + k) mod C, padded to whole tiles, which
:func:`arrange` makes of rows: loads are then contiguous, and no item needs to ask whether it is the label.
"""

# mypy: disable-error-code="no-any-return, no-untyped-def, untyped-decorator"
# Triton's language only looks like Python; where a test is on a constant, a function must have one return after it.

from __future__ import annotations

import triton
import triton.language as tl

from lossforge.native.triton_activations import INTERPRETED
from lossforge.native.triton_network import fixed_input, network, network_slopes

__all__ = ["INTERPRETED", "arrange", "concordance", "gradients", "losses"]


@triton.jit(
    do_not_specialize=["num_rows", "num_tiles", "num_classes"], do_not_specialize_on_alignment=["rows", "labels"]
)
def arrange(rows, labels, arranged, num_rows, num_tiles, num_classes, ROWS: tl.constexpr):
    """Write (L, C, tiles x ROWS), own classes first, of rows (L, B, C); NaN where a label is no class."""
    leading, row = _place(num_tiles, ROWS)
    row_there = tl.minimum(row, num_rows - 1)  # the last one fills the last tile up
    label = tl.load(labels + row_there)
    known = (label >= 0) & (label < num_classes)
    label = tl.where(known, label, 0)
    source = rows + (leading * num_rows + row_there) * num_classes
    target = arranged + leading * num_classes * num_tiles * ROWS + row
    for item in range(num_classes):
        values = tl.load(source + _class_of(item, label, num_classes))
        tl.store(target + tl.cast(item, tl.int64) * num_tiles * ROWS, tl.where(known, values, float("nan")))


@triton.jit(
    do_not_specialize=["num_rows", "num_tiles", "num_classes", "stride", "nothing"],
    do_not_specialize_on_alignment=["solutions"],
)
def losses(
    solutions,
    arranged,
    out,
    num_rows,
    num_tiles,
    num_classes,
    stride,
    factor,
    nothing,
    HIDDEN: tl.constexpr,
    NUM_PARAMETERS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
    LOG_FEATURES: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write (P, B); predictions of candidates lie ``stride`` tiles apart, 0 where they share them.

    phi is ``factor`` times a log-probability, or a probability; ``nothing`` is 0, which the compiler does not know.
    """
    candidate, row = _place(num_tiles, ROWS)
    solution = solutions + candidate * NUM_PARAMETERS
    source = arranged + candidate * stride * ROWS + row
    own = _features(tl.load(source), factor, LOG_FEATURES)
    total = tl.full((ROWS,), 0.0, tl.float32)
    for item in range(1 if RIVALS else 0, num_classes):
        if len(HIDDEN) > 1:
            solution += nothing  # weights are loaded for every item anew: there are not the registers to keep them
        phi = _features(_of_item(source, item, num_tiles, ROWS), factor, LOG_FEATURES)
        fixed = fixed_input(own, item, RIVALS)
        total += network(solution, phi, fixed, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
    if RIVALS:
        total /= num_classes - 1
    tl.store(out + candidate * num_rows + row, total, mask=row < num_rows)


@triton.jit(
    do_not_specialize=["num_rows", "num_tiles", "num_classes", "stride", "nothing"],
    do_not_specialize_on_alignment=["solutions", "labels"],
)
def gradients(
    solutions,
    arranged,
    labels,
    out,
    num_rows,
    num_tiles,
    num_classes,
    stride,
    factor,
    nothing,
    HIDDEN: tl.constexpr,
    NUM_PARAMETERS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RIVALS: tl.constexpr,
    LOG_FEATURES: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write dloss/dz_k = g_k - p_k sum_j g_j of logits z, shape (P, B, C), g_k = dloss/dlog p_k; see :func:`losses`."""
    candidate, row = _place(num_tiles, ROWS)
    here = row < num_rows
    solution = solutions + candidate * NUM_PARAMETERS
    source = arranged + candidate * stride * ROWS + row
    label = tl.load(labels + tl.minimum(row, num_rows - 1))
    label = tl.where((label >= 0) & (label < num_classes), label, 0)
    target = out + (candidate * num_rows + row) * num_classes
    log_sum = _log_sum(source, num_classes, num_tiles, ROWS)
    own_log_p = tl.load(source) - log_sum
    own = _features(own_log_p, factor, LOG_FEATURES)
    share = 1.0 / (num_classes - 1) if RIVALS else 1.0
    of_own, total = tl.full((ROWS,), 0.0, tl.float32), tl.full((ROWS,), 0.0, tl.float32)
    for item in range(1 if RIVALS else 0, num_classes):
        log_p = _of_item(source, item, num_tiles, ROWS) - log_sum
        phi = _features(log_p, factor, LOG_FEATURES)
        fixed = fixed_input(own, item, RIVALS)
        by_phi, by_own = network_slopes(solution, phi, fixed, HIDDEN, ACTIVATION, HAS_BIAS, RIVALS)
        by_log_p = _by_log_p(by_phi, phi, factor, share, LOG_FEATURES)
        total += by_log_p
        of_own += by_own
        tl.store(target + _class_of(item, label, num_classes), by_log_p, mask=here)
    if RIVALS:
        of_own = _by_log_p(of_own, own, factor, share, LOG_FEATURES)
        total += of_own
        tl.store(target + label, of_own, mask=here)
    tl.debug_barrier()  # what follows may read what another thread has written
    for item in range(num_classes):
        p = tl.exp(_of_item(source, item, num_tiles, ROWS) - log_sum)
        place = target + _class_of(item, label, num_classes)
        by_log_p = tl.load(place, mask=here, other=0.0)
        tl.debug_barrier()
        tl.store(place, by_log_p - p * total, mask=here)


@triton.jit(
    do_not_specialize=["num_rows", "num_pairs", "num_cells"],
    do_not_specialize_on_alignment=["first", "sign", "cell", "counts", "is_finite"],
)
def concordance(
    loss, first, sign, cell, counts, is_finite, num_rows, num_pairs, num_cells, CELLS: tl.constexpr, ROWS: tl.constexpr
):
    """Write ``counts`` (P, K) and ``is_finite`` (P,) of losses (P, R): see ``lossforge.comparisons.concordance``.

    CELLS is a power of two of at least K. Where a first row is none of the R, no candidate counts as finite.
    """
    candidate = tl.program_id(0).to(tl.int64)
    of_candidate = loss + candidate * num_rows
    cells = tl.arange(0, CELLS)
    count = tl.full((CELLS,), 0, tl.int32)
    spoiled = tl.full((ROWS,), 0, tl.int32)
    for start in range(0, num_rows, ROWS):
        row = start + tl.arange(0, ROWS)
        second = tl.load(of_candidate + row, mask=row < num_rows, other=0.0)
        compared = row < num_pairs
        first_row = tl.load(first + row, mask=compared, other=0)
        known = (first_row >= 0) & (first_row < num_rows)
        gap = tl.load(of_candidate + first_row, mask=known, other=0.0) - second
        concordant = compared & (gap * tl.load(sign + row, mask=compared, other=0.0) > 0.0)
        its_cell = tl.load(cell + row, mask=compared, other=-1)
        counted = concordant[:, None] & (its_cell[:, None] == cells[None, :])
        count += tl.reduce(counted.to(tl.int32), 0, _sum)
        spoiled |= ((~(tl.abs(second) < float("inf"))) | (~known)).to(tl.int32)
    tl.store(counts + candidate * num_cells + cells, count.to(tl.int64), mask=cells < num_cells)
    tl.store(is_finite + candidate, tl.reduce(spoiled, 0, _either) == 0)


@triton.jit
def _sum(a, b):
    return a + b


@triton.jit
def _either(a, b):
    return a | b


@triton.jit
def _place(num_tiles, ROWS: tl.constexpr):
    """The candidate of this program, and its rows."""
    program = tl.program_id(0)
    tile = (program % num_tiles).to(tl.int64)
    return (program // num_tiles).to(tl.int64), tile * ROWS + tl.arange(0, ROWS)


@triton.jit
def _of_item(source, item, num_tiles, ROWS: tl.constexpr):
    return tl.load(source + tl.cast(item, tl.int64) * num_tiles * ROWS)


@triton.jit
def _class_of(item, label, num_classes):
    k = label + item
    return tl.where(k < num_classes, k, k - num_classes)


@triton.jit
def _features(log_p, factor, LOG_FEATURES: tl.constexpr):
    return log_p * factor if LOG_FEATURES else tl.exp(log_p)


@triton.jit
def _by_log_p(by_phi, phi, factor, share, LOG_FEATURES: tl.constexpr):
    """The derivative in log p, given that in phi: phi is ``factor`` log p, or p, whose derivative is p."""
    return by_phi * (factor * share) if LOG_FEATURES else by_phi * phi * share


@triton.jit
def _log_sum(source, num_classes, num_tiles, ROWS: tl.constexpr):
    """log sum_k exp(z_k)."""
    top = tl.load(source)
    for item in range(1, num_classes):
        top = tl.maximum(top, _of_item(source, item, num_tiles, ROWS))
    total = tl.full((ROWS,), 0.0, tl.float32)
    for item in range(num_classes):
        total += tl.exp(_of_item(source, item, num_tiles, ROWS) - top)
    return top + tl.log(total)
