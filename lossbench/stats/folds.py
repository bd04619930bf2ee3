"""Losses compared over folds of the test images, the analysis of paper 004."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench import metrics
from lossbench.scores import score_mistakes

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 10


def compare_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every two losses over the same folds.

    The folds are the same images for every loss, hence paired: read the Wilcoxon signed-rank test beside the
    paper's Mann-Whitney U. Folds of one trained model show test sampling, not how training varies.

    Args:
        scores: a row a fold, a column a loss, as from the table of `load_folds` by
            `table.pivot(index="fold", columns="run_id", values="accuracy")`.

    Returns: columns `first`, `second`, `n`, `difference` (median of first minus second), `u` (of first),
        `p_mann_whitney`, `p_wilcoxon`; two-sided p values.

    Raises:
        ValueError: fewer than two losses, or a fold without a score.
    """
    import pandas as pd
    from scipy import stats

    if scores.shape[1] < 2:
        raise ValueError(f"{scores.shape[1]} loss(es) given; pass the scores of at least two")
    if scores.isna().to_numpy().any():
        raise ValueError("some folds have no score; compare losses that were tested on the same images")
    rows = []
    for first, second in itertools.combinations(scores.columns, 2):
        a, b = scores[first].to_numpy(), scores[second].to_numpy()
        test = stats.mannwhitneyu(a, b, alternative="two-sided", method="auto")
        signed = stats.wilcoxon(a, b).pvalue if (a != b).any() else 1.0
        median = float(np.median(a - b))
        rows.append((first, second, len(scores), median, float(test.statistic), float(test.pvalue), float(signed)))
    names = ["first", "second", "n", "difference", "u", "p_mann_whitney", "p_wilcoxon"]
    return pd.DataFrame(rows, columns=names)


def score_folds(
    target: ArrayLike, log_probs: ArrayLike, class_names: Sequence[str], folds: int = FOLDS, seed: int = 0
) -> list[dict[str, float]]:
    """Score one run on each stratified fold of its test images.

    Returns: for each fold `accuracy` and `macro_f1`, and where a class tree is known `tree_distance`,
        `mistake_distance` and `critical_error` (see `scores.score_mistakes`).
    """
    truth, scores = np.asarray(target), np.asarray(log_probs)
    predicted = scores.argmax(axis=1)
    return [
        {
            "accuracy": metrics.accuracy(scores[place], truth[place]),
            "macro_f1": metrics.macro_f1(scores[place], truth[place]),
            **score_mistakes(truth[place], predicted[place], class_names),
        }
        for place in stratified_folds(truth, folds, seed)
    ]


def stratified_folds(target: NDArray[np.int64], folds: int = FOLDS, seed: int = 0) -> list[NDArray[np.int64]]:
    """Places of the images of each fold; classes are spread evenly, and equal targets give equal folds."""
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [place for _, place in split.split(target, target)]
