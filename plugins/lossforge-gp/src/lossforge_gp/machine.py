"""Expressions evaluated together, level by level from the deepest, without a loop over them and without ``eval``.

Nodes of one depth are one level. All of a level that have the same function are evaluated by one call; their arguments
are rows of the level below, each of which is read once. So a population costs at most depth x functions calls, and as
many rows as there are nodes.
"""

from __future__ import annotations

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


def evaluated(solutions_PD: Tensor, log_p_PBC: Tensor, is_label_BC: Tensor) -> Tensor:
    """Return f_PBC, every candidate's expression for every class.

    Args:
        solutions_PD: the candidates, in the precision of ``log_p_PBC``.
        log_p_PBC: log-probabilities; a leading size of 1 is shared by all candidates.
        is_label_BC: y, 1 for the label and 0 for the others.
    """
    shape, device = log_p_PBC.shape[1:], log_p_PBC.device
    layout = laid_out(codes_of(solutions_PD).cpu())
    constants_PN = solutions_PD[:, solutions_PD.shape[1] // 2 :]
    p_PBC, shared = log_p_PBC.exp(), len(log_p_PBC) == 1
    row_PM = torch.zeros_like(layout.codes_PM)
    below = log_p_PBC[:0]
    for depth in range(max(layout.depth_PM.flatten().tolist(), default=-1), -1, -1):
        at_PM, groups, num_rows = layout.depth_PM == depth, [], 0
        for code in torch.bincount(layout.codes_PM[at_PM]).nonzero().flatten().tolist():
            candidate, slot = (at_PM & (layout.codes_PM == code)).nonzero(as_tuple=True)
            row_PM[candidate, slot] = num_rows + torch.arange(len(candidate))
            num_rows += len(candidate)
            where = candidate.to(device)
            if code in (P, LOG_P):
                values = p_PBC if code == P else log_p_PBC
                groups.append(values.expand(len(where), *shape) if shared else values.index_select(0, where))
            elif code == Y:
                groups.append(is_label_BC.expand(len(where), *shape))
            elif code == CONSTANT:
                groups.append(constants_PN[where, slot.to(device)][:, None, None].expand(-1, *shape))
            else:
                function = FUNCTIONS[code - FIRST_FUNCTION]
                arguments = (slot + 1, layout.second_PM[candidate, slot])[: function.arity]
                rows = [below.index_select(0, row_PM[candidate, argument].to(device)) for argument in arguments]
                groups.append(function.apply(*rows))
        below = torch.cat(groups)
    return below.index_select(0, row_PM[:, 0].to(device))
