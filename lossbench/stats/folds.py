"""Losses compared over folds of the test images, the analysis of paper 004."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lossbench import metrics

if TYPE_CHECKING:
    import pandas as pd


def mann_whitney_folds(
    predictions: Mapping[str, tuple[ArrayLike, ArrayLike]],
    folds: int = 10,
    seed: int = 0,
    score: Callable[[ArrayLike, ArrayLike], float] = metrics.accuracy,
) -> pd.DataFrame:
    """Score each loss on stratified folds of the test images and compare every two losses.

    The folds are the same images for every loss, hence paired: read the Wilcoxon signed-rank test beside the
    paper's Mann-Whitney U. Folds of one trained model show test sampling, not how training varies.

    Args:
        predictions: label -> (target, log_probs) of one run each, as `load_predictions` gives them.
        folds: number of folds; no class may have fewer images.
        seed: fixes the folds.
        score: (log_probs, target) -> float.

    Returns: columns `first`, `second`, `n`, `difference` (median of first minus second), `u` (of first),
        `p_mann_whitney`, `p_wilcoxon`; two-sided p values.

    Raises:
        ValueError: fewer than two losses, or they were tested on different images.
    """
    import pandas as pd
    from scipy import stats

    scores = fold_scores(predictions, folds, seed, score)
    rows = []
    for first, second in itertools.combinations(scores.columns, 2):
        a, b = scores[first].to_numpy(), scores[second].to_numpy()
        test = stats.mannwhitneyu(a, b, alternative="two-sided", method="auto")
        signed = stats.wilcoxon(a, b).pvalue if (a != b).any() else 1.0
        median = float(np.median(a - b))
        rows.append((first, second, folds, median, float(test.statistic), float(test.pvalue), float(signed)))
    names = ["first", "second", "n", "difference", "u", "p_mann_whitney", "p_wilcoxon"]
    return pd.DataFrame(rows, columns=names)


def fold_scores(
    predictions: Mapping[str, tuple[ArrayLike, ArrayLike]],
    folds: int = 10,
    seed: int = 0,
    score: Callable[[ArrayLike, ArrayLike], float] = metrics.accuracy,
) -> pd.DataFrame:
    """Score each loss on each stratified fold: a row a fold, a column a label."""
    import pandas as pd
    from sklearn.model_selection import StratifiedKFold

    if len(predictions) < 2:
        raise ValueError(f"{len(predictions)} loss(es) given; pass the predictions of at least two")
    targets = [np.asarray(target) for target, _ in predictions.values()]
    if any(not np.array_equal(targets[0], other) for other in targets[1:]):
        raise ValueError("the losses were tested on different images; folds must be the same for all of them")
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    places = [place for _, place in split.split(targets[0], targets[0])]
    return pd.DataFrame(
        {
            label: [score(np.asarray(log_probs)[place], targets[0][place]) for place in places]
            for label, (_, log_probs) in predictions.items()
        }
    )
