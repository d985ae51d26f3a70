"""The learning-rate schedule."""

from __future__ import annotations


def triangular_learning_rate(step: int, num_steps: int, peak: float, warmup_fraction: float) -> float:
    """Return the learning rate of a step (from 0): linear from 0 to ``peak``, then linear to 0.

    With u = (step + 1/2) / num_steps the middle of the step, so that no step is spent at a rate of 0, and f the
    ``warmup_fraction``: peak u / f for u < f, peak (1 - u) / (1 - f) from there on. The mean over all steps is about
    peak / 2.
    """
    progress = (step + 0.5) / num_steps
    if progress < warmup_fraction:
        return peak * progress / warmup_fraction
    return peak * (1 - progress) / (1 - warmup_fraction)
