"""Expressions evaluated together, level by level from the deepest, without a loop over them and without ``eval``.

Nodes of one depth are one level. All of a level that have the same function are evaluated by one call; their arguments
are rows of the level below, each of which is read once. So a population costs at most depth x functions calls, and as
many rows as there are nodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge_gp.functions import FUNCTIONS
from lossforge_gp.grammar import ARITIES, CODE_OF, CONSTANT, FIRST_FUNCTION, NUM_CODES, P, Y
from lossforge_gp.tree import codes_of

LOG_P = NUM_CODES
"""Code of log applied to p itself, which is the log-probability: exact, and with a gradient, for any p."""


@dataclass(frozen=True)
class Layout:
    """Where the nodes of a population are; M slots each, on the CPU.

    Attributes:
        codes_PM: what stands there.
        depth_PM: how deep, 0 for the root; -1 where nothing is evaluated.
        second_PM: the slot of the second argument; the first is the slot that follows.
    """

    codes_PM: Tensor
    depth_PM: Tensor
    second_PM: Tensor


def laid_out(codes_PN: Tensor) -> Layout:
    """Return the layout of N codes in prefix order, read as by :func:`lossforge_gp.tree.decoded`."""
    num, slots = codes_PN.shape
    # N functions of two arguments miss N + 1 more.
    codes_PM = torch.cat((codes_PN, codes_PN.new_full((num, slots + 1), P)), dim=1)
    change_PM = torch.tensor((*ARITIES, 0))[codes_PM] - 1
    open_PM = change_PM.cumsum(dim=1)  # places open after a slot, less the one open at first
    slot_M = torch.arange(codes_PM.shape[1])
    # A subexpression ends at the first slot after which fewer places are open than before its first one.
    closed_PMM = (open_PM[:, None, :] < (open_PM - change_PM)[:, :, None]) & (slot_M >= slot_M[:, None])
    last_PM = closed_PMM.to(torch.uint8).argmax(dim=2)
    covers_PMM = (slot_M > slot_M[:, None]) & (slot_M <= last_PM[:, :, None])
    depth_PM = covers_PMM.sum(dim=1)
    is_log_p_PM = (codes_PM == CODE_OF["log"]) & (codes_PM.roll(-1, dims=1) == P)
    is_read_PM = (slot_M <= last_PM[:, :1]) & ~is_log_p_PM.roll(1, dims=1)
    second_PM = (last_PM.roll(-1, dims=1) + 1).clamp_max(codes_PM.shape[1] - 1)
    return Layout(torch.where(is_log_p_PM, LOG_P, codes_PM), torch.where(is_read_PM, depth_PM, -1), second_PM)


@dataclass(frozen=True)
class Group:
    """All nodes of a level that have one function, or are one terminal; on the device of the evaluation.

    Attributes:
        code: which.
        candidate_K: whose they are.
        slot_K: where in these they stand.
        arguments: of each argument, its rows in the level below.
    """

    code: int
    candidate_K: Tensor
    slot_K: Tensor
    arguments: tuple[Tensor, ...]


Plan = tuple[tuple[tuple[Group, ...], ...], Tensor]
"""The groups of each level, the deepest first, and in which row of the last level each candidate's root is."""


@functools.lru_cache(maxsize=128)
def planned(codes: bytes, num: int, device: torch.device) -> Plan:
    """Return the plan of codes.

    Remembered, since the candidates of a generation are evaluated many times, and a loss in every step of a training.

    Args:
        codes: N of each candidate, a byte each.
        num: how many candidates.
        device: where they are evaluated.
    """
    layout = laid_out(torch.frombuffer(bytearray(codes), dtype=torch.uint8).reshape(num, -1).long())
    row_PM = torch.zeros_like(layout.codes_PM)
    levels = []
    for depth in range(int(layout.depth_PM.max()), -1, -1):
        at_PM, groups, num_rows = layout.depth_PM == depth, [], 0
        for code in torch.bincount(layout.codes_PM[at_PM]).nonzero().flatten().tolist():
            candidate_K, slot_K = (at_PM & (layout.codes_PM == code)).nonzero(as_tuple=True)
            row_PM[candidate_K, slot_K] = num_rows + torch.arange(len(candidate_K))
            num_rows += len(candidate_K)
            arity = FUNCTIONS[code - FIRST_FUNCTION].arity if FIRST_FUNCTION <= code < LOG_P else 0
            arguments = (slot_K + 1, layout.second_PM[candidate_K, slot_K])[:arity]
            rows = tuple(row_PM[candidate_K, argument_K].to(device) for argument_K in arguments)
            groups.append(Group(code, candidate_K.to(device), slot_K.to(device), rows))
        levels.append(tuple(groups))
    return tuple(levels), row_PM[:, 0].to(device)


def plan_of(solutions_PD: Tensor) -> Plan:
    """Return the plan of solutions, on their device; they are read from there."""
    if torch.compiler.is_compiling():  # what is run depends on the solutions
        disable: Callable[[Callable[[Tensor], Plan]], Callable[[Tensor], Plan]] = torch.compiler.disable
        return disable(_plan_of)(solutions_PD)  # not a decorator: it takes a second to import
    return _plan_of(solutions_PD)


def _plan_of(solutions_PD: Tensor) -> Plan:
    codes = codes_of(solutions_PD).to("cpu", torch.uint8)
    with torch.inference_mode(False):  # autograd takes no index that was made in inference mode
        return planned(codes.numpy().tobytes(), len(solutions_PD), solutions_PD.device)


def evaluated(solutions_PD: Tensor, log_p_PBC: Tensor, is_label_BC: Tensor) -> Tensor:
    """Return f_PBC, every candidate's expression for every class.

    Args:
        solutions_PD: the candidates, in the precision of ``log_p_PBC``.
        log_p_PBC: log-probabilities; a leading size of 1 is shared by all candidates.
        is_label_BC: y, 1 for the label and 0 for the others.
    """
    num, shape = len(solutions_PD), log_p_PBC.shape[1:]
    if not num:
        return log_p_PBC.new_zeros(0, *shape)
    levels, root_P = plan_of(solutions_PD)
    constants_PN, p_PBC = solutions_PD[:, solutions_PD.shape[1] // 2 :], log_p_PBC.exp()

    def values(group: Group, below: Tensor) -> Tensor:
        if group.code in (P, LOG_P):
            source_PBC = p_PBC if group.code == P else log_p_PBC
            shared = len(source_PBC) == 1
            return (
                source_PBC.expand(len(group.slot_K), *shape)
                if shared
                else source_PBC.index_select(0, group.candidate_K)
            )
        if group.code == Y:
            return is_label_BC.expand(len(group.slot_K), *shape)
        if group.code == CONSTANT:
            return constants_PN[group.candidate_K, group.slot_K][:, None, None].expand(-1, *shape)
        arguments = [below.index_select(0, rows) for rows in group.arguments]
        return FUNCTIONS[group.code - FIRST_FUNCTION].apply(*arguments)

    below = log_p_PBC
    for groups in levels:
        below = torch.cat([values(group, below) for group in groups])
    return below.index_select(0, root_P)
