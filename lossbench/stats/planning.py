"""What a number of seeds can show: power, smallest effect in reach, seeds needed. Paired two-sided t-test."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def power(effect: float, sd: float, n: int, alpha: float = 0.05, comparisons: int = 1) -> float:
    """Probability to find a true mean difference `effect` with `n` pairs.

    Args:
        effect: in units of the metric, such as 0.005 for half a point of accuracy.
        sd: standard deviation of one paired difference, such as that of `paired_differences`.
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
    return _fewest(
        abs(effect) / sd, alpha / comparisons / 2, target_power, lambda n: power(effect, sd, n, alpha, comparisons)
    )


def sample_size_equivalence(
    effect: float, sd: float, margin: float, alpha: float = 0.05, target_power: float = 0.8
) -> int:
    """Pairs of seeds needed for two one-sided t tests to place a true mean difference `effect` inside +-`margin`."""
    from scipy import stats

    _check(sd, 2, alpha, 1)
    if not abs(effect) < margin:
        raise ValueError(f"effect={effect!r} must lie inside the margin of {margin!r}")

    def reached(n: int) -> float:
        bound, root = stats.t.isf(alpha, n - 1), math.sqrt(n) / sd
        return float(sum(stats.nct.sf(bound, n - 1, (margin + sign * effect) * root) for sign in (1, -1)) - 1)

    return _fewest((margin - abs(effect)) / sd, alpha, target_power, reached)


def _fewest(standardised: float, tail: float, target_power: float, reached: Callable[[int], float]) -> int:
    """The smallest n whose power reaches the target; power must grow with n."""
    from scipy import stats

    # The normal distribution needs a little less than Student's t: double from there, then halve the gap.
    low = max(1, math.ceil((float(stats.norm.isf(tail) + stats.norm.ppf(target_power)) / standardised) ** 2) - 1)
    step = 1
    while reached(low + step) < target_power:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) < target_power else (low, middle)
    return high


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
