"""The poster's own test, done once a seed: are losses told apart on ten folds of the test images?"""

from __future__ import annotations

import itertools
import math

import numpy as np

from lossbench.claims.contrast import PLAIN, Where, selected
from lossbench.claims.rules import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Answer
from lossbench.claims.tables import Tables, belongs

LOSSES: dict[str, Where] = {
    "CE": {"loss": "cross_entropy"},
    "r-CE": {"loss": "confidence_penalty"},
    "h-CE": {"loss": "hierarchical_cross_entropy", "loss_params": {"mode": "flat_nodes"}},
}


def share_of_seeds(tables: Tables) -> Answer:
    """In which share of seeds the test finds a difference between any two of the poster's three losses.

    The claim is supported if a repetition would mostly find none: the 95 % interval of the share (Clopper and Pearson)
    lies below one half; contradicted if it lies above.
    """
    from scipy import stats

    seeds = [_any_difference(part) for part in _by_seed(tables)]
    unit, n = "% of seeds", len(seeds)
    if not n:
        why = "needs folds of CE, r-CE and h-CE under one seed"
        return Answer(
            NOT_TESTED, math.nan, unit, 0, why, limits=() if tables.folds is not None else ("no folds given",)
        )
    found = stats.binomtest(sum(seeds), n).proportion_ci(method="exact")
    low, high = 100 * float(found.low), 100 * float(found.high)
    verdict = SUPPORTED if high < 50 else CONTRADICTED if low > 50 else UNDECIDED
    why = f"{sum(seeds)} of {n} seeds show a difference"
    limits = (*(("one seed",) if n == 1 else ()), "folds of one trained network show test sampling, not training")
    return Answer(
        verdict, 100 * sum(seeds) / n, unit, n, why, low, high, limits, "ten stratified folds of the test images"
    )


def _by_seed(tables: Tables) -> list[dict[str, np.ndarray]]:
    """For each data set, model and seed that has all three losses: their accuracies by fold."""
    if tables.folds is None or tables.folds.empty:
        return []
    columns = tables.columns
    cifar = {name: belongs(name, "cifar-10") for name in set(columns["dataset"])}
    here = np.array([cifar[name] for name in columns["dataset"]], dtype=bool) & columns["ended"].astype(bool)
    folds = dict(
        iter(tables.folds.drop_duplicates(["run_id", "fold"]).sort_values("fold").groupby("run_id")["accuracy"])
    )
    tested: dict[tuple[object, ...], dict[str, np.ndarray]] = {}
    for name, where in LOSSES.items():
        for row in np.flatnonzero(here & selected(columns, {**where, **PLAIN})):
            if columns["run_id"][row] in folds:
                place = (tables.settings[row].tobytes(), columns["probability"][row], columns["seed"][row])
                tested.setdefault(place, {})[name] = folds[columns["run_id"][row]].to_numpy(dtype=float)
    return [scores for scores in tested.values() if len(scores) == len(LOSSES)]


def _any_difference(scores: dict[str, np.ndarray]) -> bool:
    """Whether any two losses differ at 0.05 after Holm."""
    from scipy import stats

    pairs = list(itertools.combinations(scores.values(), 2))
    p_values = [float(stats.mannwhitneyu(a, b, alternative="two-sided", method="auto").pvalue) for a, b in pairs]
    return len(pairs) * min(p_values) < 0.05
