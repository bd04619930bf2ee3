"""Claims of the thesis that its own printed numbers decide: computed from `lossbench.published`, not from our runs."""

from __future__ import annotations

from collections.abc import Iterator
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
    runs = _thesis()
    points = stats.placement_points(runs).set_index(["metric", "dataset", "label"])["points"]
    wins = stats.probability_wins(runs)
    by_loss = wins.set_index(["metric", "label", "probability"])["wins"]
    overall = wins.groupby(["metric", "probability"])["wins"].sum()
    gaps = [value - points[metric, dataset, label] for value, metric, dataset, label, _ in _cells("thesis_table_4_2")]
    gaps += [value - by_loss[metric, label, which] for value, metric, _, label, which in _cells("thesis_table_4_3")]
    gaps += [value - overall[metric, which] for value, metric, _, _, which in _cells("thesis_table_4_4")]
    off = int(np.count_nonzero(np.abs(gaps) > 1e-9))
    return Answer(
        settle(off == 0), float(off), "values that differ", len(gaps), f"{len(gaps) - off} values follow exactly"
    )


@cache
def t_tests() -> Answer:
    """Table 4.5 from Table 4.1."""
    found = stats.paired_t_tests(_thesis()).set_index(["metric", "dataset", "first", "second"])["p_one_tailed"]
    gaps = []
    for row in published.load("thesis_table_4_5").to_dict("records"):
        first, second = row["qualifier"].split(" vs ")
        metric = "best_epoch" if row["metric"].endswith("epoch") else "test_accuracy"
        gaps.append(abs(float(row["value"]) - found[metric, row["dataset"].lower(), first, second]))
    off = sum(gap > 1e-6 for gap in gaps)
    answer = Answer(settle(off == 0), float(off), "values that differ", len(gaps), "all follow from paired tests")
    return answer.limited("one-tailed after seeing the sign: the two-tailed p values are twice as large")


@cache
def population() -> Answer:
    """Table 4.6 from Table 4.1."""
    found = stats.population_p_values(_thesis()).set_index(["metric", "dataset", "label"])["p"]
    gaps = {(metric, dataset, label): abs(value - found[metric, dataset, label])
            for value, metric, dataset, label, _ in _cells("thesis_table_4_6")}  # fmt: skip
    off = [f"{dataset}, {label}, {metric}" for (metric, dataset, label), gap in gaps.items() if gap > 5e-4]
    why = f"{len(gaps) - len(off)} follow" + (f", not {'; '.join(off)}" if off else "")
    return Answer(settle(not off), float(len(off)), "values that differ", len(gaps), why)


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


def _cells(name: str) -> Iterator[tuple[float, str, str, str, str]]:
    """The values of a table of the thesis: (value, metric, data set, label, probability function) in our names."""
    for row in published.load(name).to_dict("records"):
        label = f"{published.LOSSES.get(row['loss'], '')} {row['loss_params'].replace('gamma', 'γ')}".strip()
        ends = "overall" if row["metric"].endswith("overall") else "best_epoch"
        metric = "test_accuracy" if row["metric"].endswith("accuracy") else ends
        yield float(row["value"]), metric, row["dataset"].lower(), label, row["prob_fn"]
