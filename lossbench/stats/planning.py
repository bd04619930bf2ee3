"""What a number of seeds can show: power, smallest effect in reach, seeds needed. Paired two-sided t-test."""

from __future__ import annotations

import math
from typing import Any


def power(effect: float, sd: float, n: int, alpha: float = 0.05, comparisons: int = 1) -> float:
    """Probability to find a true mean difference `effect` with `n` pairs.

    Args:
        effect: in units of the metric, such as 0.005 for half a point of accuracy.
        sd: standard deviation of one paired difference, such as `noise_floor(runs).sd`.
        alpha: chance of a false alarm over all `comparisons` (Bonferroni).
    """
    _check(sd, n, alpha, comparisons)
    return float(_solver().power(abs(effect) / sd, n, alpha / comparisons))


def minimum_detectable_effect(
    sd: float, n: int, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1
) -> float:
    """Smallest true mean difference that `n` pairs find with probability `target_power`; nan for one pair."""
    _check(sd, n, alpha, comparisons)
    if n < 2:
        return math.nan
    return sd * _solve(nobs=n, alpha=alpha / comparisons, power=target_power)


def sample_size(effect: float, sd: float, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1) -> int:
    """Pairs of seeds needed to find a true mean difference `effect` with probability `target_power`."""
    _check(sd, 2, alpha, comparisons)
    if effect == 0:
        raise ValueError("effect=0 needs infinitely many seeds; state the smallest difference that matters")
    from scipy import stats

    # The normal distribution needs a little less than Student's t: count up from there. A root finder fails at times.
    tails = stats.norm.isf(alpha / comparisons / 2) + stats.norm.ppf(target_power)
    n = max(2, math.ceil((float(tails) * sd / effect) ** 2))
    while power(effect, sd, n, alpha, comparisons) < target_power:
        n += 1
    return n


def _solver() -> Any:
    from statsmodels.stats.power import TTestPower

    return TTestPower()


def _solve(**known: float) -> float:
    import numpy as np

    return float(np.squeeze(_solver().solve_power(**known)))


def _check(sd: float, n: int, alpha: float, comparisons: int) -> None:
    if not sd > 0:
        raise ValueError(f"sd={sd!r} must be greater than 0")
    if n < 1 or comparisons < 1:
        raise ValueError(f"n={n!r} and comparisons={comparisons!r} must be at least 1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie in (0, 1)")
