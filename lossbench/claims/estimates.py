"""Paired differences of several data sets in one estimate: data sets are given, seeds are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lossbench import stats

ALPHA = 0.05
POWER = 0.8
NOTHING = 1e-3  # of a standard deviation: some ten million pairs would be needed


@dataclass(frozen=True)
class Estimate:
    """Mean over data sets of the mean over seeds, with its standard error.

    Args:
        mean: the estimate.
        se: its standard error, >= 0.
        df: degrees of freedom behind `se`.
        n: pairs behind it: seeds, summed over data sets.
    """

    mean: float
    se: float
    df: float
    n: int

    def interval(self, coverage: float = 1 - ALPHA) -> tuple[float, float]:
        """Student's t interval."""
        half = quantile((1 + coverage) / 2, self.df) * self.se
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """One-sided p value that the true mean is larger than `bound`."""
        return self._tail(self.mean - bound)

    def p_below(self, bound: float) -> float:
        """One-sided p value that the true mean is smaller than `bound`."""
        return self._tail(bound - self.mean)

    def _tail(self, gap: float) -> float:
        from scipy import stats as scipy_stats

        return float(scipy_stats.t.sf(gap / self.se, self.df))

    @property
    def sd(self) -> float:
        """Standard deviation of one pair that would give `se` with `n` pairs."""
        return self.se * math.sqrt(self.n)

    @property
    def detectable(self) -> float:
        """True difference found with probability 0.8 by as many pairs (`stats.minimum_detectable_effect`)."""
        return stats.minimum_detectable_effect(self.sd, self.n, ALPHA, POWER)


def combine(samples: Sequence[np.ndarray]) -> Estimate | None:
    """Every data set counts alike, whatever its number of seeds; None without any spread to judge by.

    Only samples of two or more differences enter. The degrees of freedom are Welch's and Satterthwaite's, so data sets
    may spread differently; for one data set this is the paired t-test, for two it is Welch's.
    """
    usable = [np.asarray(sample, dtype=float) for sample in samples if len(sample) > 1]
    if not usable:
        return None
    # Equal differences give no spread; what rounding leaves of it is not one.
    spread = [0.0 if np.ptp(sample) < 1e-9 * max(1.0, abs(sample[0])) else sample.var(ddof=1) for sample in usable]
    errors = np.array([variance / len(sample) for variance, sample in zip(spread, usable, strict=True)])
    if not errors.sum() > 0:
        return None
    degrees = np.array([len(sample) - 1 for sample in usable])
    df = float(errors.sum() ** 2 / (errors**2 / degrees).sum())
    mean = float(np.mean([sample.mean() for sample in usable]))
    return Estimate(mean, math.sqrt(errors.sum()) / len(usable), df, sum(map(len, usable)))


def noise_band(
    variances: Sequence[float], degrees: Sequence[int], pairs: Sequence[int], coverage: float = 0.95
) -> float:
    """Half the width of the band that holds an estimate if both sides are one function under different seeds.

    Args:
        variances: for each data set, the variance of one difference between two runs of the reference loss.
        degrees: degrees of freedom behind each variance.
        pairs: pairs of each data set.

    Returns: for one data set, `stats.NoiseFloor.half_width(pairs)`; nan where the noise is unknown, 0 without noise.
    """
    errors = np.array([v / n for v, d, n in zip(variances, degrees, pairs, strict=True) if d > 0])
    known = np.array([d for d in degrees if d > 0])
    if not len(errors) or not errors.sum() > 0:
        return 0.0 if len(errors) else math.nan
    df = float(errors.sum() ** 2 / (errors**2 / known).sum())
    return float(quantile((1 + coverage) / 2, df)) * math.sqrt(errors.sum()) / len(errors)


def pairs_needed(estimate: Estimate, effect: float, comparisons: int = 1) -> float:
    """Pairs that would find a true difference `effect` with probability 0.8; nan for one next to nothing."""
    if not effect > NOTHING * estimate.sd:
        return math.nan
    return float(stats.sample_size(effect, estimate.sd, ALPHA, POWER, comparisons))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction over those that have a p value; nan for the others."""
    known = sorted((p, key) for key, p in p_values.items() if math.isfinite(p))
    steps = np.array([p * (len(known) - place) for place, (p, _) in enumerate(known)])
    found = np.minimum(np.maximum.accumulate(steps), 1.0) if known else steps
    return {**dict.fromkeys(p_values, math.nan), **{key: float(p) for (_, key), p in zip(known, found, strict=True)}}


def quantile(share: float, df: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy import stats as scipy_stats

    return float(scipy_stats.t.ppf(share, df))
