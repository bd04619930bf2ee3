"""Mean and interval of each configuration over its seeds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd


def finished(runs: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """The runs that ended normally and have a finite `metric`."""
    values = runs[metric].astype(float)
    return runs[(runs["status"] == "finished") & np.isfinite(values)]


def probability_labels(runs: pd.DataFrame) -> pd.Series:
    """Name each run's probability function and its parameters, such as `Taylor softmax order=4`."""
    from lossbench.probabilities import PROBABILITIES

    titles = {name: entry.title for name, entry in PROBABILITIES.items()}
    names = runs["probability"].astype(str).map(lambda name: titles.get(name, name.replace("_", " ")))
    if "probability_params" not in runs:
        return names
    return (names + " " + runs["probability_params"].fillna("").astype(str)).str.strip()


def t_interval(values: ArrayLike, coverage: float = 0.95) -> tuple[float, float]:
    """Student's t interval for the mean of independent values; (nan, nan) for fewer than two.

    Assumes about normal values; with three of them the interval is wide, and that is the honest width.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=float)
    if not 0 < coverage < 1:
        raise ValueError(f"coverage={coverage!r} must lie in (0, 1)")
    if len(sample) < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + coverage) / 2, len(sample) - 1) * sample.std(ddof=1) / math.sqrt(len(sample))
    return float(sample.mean() - half), float(sample.mean() + half)


def summarise(runs: pd.DataFrame, metric: str = "test_accuracy", coverage: float = 0.95) -> pd.DataFrame:
    """Mean, standard deviation and t interval of `metric` over seeds, a row a configuration.

    Runs that did not finish are counted in `diverged` and left out of the mean, which then flatters the
    configuration: read the two columns together.

    Returns: columns `probability`, `loss`, `label`, `runs`, `diverged`, `n` (values in the mean), `mean`,
        `sd`, `low`, `high`; nan where there are too few values.
    """
    import pandas as pd

    rows = []
    table = runs.assign(probability=probability_labels(runs))
    for (probability, loss, label), cell in table.groupby(["probability", "loss", "label"], sort=False):
        values = finished(cell, metric)[metric].to_numpy(dtype=float)
        low, high = t_interval(values, coverage)
        rows.append(
            {
                "probability": probability,
                "loss": loss,
                "label": label,
                "runs": len(cell),
                "diverged": int((cell["status"] != "finished").sum()),
                "n": len(values),
                "mean": float(values.mean()) if len(values) else math.nan,
                "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)
