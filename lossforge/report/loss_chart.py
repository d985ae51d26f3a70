"""A found loss beside cross-entropy, drawn with characters."""

from __future__ import annotations

import torch
from rich.text import Text
from uniplot import plot_to_string

from lossforge.artifact import Artifact
from lossforge.profiles import PROFILE_LABEL, profile_log_probs

P = tuple(i / 200 for i in range(1, 200))
"""True-class probabilities that are drawn."""

WIDTH, HEIGHT = 60, 14
"""Characters within the frame."""

FULL_WIDTH = WIDTH + 8
"""Characters of a line at most: with the frame and the numbers beside it."""


def loss_chart(artifact: Artifact, *, colors: bool) -> Text:
    """Draw the loss by p of the true class, other classes alike, and cross-entropy; both 0 at the right end.

    An offset changes no gradient, so curves compare by their slopes.
    """
    log_probs_GC = profile_log_probs(torch.tensor(P), artifact.evidence["search"]["num_classes"])[0]
    found_G = artifact.loss().per_sample(log_probs_GC, torch.full((len(P),), PROFILE_LABEL))
    curves = [-log_probs_GC[:, PROFILE_LABEL], found_G]
    text = plot_to_string(
        xs=[P, P],
        ys=[(curve_G - curve_G[-1]).tolist() for curve_G in curves],
        lines=True,
        width=WIDTH,
        height=HEIGHT,
        character_set="ascii",
        color=["white", "cyan"] if colors else False,
        legend_labels=["cross_entropy", artifact.name],
        title="Loss by p of the true class",
    )
    return Text.from_ansi(text)
