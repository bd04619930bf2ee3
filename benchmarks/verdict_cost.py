"""What a verdict costs: hours to find a difference of 0.5 points, by the rule in use and by the one before it.

Run `python -m benchmarks.verdict_cost`. Nothing is trained: spreads and seconds are those of a committed study. Under
both rules a true difference of --points is to be found in 80 of 100 studies, at level 0.05 over all losses of a
setting. The rule in use judges paired differences (`lossbench.stats.plan`). The one before it asked their mean to leave
the band in which two runs of one function under different seeds lie (docs/changed-words.md): its number of pairs is
((t(1 - 0.025/k) + t(0.8)) s / points)^2, s the spread of cross-entropy minus cross-entropy under another seed. A pair
is a run of the loss and one of cross-entropy.
"""

from __future__ import annotations

import argparse
import math

import pandas as pd
from scipy import stats as distributions

import lossbench
from lossbench import stats
from lossbench.studies.plans import table


def pairs_before(scores: pd.Series, comparisons: int, points: float) -> float:
    """Pairs by the earlier rule, from the scores of cross-entropy under several seeds; nan with fewer than two."""
    df = len(scores) - 1
    if df < 1:
        return math.nan
    spread = math.sqrt(2) * scores.std(ddof=1)  # root mean square over all ordered pairs of different seeds
    width = distributions.t.isf(0.025 / comparisons, df) + distributions.t.ppf(0.8, df)
    return float((width * spread / points) ** 2)


def costs(runs: pd.DataFrame, points: float) -> pd.DataFrame:
    """A row for each loss of each setting: pairs by both rules, and the seconds of a pair."""
    rows = []
    for name, size in runs[["dataset", "train_images"]].drop_duplicates().itertuples(index=False):
        of_setting = runs[(runs["dataset"] == name) & (runs["train_images"] == size)]
        plan = stats.plan(of_setting, points)
        for probability, group in plan.groupby("probability", sort=False):
            plain = of_setting[of_setting["loss"] == "cross_entropy"]
            plain = plain[stats.probability_labels(plain) == probability]
            before = pairs_before(plain["test_accuracy"], len(group), points)
            rows += [
                {"dataset": name, "images": size, "before": before, "now": row["pairs_difference"], **row}
                for row in group.to_dict("records")
            ]
    return pd.DataFrame(rows).dropna(subset=["before", "now"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="thesis", help="a committed study")
    parser.add_argument("--points", type=float, default=0.5, help="of test accuracy")
    chosen = parser.parse_args()
    runs = lossbench.reference()
    runs = runs[runs["study"] == chosen.study]
    cells = costs(runs, chosen.points / 100)
    rows = []
    for (name, size), group in cells.groupby(["dataset", "images"], sort=False):
        hours = [(group[rule] * group["seconds"]).sum() / 3600 for rule in ("before", "now")]
        pairs = [f"{group[rule].median():.0f} ({group[rule].max():.0f})" for rule in ("before", "now")]
        rows.append(
            (
                name,
                f"{size:,}",
                str(len(group)),
                *pairs,
                *(f"{value:.1f}" for value in hours),
                f"{hours[0] / hours[1]:.1f}",
            )
        )
    print(
        table(
            ("data set", "images", "comparisons", "pairs before", "pairs now", "hours before", "hours now", "ratio"),
            rows,
        )
    )
    total = [(cells[rule] * cells["seconds"]).sum() / 3600 for rule in ("before", "now")]
    print(f"all {len(cells)}: {total[0]:.1f} hours of one core before, {total[1]:.1f} now; pairs: median (most)")


if __name__ == "__main__":
    main()
