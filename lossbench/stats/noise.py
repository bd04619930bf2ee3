"""The noise floor: how far two runs of one and the same loss function lie apart.

On one-hot targets cross-entropy and KL divergence are the same function. Under the same seed their runs are
the same run. Under different seeds they differ by noise alone, and nothing a loss function does can be seen
below that.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossbench.stats.summary import finished, probability_labels

if TYPE_CHECKING:
    import pandas as pd

TWINS = ("cross_entropy", "kl_divergence")


@dataclass(frozen=True)
class NoiseFloor:
    """Spread of the difference between two runs of the same function under different seeds.

    Args:
        sd: root mean square of the differences; nan when there are not two seeds.
        df: degrees of freedom behind `sd`: seeds minus one, summed over probability functions.
        pairs: differences that `sd` was computed from.
        seeds: most seeds found under one probability function.
        against: the loss that cross-entropy was paired with.
    """

    sd: float
    df: int
    pairs: int
    seeds: int
    against: str

    def half_width(self, n: int, coverage: float = 0.95, comparisons: int = 1) -> float:
        """Half the width of the band that holds the mean of `n` differences if the loss does not matter.

        One difference spreads by `sd`, so the mean of n of them by sd / sqrt(n); a Student t factor allows
        for `sd` being an estimate. With `comparisons` above 1 the band is wide enough (Bonferroni) that all
        of that many means fall inside with probability `coverage` or more.
        """
        from scipy import stats

        if n < 1 or self.df < 1:
            return math.nan
        tail = (1 - coverage) / (2 * max(comparisons, 1))
        return float(stats.t.isf(tail, self.df) * self.sd / math.sqrt(n))

    def detectable(self, n: int, comparisons: int = 1, power: float = 0.8) -> float:
        """True mean difference that leaves the band of `half_width` with probability `power`, over n pairs."""
        from scipy import stats

        if n < 1 or self.df < 1:
            return math.nan
        beyond = float(stats.t.ppf(power, self.df)) * self.sd / math.sqrt(n)
        return self.half_width(n, comparisons=comparisons) + beyond


def noise_floor(runs: pd.DataFrame, metric: str = "test_accuracy") -> NoiseFloor:
    """Pair cross-entropy under seed i with KL divergence under seed j, i != j, and take the spread.

    The differences are pooled over probability functions as root mean squares. For n seeds the n (n - 1)
    ordered differences hold n - 1 degrees of freedom, since every run is used more than once. Averaging them
    would give zero whatever the noise; only their size counts. Without KL runs, cross-entropy is paired with
    itself, which is the same computation. Pass runs of one setting.
    """
    table = finished(runs, metric).assign(probability=probability_labels)
    squares: list[float] = []
    df = most = 0
    against = TWINS[1] if TWINS[1] in set(table["loss"]) else TWINS[0]
    for _, cell in table.groupby("probability", sort=False):
        first, second = (_by_seed(cell, loss, metric) for loss in (TWINS[0], against))
        found = [(a - b) ** 2 for (i, a), (j, b) in itertools.product(first.items(), second.items()) if i != j]
        if found:
            seeds = len(first.keys() | second.keys())
            squares, df, most = [*squares, *found], df + seeds - 1, max(most, seeds)
    sd = math.sqrt(sum(squares) / len(squares)) if squares else math.nan
    return NoiseFloor(sd, df, len(squares), most, against)


def same_seed_differences(runs: pd.DataFrame, metric: str = "test_accuracy") -> list[float]:
    """KL divergence minus cross-entropy under the same seed: exactly 0 as long as nothing else differs."""
    table = finished(runs, metric).assign(probability=probability_labels)
    found: list[float] = []
    for _, cell in table.groupby("probability", sort=False):
        first, second = (_by_seed(cell, loss, metric) for loss in TWINS)
        found += [second[seed] - first[seed] for seed in first if seed in second]
    return found


def _by_seed(cell: pd.DataFrame, loss: str, metric: str) -> dict[int, float]:
    rows = cell[cell["loss"] == loss]
    return dict(zip(rows["seed"].astype(int), rows[metric].astype(float), strict=True))
