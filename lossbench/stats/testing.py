"""Tests of each loss against the reference: effect sizes first, p values second, corrected for their number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lossbench.stats.paired import TWINS, paired_differences
from lossbench.stats.ranks import BLOCK
from lossbench.stats.summary import finished, probability_labels

if TYPE_CHECKING:
    import pandas as pd

TESTS = ("t", "wilcoxon", "permutation")


def significance(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    metric: str = "test_accuracy",
    reference: str = "cross_entropy",
    resamples: int = 9999,
) -> pd.DataFrame:
    """Test the paired differences of each loss to `reference`, over all blocks given.

    A block is a dataset, model, probability function and seed. The p values are two-sided: a paired t-test,
    Wilcoxon's signed-rank test, and a permutation of signs (all of them if there are no more than `resamples`,
    else as many drawn).
    With n pairs the latter two cannot fall below 2 / 2**n, so five pairs never reach 0.05. `*_holm` holds them
    corrected by Holm over the losses; the twin of `reference` is left out of the family.

    Returns: columns `loss`, `label`, `n`, `mean`, `effect_size` (mean over the standard deviation of the
        differences, with Hedges' correction for few pairs), then for each test `p_<test>`, `p_<test>_holm`.
    """
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    pairs = paired_differences(runs, metric, reference)
    rows = []
    for (loss, label), part in pairs.groupby(["loss", "label"], sort=False):
        if not (loss in TWINS and reference in TWINS):
            values = part["difference"].to_numpy(dtype=float)
            found = {"loss": loss, "label": label, "n": len(values), "mean": float(values.mean())}
            rows.append({**found, "effect_size": effect_size(values), **_p_values(values, rng, resamples)})
    columns = ["loss", "label", "n", "mean", "effect_size", *(f"p_{test}" for test in TESTS)]
    table = pd.DataFrame(rows, columns=columns)
    for test in TESTS:
        p = table[f"p_{test}"].to_numpy(dtype=float)
        tested = np.isfinite(p)
        corrected = np.full(len(p), math.nan)
        if tested.any():
            corrected[tested] = multipletests(p[tested], method="holm")[1]
        table[f"p_{test}_holm"] = corrected
    return table


def effect_size(differences: ArrayLike) -> float:
    """Mean over standard deviation of paired differences, times Hedges' correction for few pairs.

    nan for fewer than two pairs, or when all differences are equal.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan
    correction = 1 - 3 / (4 * (len(values) - 1) - 1)
    return float(correction * values.mean() / values.std(ddof=1))


def _p_values(values: np.ndarray, rng: np.random.Generator, resamples: int) -> dict[str, float]:
    from scipy import stats

    if len(values) < 2:
        return {f"p_{test}": math.nan for test in TESTS}
    if not values.any():
        return {f"p_{test}": 1.0 for test in TESTS}
    permuted = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, rng=rng
    )
    return {
        "p_t": float(stats.ttest_1samp(values, 0).pvalue) if np.ptp(values) else 0.0,
        "p_wilcoxon": float(stats.wilcoxon(values).pvalue),
        "p_permutation": float(permuted.pvalue),
    }


def dunnett(runs: pd.DataFrame, metric: str = "test_accuracy", reference: str = "cross_entropy") -> pd.DataFrame:
    """Compare all losses with `reference` at once: Dunnett's test, with blocks.

    What a block (dataset, model, probability function, seed) gives to all losses alike is taken out first, so the
    test uses that seeds are paired. It pools the spread of all losses, so it works with few seeds, and allows for
    the reference being shared: the chance of any false alarm at `p` < 0.05 is 0.05. It assumes that losses
    spread alike. Blocks that lack a loss are left out, and so is the twin of `reference`.

    Returns: columns `loss`, `label`, `n` (blocks), `mean` (difference), `low`, `high` (simultaneous 95 %
        intervals), `p`; empty with fewer than two blocks.

    Source: Dunnett 1955, JASA 50; randomised blocks as in Hochberg and Tamhane 1987, chapter 5.
    """
    import pandas as pd

    table = finished(runs, metric).assign(probability=probability_labels)
    twins = table["loss"].isin(TWINS) & (table["loss"] != reference) & (reference in TWINS)
    scores = table[~twins].pivot_table(index=BLOCK, columns=["loss", "label"], values=metric, sort=False).dropna()
    blocks, losses = scores.shape
    keys = [(str(key[0]), str(key[1])) for key in scores.columns.to_list()]
    base = [key for key in keys if key[0] == reference]
    rows = []
    if base and losses > 1 and blocks > 1:
        values = scores.to_numpy(dtype=float)
        residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
        df = (blocks - 1) * (losses - 1)
        error = math.sqrt(2 * float((residuals**2).sum()) / df / blocks)
        half = error * _dunnett_quantile(0.95, losses - 1, df)
        for loss, label in (key for key in keys if key != base[0]):
            gap = float((scores[loss, label] - scores[base[0]]).mean())
            p = dunnett_p(abs(gap) / error, losses - 1, df) if error else float(gap == 0)
            rows.append((loss, label, blocks, gap, gap - half, gap + half, p))
    return pd.DataFrame(rows, columns=["loss", "label", "n", "mean", "low", "high", "p"])


def dunnett_p(t: float, comparisons: int, df: int) -> float:
    """Chance that any of `comparisons` with one shared reference reaches |t| if nothing differs.

    Integrates over the reference and over the pooled standard deviation, to four digits. `scipy.stats.dunnett`
    gives the same for unpaired runs, by random draws; it takes no blocks.
    """
    from scipy import stats

    nodes, weights = np.polynomial.legendre.leggauss(48)
    share, weights = (nodes + 1) / 2, weights / 2
    reference = stats.norm.ppf(share)[:, None]
    bound = math.sqrt(2) * t * np.sqrt(stats.chi2.ppf(share, df) / df)[None, :]
    inside = (stats.norm.cdf(reference + bound) - stats.norm.cdf(reference - bound)) ** comparisons
    return float(np.clip(1 - weights @ inside @ weights, 0, 1))


def _dunnett_quantile(coverage: float, comparisons: int, df: int) -> float:
    from scipy import optimize

    wide = 4.0
    while dunnett_p(wide, comparisons, df) > 1 - coverage:
        wide *= 2
    return float(optimize.brentq(lambda t: dunnett_p(t, comparisons, df) - 1 + coverage, 0, wide))
