"""Each loss against cross-entropy, paired by seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench.stats.noise import TWINS, NoiseFloor, noise_floor
from lossbench.stats.summary import finished, probability_labels, t_interval

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["probability", "loss", "label", "n", "diverged", "mean", "low", "high", "floor", "family_floor"]
COLUMNS += ["verdict"]
BLOCK = ["dataset", "model", "probability", "seed"]


def paired_differences(
    runs: pd.DataFrame, metric: str = "test_accuracy", reference: str = "cross_entropy"
) -> pd.DataFrame:
    """`metric` minus that of `reference` under the same dataset, model, probability function and seed.

    Returns: a row a pair, columns `dataset`, `model`, `probability`, `loss`, `label`, `seed`, `difference`.
        A run without a finished partner has no row.

    Raises:
        ValueError: two runs compete for one place, as when settings with different budgets are mixed.
    """
    table = finished(runs, metric).assign(probability=probability_labels)
    twice = table.duplicated([*BLOCK, "label"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"{row['label']!r} with {row['probability']} and seed {row['seed']} is there more than once: "
            "split the table with stats.settings() and pass one setting"
        )
    base = table.loc[table["loss"] == reference, [*BLOCK, metric]]
    pairs = table[table["loss"] != reference].merge(base, on=BLOCK, suffixes=("", "_reference"))
    pairs = pairs.assign(difference=pairs[metric].astype(float) - pairs[f"{metric}_reference"].astype(float))
    return pairs[["dataset", "model", "probability", "loss", "label", "seed", "difference"]]


def compare(
    runs: pd.DataFrame,
    metric: str = "test_accuracy",
    reference: str = "cross_entropy",
    coverage: float = 0.95,
    floor: NoiseFloor | None = None,
) -> pd.DataFrame:
    """Mean paired difference of every configuration to `reference`, beside the noise floor.

    Args:
        runs: the runs of one setting.
        floor: where to read the noise from; computed from `runs` by default.

    Returns: columns `probability`, `loss`, `label`, `n` (pairs), `diverged` (runs lost to a divergence, of
        this loss or of the reference), `mean`, `low`, `high` (t interval over pairs), `floor` (half width of
        the band for this one comparison), `family_floor` (for all of them at once) and `verdict`: `above`,
        `below`, `unclear` (outside the first band, inside the second), `within`, `same function`, `diverged`
        or `unknown`.
    """
    import pandas as pd

    floor = noise_floor(runs, metric) if floor is None else floor
    pairs = paired_differences(runs, metric, reference)
    table = runs.assign(probability=probability_labels(runs))
    cells = list(table[table["loss"] != reference].groupby(["probability", "loss", "label"], sort=False))
    tested = sum(not _same_function(key[1], reference) for key, _ in cells)
    rows = []
    for (probability, loss, label), cell in cells:
        values = pairs[(pairs["probability"] == probability) & (pairs["label"] == label)]["difference"]
        partners = table[(table["probability"] == probability) & (table["loss"] == reference)]
        n, mean = len(values), float(values.mean()) if len(values) else math.nan
        bands = floor.half_width(n, coverage), floor.half_width(n, coverage, tested)
        lost = int((cell["status"] != "finished").sum() + (partners["status"] != "finished").sum())
        same = _same_function(loss, reference)
        verdict = "same function" if same else "diverged" if lost else _place(mean, *bands)
        row = (probability, loss, label, n, lost, mean, *t_interval(values, coverage), *bands, verdict)
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _same_function(loss: object, reference: str) -> bool:
    return loss in TWINS and reference in TWINS


def _place(mean: float, single: float, family: float) -> str:
    """Where a mean difference lies with respect to the two bands."""
    if not math.isfinite(mean) or not math.isfinite(family):
        return "unknown"
    if abs(mean) > family:
        return "above" if mean > 0 else "below"
    return "unclear" if abs(mean) > single else "within"
