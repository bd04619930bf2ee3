"""The analyses of paper 000, from any table of runs: kept to re-derive its Tables 4.2 to 4.6.

They are what the paper did, not what we advise: one run a cell, epochs chosen on the test images, no
correction for many tests. Measured runs are averaged over seeds first.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

from lossbench.registry import unknown
from lossbench.stats.runs import finished

if TYPE_CHECKING:
    import pandas as pd

# Column of the table of runs -> +1 if more is better, -1 if less is.
METRICS = {"test_accuracy": 1, "best_epoch": -1}
CELL = ["dataset", "loss", "label", "probability"]


def _cells(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One value a (dataset, loss, probability function): the mean over its seeds."""
    return finished(runs, metric).groupby(CELL, sort=False)[metric].mean().reset_index()


def placement_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Rank the losses on each dataset: n points for the best of n, 1 for the last, shared on ties (Table 4.2).

    A loss counts with the best of its probability functions, separately for accuracy and for the epoch.

    Returns: columns `metric` (`test_accuracy`, `best_epoch`, `overall`), `dataset` (`all` for sums), `loss`,
        `label`, `points`.
    """
    import pandas as pd

    parts = []
    for metric, sign in METRICS.items():
        cells = _cells(runs, metric)
        scores = (sign * cells[metric]).groupby([cells[name] for name in CELL[:-1]], sort=False)
        best = scores.max().rename("score").reset_index()
        best["points"] = best.groupby("dataset")["score"].rank(method="average")
        parts.append(best.drop(columns="score").assign(metric=metric))
    points = pd.concat(parts, ignore_index=True)
    sums = points.groupby(["metric", "loss", "label"], sort=False)["points"].sum().reset_index()
    overall = sums.groupby(["loss", "label"], sort=False)["points"].sum().reset_index()
    table = pd.concat([points, sums.assign(dataset="all"), overall.assign(dataset="all", metric="overall")])
    return table.reset_index(drop=True)[["metric", "dataset", "loss", "label", "points"]]


def probability_wins(runs: pd.DataFrame) -> pd.DataFrame:
    """Count on how many datasets each probability function is the best one for a loss (Tables 4.3, 4.4).

    Ties share the win equally. Sum over losses for Table 4.4.

    Returns: columns `metric`, `loss`, `label`, `probability`, `wins`.
    """
    import pandas as pd

    parts = []
    for metric, sign in METRICS.items():
        cells = _cells(runs, metric)
        score = sign * cells[metric]
        group = [cells["dataset"], cells["label"]]
        won = score == score.groupby(group).transform("max")
        cells["wins"] = won / won.groupby(group).transform("sum")
        keys = ["loss", "label", "probability"]
        parts.append(cells.groupby(keys, sort=False)["wins"].sum().reset_index().assign(metric=metric))
    table = pd.concat(parts, ignore_index=True)
    return table[["metric", "loss", "label", "probability", "wins"]]


def paired_t_tests(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare probability functions on each dataset by a t-test paired over the losses (Table 4.5).

    The paper prints `p_one_tailed`, half the two-sided p after seeing the sign: not a valid one-sided test.

    Returns: columns `metric`, `dataset`, `first`, `second`, `n` (losses), `difference` (first minus second),
        `t`, `p_one_tailed`, `p_two_tailed`.
    """
    import pandas as pd
    from scipy import stats

    rows = []
    for metric in METRICS:
        for dataset, part in _cells(runs, metric).groupby("dataset", sort=False):
            table = part.pivot(index="label", columns="probability", values=metric)
            for first, second in itertools.combinations(dict.fromkeys(part["probability"]), 2):
                pair = table[[first, second]].dropna()
                t, p = stats.ttest_rel(pair[first], pair[second])
                difference = (pair[first] - pair[second]).mean()
                rows.append((metric, dataset, first, second, len(pair), difference, t, p / 2, p))
    names = ["metric", "dataset", "first", "second", "n", "difference", "t", "p_one_tailed", "p_two_tailed"]
    return pd.DataFrame(rows, columns=names)


def population_p_values(
    runs: pd.DataFrame, variant: Literal["thesis", "se"] = "thesis", tails: Literal[1, 2] = 1
) -> pd.DataFrame:
    """Place each loss's mean in the population of all runs of a dataset by a normal z (Table 4.6).

    Args:
        variant: `thesis` divides by the standard deviation of single runs, as the paper did, although a mean
            of several runs is placed; `se` divides by the standard error of that mean. Both count the loss
            itself into the population.
        tails: 1 as the paper, or 2.

    Returns: columns `metric`, `dataset`, `loss`, `label`, `n`, `mean`, `z`, `p`.
    """
    import pandas as pd
    from scipy import stats

    if variant not in ("thesis", "se"):
        raise ValueError(unknown("variant", variant, ("thesis", "se")))
    if tails not in (1, 2):
        raise ValueError(f"tails={tails!r} must be 1 or 2")
    rows = []
    for metric in METRICS:
        for dataset, part in _cells(runs, metric).groupby("dataset", sort=False):
            centre, spread = float(part[metric].mean()), float(part[metric].std(ddof=0))
            for (loss, label), cell in part.groupby(["loss", "label"], sort=False):
                n, mean = len(cell), float(cell[metric].mean())
                z = (mean - centre) / spread * (math.sqrt(n) if variant == "se" else 1)
                rows.append((metric, dataset, loss, label, n, mean, z, tails * float(stats.norm.sf(abs(z)))))
    return pd.DataFrame(rows, columns=["metric", "dataset", "loss", "label", "n", "mean", "z", "p"])
