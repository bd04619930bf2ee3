"""Limits of an axis that follow the curves in steps, so that a slider seldom redraws the ticks."""

from __future__ import annotations

import math

import numpy as np

from lossbench.explorer.comparison import Scale
from lossbench.explorer.curves import Array

DECADES = 6  # how far down a logarithmic panel reaches at most
Limits = tuple[float, float]


def choose_limits(values: Array, coverage: float, scale: Scale, current: Limits | None = None) -> Limits:
    """Limits around the middle `coverage` of the finite values, which on scale "log" are logarithms already.

    The current limits stay as long as they serve.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return current or (0.0, 1.0)
    tail = (1 - coverage) / 2
    low, high = (float(edge) for edge in np.quantile(finite, (tail, 1 - tail)))
    if scale == "linear":
        return fit_linear(min(low, 0.0), max(high, 0.0), current)
    top = float(math.ceil(high - 1e-9))
    return max(math.floor(low), top - DECADES) - 0.1, top + 0.1


def fit_linear(low: float, high: float, current: Limits | None) -> Limits:
    """Round limits around `low` <= 0 <= `high`; the current ones unless 60 % of them would be empty."""
    if high - low < 1e-12:
        return current or (0.0, 1.0)
    if current and current[0] <= low and high <= current[1] and (high - low) > 0.4 * (current[1] - current[0]):
        return current
    step = _round_up((high - low) / 4)
    margin = step / 5
    return (
        step * math.floor(low / step) if low < -margin else -margin,
        step * math.ceil(high / step) if high > margin else margin,
    )


def _round_up(size: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))
