"""Intervals by resampling: paired differences, interquartile means, probability of improvement.

Every function takes the generator it draws from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.stats.paired import paired_differences
from lossbench.stats.summary import finished, probability_labels, t_interval

if TYPE_CHECKING:
    import pandas as pd

# Below this the bootstrap's intervals are too short (measured: benchmarks/calibration.csv), Student's t's are not.
SMALLEST_BOOTSTRAP = 80
STRATA = ["dataset", "model", "probability"]
RESAMPLES = 2000


def mean_interval(
    values: ArrayLike, rng: np.random.Generator, coverage: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float, str]:
    """Interval for a mean and its method: BCa bootstrap from 80 values on, Student's t below.

    Returns: (low, high, method), with (nan, nan, "none") for fewer than two values.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=float)
    if len(sample) < 2:
        return math.nan, math.nan, "none"
    if len(sample) < SMALLEST_BOOTSTRAP or np.ptp(sample) == 0:
        return (*t_interval(sample, coverage), "t")
    found = stats.bootstrap(
        (sample,), np.mean, confidence_level=coverage, n_resamples=resamples, method="BCa", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high), "BCa"


def interval_of_differences(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    metric: str = "test_accuracy",
    reference: str = "cross_entropy",
    coverage: float = 0.95,
) -> pd.DataFrame:
    """Mean difference to `reference` of each loss over all datasets, probability functions and seeds.

    Returns: columns `loss`, `label`, `n` (pairs), `mean`, `low`, `high`, `method`.
    """
    import pandas as pd

    pairs = paired_differences(runs, metric, reference)
    rows = []
    for (loss, label), part in pairs.groupby(["loss", "label"], sort=False):
        values = part["difference"].to_numpy()
        rows.append((loss, label, len(values), float(values.mean()), *mean_interval(values, rng, coverage)))
    return pd.DataFrame(rows, columns=["loss", "label", "n", "mean", "low", "high", "method"])


def interquartile_mean(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    metric: str = "test_accuracy",
    coverage: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Mean of the middle half of all runs of a loss, with a stratified bootstrap interval.

    Each dataset, model and probability function is a stratum, resampled over its seeds. A stratum of n runs
    gives n - 1 draws (Rao and Wu 1988), since n draws understate the variance of few runs.

    Returns: columns `loss`, `label`, `n`, `iqm`, `low`, `high`; no interval if a stratum holds one run.

    Source: Agarwal et al. 2021, section 4.3, arXiv:2108.13264.
    """
    import pandas as pd

    rows = []
    for (loss, label), part in _scored(runs, metric).groupby(["loss", "label"], sort=False):
        strata = _strata(part, metric)
        value = _trimmed(np.concatenate(strata)[None])[0]
        ends = math.nan, math.nan
        if min(map(len, strata)) > 1:
            drawn = np.concatenate([_resample(stratum, resamples, rng) for stratum in strata], axis=1)
            ends = _percentiles(_trimmed(drawn), coverage)
        rows.append((loss, label, sum(map(len, strata)), float(value), *ends))
    return pd.DataFrame(rows, columns=["loss", "label", "n", "iqm", "low", "high"])


def probability_of_improvement(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    metric: str = "test_accuracy",
    reference: str = "cross_entropy",
    coverage: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """How likely a run of each loss beats a run of `reference` under another draw of the seed; a tie is a half.

    Averaged over strata that both sides have; interval by stratified bootstrap as in `interquartile_mean`. Both
    sides are drawn independently, so the interval is too wide rather than too narrow for paired seeds.

    Returns: columns `loss`, `label`, `strata`, `probability`, `low`, `high`; 0.5 means no difference.

    Source: Agarwal et al. 2021, section 4.3, arXiv:2108.13264.
    """
    import pandas as pd

    table = _scored(runs, metric)
    base = dict(iter(table[table["loss"] == reference].groupby(STRATA)[metric]))
    rows = []
    for (loss, label), part in table[table["loss"] != reference].groupby(["loss", "label"], sort=False):
        pairs = [
            (values.to_numpy(dtype=float), base[key].to_numpy(dtype=float))
            for key, values in part.groupby(STRATA)[metric]
            if key in base
        ]
        if not pairs:
            continue
        value = np.mean([_wins(a[None], b[None])[0] for a, b in pairs])
        ends = math.nan, math.nan
        if min(min(len(a), len(b)) for a, b in pairs) > 1:
            drawn = [_wins(_resample(a, resamples, rng), _resample(b, resamples, rng)) for a, b in pairs]
            ends = _percentiles(np.mean(drawn, axis=0), coverage)
        rows.append((loss, label, len(pairs), float(value), *ends))
    return pd.DataFrame(rows, columns=["loss", "label", "strata", "probability", "low", "high"])


def _scored(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    return finished(runs, metric).assign(probability=probability_labels)


def _strata(part: pd.DataFrame, metric: str) -> list[NDArray[np.float64]]:
    return [values.to_numpy(dtype=float) for _, values in part.groupby(STRATA)[metric]]


def _resample(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.choice(values, size=(resamples, len(values) - 1))


def _trimmed(rows: NDArray[np.float64]) -> NDArray[Any]:
    from scipy import stats

    return np.asarray(stats.trim_mean(rows, 0.25, axis=1))


def _wins(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[Any]:
    """Share of pairs in which `first` is larger, a row a resample; a tie counts half."""
    gap = first[:, :, None] - second[:, None, :]
    return np.asarray((gap > 0).mean(axis=(1, 2)) + 0.5 * (gap == 0).mean(axis=(1, 2)))


def _percentiles(draws: NDArray[Any], coverage: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)
