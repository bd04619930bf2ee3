"""Paired differences of several data sets in one mean, weighted by their precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import ArrayLike

from lossbench.stats.paired import ALPHA, LEAST_PAIRS, judge, t_quantile, t_tail


@dataclass(frozen=True)
class Pooled:
    """A mean of differences with its standard error, degrees of freedom, and the pairs behind it."""

    mean: float
    se: float
    df: float
    n: int

    def interval(self, level: float = ALPHA) -> tuple[float, float]:
        """Student's t interval with coverage 1 - `level`."""
        half = t_quantile(1 - level / 2, self.df) * self.se
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """One-sided p value that the true mean is larger than `bound`."""
        return t_tail((self.mean - bound) / self.se, self.df)

    def p_below(self, bound: float) -> float:
        """One-sided p value that the true mean is smaller than `bound`."""
        return t_tail((bound - self.mean) / self.se, self.df)


def pool(samples: Sequence[ArrayLike], resolutions: Sequence[float] = ()) -> Pooled | None:
    """Pool the differences of several data sets; None without a spread to judge by.

    Weights are inverse squared standard errors. These are estimated from few pairs, so the variance has Meier's
    correction (1953, Biometrics 9), and the degrees of freedom are those of the smallest sample. By simulation with 3
    to 20 pairs on 2 to 6 data sets, 95 % intervals cover the truth in 93 to 98 % of cases; one data set is the t test.

    The pooled mean belongs to no single data set: where they differ, it lies near the one measured most precisely. Look
    at each of them too, and at their signs.

    Args:
        samples: differences of each data set; those with fewer than 3 pairs or without a spread do not enter.
        resolutions: how finely each is counted, as in `judge`.
    """
    pairs = zip_longest(samples, resolutions, fillvalue=0.0)
    judged = [judge([sample], margin=None, resolution=float(resolution))[0] for sample, resolution in pairs]
    usable = [row for row in judged if row.n >= LEAST_PAIRS and math.isfinite(row.low)]
    if not usable:
        return None
    precision = np.array([row.se**-2 for row in usable])
    df = np.array([row.n - 1 for row in usable])
    shares = precision / precision.sum()
    correction = 1 + 4 * float((shares * (1 - shares) / (df - 1)).sum())
    return Pooled(
        mean=float(shares @ [row.mean for row in usable]),
        se=math.sqrt(correction / precision.sum()),
        df=float(df.min()),
        n=sum(row.n for row in usable),
    )
