"""Claims of the thesis that its own printed numbers decide: computed from `lossbench.published`, not from our runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from lossbench import published, stats
from lossbench.claims import algebra
from lossbench.claims.estimates import combine
from lossbench.claims.rules import CONTRADICTED, SUPPORTED, UNDECIDED, Answer, settle

if TYPE_CHECKING:
    import pandas as pd

ONE_RUN = "one run a cell"


def from_differences(values: np.ndarray, unit: str, why: str, *limits: str) -> Answer:
    """Verdict on "above 0" from a paper's own differences, by the t interval of their mean."""
    estimate = combine([values])
    assert estimate is not None
    low, high = estimate.interval()
    verdict = SUPPORTED if low > 0 else CONTRADICTED if high < 0 else UNDECIDED
    return Answer(verdict, estimate.mean, unit, len(values), why, low, high, limits)


@cache
def kl_epochs() -> Answer:
    """Best epoch of cross-entropy minus that of KL divergence in Table 4.1."""
    cells = _thesis().pivot(index=["dataset", "probability"], columns="label", values="best_epoch")
    gaps = (cells["cross_entropy"] - cells["kl_divergence"]).to_numpy(dtype=float)
    why = "the paper's own nine differences do not show it; and the two are one function"
    answer = from_differences(gaps, "epochs", why, ONE_RUN)
    same = algebra.ce_is_kl().verdict == CONTRADICTED
    return replace(answer, verdict=CONTRADICTED) if same and answer.verdict == UNDECIDED else answer


@cache
def placement() -> Answer:
    """Tables 4.2, 4.3 and 4.4 from Table 4.1."""
    wins = stats.probability_wins(_thesis())
    overall = wins.groupby(["metric", "probability"])["wins"].sum().reset_index()
    found = (stats.placement_points(_thesis()), "points"), (wins, "wins"), (overall, "wins")
    gaps = np.concatenate([_beside(name, *table)["gap"] for name, table in zip(published.DERIVED, found, strict=False)])
    off = int(np.count_nonzero(gaps > 1e-9))
    return Answer(
        settle(off == 0), float(off), "values that differ", len(gaps), f"{len(gaps) - off} values follow exactly"
    )


@cache
def t_tests() -> Answer:
    """Table 4.5 from Table 4.1."""
    gaps = _beside("thesis_table_4_5", stats.paired_t_tests(_thesis()), "p_one_tailed")["gap"]
    off = int((gaps > 1e-6).sum())
    answer = Answer(settle(off == 0), float(off), "values that differ", len(gaps), "all follow from paired tests")
    return answer.limited("one-tailed after seeing the sign: the two-tailed p values are twice as large")


@cache
def population() -> Answer:
    """Table 4.6 from Table 4.1."""
    table = _beside("thesis_table_4_6", stats.population_p_values(_thesis()), "p")
    rows = table[table["gap"] > 5e-4].to_dict("records")
    off = [f"{row['dataset']}, {row['label']}, {row['metric']}" for row in rows]
    why = f"{len(table) - len(off)} follow" + (f", not {'; '.join(off)}" if off else "")
    return Answer(settle(not off), float(len(off)), "values that differ", len(table), why)


@cache
def significant_losses() -> Answer:
    """How many losses differ from the mean of all runs once a mean is compared with the spread of means."""
    from statsmodels.stats.multitest import multipletests

    found = stats.population_p_values(_thesis(), variant="se", tails=2)
    found = found[found["metric"] == "test_accuracy"]
    named = []
    for dataset, part in found.groupby("dataset", sort=False):
        passed = multipletests(part["p"], method="holm")[0]
        named += [f"{label} on {dataset}" for label, yes in zip(part["label"], passed, strict=True) if yes]
    others = [name for name in named if name != "js_divergence on kmnist"]
    why = f"below 0.05: {', '.join(named) or 'none'}"
    limits = (ONE_RUN, "the runs of a population are not independent")
    return Answer(settle(not others), float(len(named)), "losses", len(found), why, limits=limits)


@cache
def best_percentiles() -> Answer:
    """Percentile of the best run of each data set, by the normal distribution of Table 4.6."""
    from scipy import stats as scipy_stats

    shares = []
    for _name, part in _thesis().groupby("dataset"):
        for metric, sign in (("test_accuracy", 1), ("best_epoch", -1)):
            values = sign * part[metric].to_numpy(dtype=float)
            shares.append(100 * float(scipy_stats.norm.cdf((values.max() - values.mean()) / values.std())))
    why = f"between {min(shares):.1f} and {max(shares):.1f}"
    return Answer(settle(min(shares) >= 99.5), min(shares), "percentile", len(shares), why, limits=(ONE_RUN,))


@cache
def captions() -> Answer:
    """Accuracies of Table 4.1 against those under the figures."""
    key = ["dataset", "label", "probability"]
    table = _thesis().set_index(key)["test_accuracy"]
    figures = published.runs("thesis_figure_captions").set_index(key)["test_accuracy"]
    off = (table - figures.reindex(table.index)).abs() > 1e-9
    losses = ", ".join(sorted({str(label) for _, label, _ in table.index[off]}))
    return Answer(
        settle(not off.any()), float(off.sum()), "values that differ", len(table), f"differ: {losses or 'none'}"
    )


def _thesis() -> pd.DataFrame:
    return published.runs("thesis_table_4_1")


def _beside(name: str, derived: pd.DataFrame, column: str) -> pd.DataFrame:
    """A printed table with what was derived beside each value, and the size of the `gap`."""
    table = published.cells(name).merge(derived, validate="one_to_one")
    return table.assign(gap=(table["printed"] - table[column]).abs())
