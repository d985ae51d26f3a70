"""Stationary points of a risk by the balance of what pulls a logit up and down, which rare classes do not upset.

The slope of the risk sum_y q_y loss(z, y) in z_j is a sum over labels, up - down. Where a class is rare in p, both are
tiny and a descent takes the point for good long before they cancel. The logarithm of down / up has no such scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.evidence.explanation.subject import Subject

NUM_STEPS = 60
LONGEST_STEP = 8.0


def imbalance(subject: Subject, z_MC: Tensor, q_MC: Tensor) -> tuple[Tensor, Tensor]:
    """Return what of each slope does not cancel, |up - down| / (up + down) (M, C), and log(down / up) (M, C).

    The latter is 0 where nothing pulls in one of the two directions.
    """
    num_classes = q_MC.shape[1]
    labels = torch.arange(num_classes).repeat(len(z_MC))
    gradient = subject.gradients(z_MC.repeat_interleave(num_classes, dim=0), labels)
    parts_MYC = gradient.reshape(-1, num_classes, num_classes) * q_MC[:, :, None]
    up, down = parts_MYC.clamp_min(0.0).sum(dim=1), (-parts_MYC).clamp_min(0.0).sum(dim=1)
    size = (up + down).clamp_min(torch.finfo(q_MC.dtype).tiny)
    return (up - down).abs() / size, (down.log() - up.log()).nan_to_num(0.0, 0.0, 0.0)


def uncancelled(subject: Subject, z_MC: Tensor, q_MC: Tensor) -> Tensor:
    """Return the largest share of a logit's slope that does not cancel, 0 at a stationary point."""
    share_M: Tensor = imbalance(subject, z_MC, q_MC)[0].amax(dim=1)
    return share_M


def balanced(subject: Subject, z_MC: Tensor, q_MC: Tensor) -> Tensor:
    """Return the most stationary point met by secant steps in each logit by itself on log(down / up) = 0."""
    z, best = z_MC.clone(), z_MC.clone()
    share, value = imbalance(subject, z, q_MC)
    least = share.amax(dim=1)
    slope = torch.full_like(z, -1.0)
    for _ in range(NUM_STEPS):
        step = (-value / slope).clamp(-LONGEST_STEP, LONGEST_STEP)
        share, new_value = imbalance(subject, z + step, q_MC)
        secant = (new_value - value) / torch.where(step == 0, 1.0, step)
        # Raising a logit lets less pull it up: a slope that says otherwise is not that of a minimum.
        slope = torch.where((secant < -1e-3) & (step != 0), secant, slope)
        z, value = z + step, new_value
        better = share.amax(dim=1) < least
        least = torch.where(better, share.amax(dim=1), least)
        best = torch.where(better[:, None], z, best)
    return best
