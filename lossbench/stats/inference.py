"""Losses ranked within blocks: Friedman's test, Nemenyi's comparison, the critical difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossbench.stats.runs import finished, probability_labels

if TYPE_CHECKING:
    import pandas as pd


BLOCK = ["dataset", "model", "probability", "seed"]


@dataclass(frozen=True)
class Ranking:
    """How losses rank over blocks.

    Args:
        ranks: mean rank of each label, 1 is best.
        blocks: blocks in which every loss has a score; the others were left out.
        incomplete: how many were left out.
        statistic: Friedman's chi square.
        p: its p value.
        pairwise: Nemenyi's p value for every two labels.
        critical_difference: mean ranks closer than this do not differ at 0.05.
    """

    ranks: pd.Series
    blocks: int
    incomplete: int
    statistic: float
    p: float
    pairwise: pd.DataFrame
    critical_difference: float


def rank_losses(runs: pd.DataFrame, metric: str = "test_accuracy") -> Ranking:
    """Rank the losses within every dataset, model, probability function and seed.

    Blocks that share a dataset are not independent, so p values say more about these datasets than about
    datasets in general.

    Raises:
        ValueError: fewer than three losses, or fewer than two blocks with all of them.

    Source: Demsar 2006, JMLR 7, section 3.2.2.
    """
    import scikit_posthocs
    from scipy import stats

    table = finished(runs, metric).assign(probability=probability_labels)
    scores = table.pivot_table(index=BLOCK, columns="label", values=metric, sort=False)
    whole = scores.dropna()
    if whole.shape[1] < 3 or len(whole) < 2:
        raise ValueError(
            f"{whole.shape[1]} losses with {len(whole)} complete blocks; Friedman's test needs at least 3 losses and 2"
        )
    statistic, p = 0.0, 1.0  # equal scores in every block, where scipy divides 0 by 0
    if (whole.nunique(axis=1) > 1).any():
        test = stats.friedmanchisquare(*(whole[label] for label in whole))
        statistic, p = float(test.statistic), float(test.pvalue)
    pairwise = scikit_posthocs.posthoc_nemenyi_friedman(whole.reset_index(drop=True))
    return Ranking(
        ranks=whole.rank(axis=1, ascending=False).mean(),
        blocks=len(whole),
        incomplete=len(scores) - len(whole),
        statistic=statistic,
        p=p,
        pairwise=pairwise,
        critical_difference=critical_difference(whole.shape[1], len(whole)),
    )


def critical_difference(losses: int, blocks: int, alpha: float = 0.05) -> float:
    """Smallest difference of mean ranks that Nemenyi's test calls significant (Demsar 2006, section 3.2.2)."""
    from scipy import stats

    if losses < 2 or blocks < 1:
        raise ValueError(f"{losses} losses over {blocks} blocks; at least 2 and 1 are needed")
    q = float(stats.studentized_range.ppf(1 - alpha, losses, math.inf)) / math.sqrt(2)
    return q * math.sqrt(losses * (losses + 1) / (6 * blocks))
