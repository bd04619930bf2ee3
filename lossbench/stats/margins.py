"""Is a loss as good as cross-entropy, up to a margin that was stated before?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lossbench.stats.paired import paired_differences

if TYPE_CHECKING:
    import pandas as pd


def equivalence(
    runs: pd.DataFrame,
    margin: float,
    rng: np.random.Generator,
    metric: str = "test_accuracy",
    reference: str = "cross_entropy",
) -> pd.DataFrame:
    """Test whether each loss lies within `margin` of `reference`, by TOST and by a Bayesian signed-rank test.

    Args:
        margin: in units of `metric`, > 0; state it before looking at the results.

    Returns: columns `loss`, `label`, `n`, `mean`, `p_tost` (below 0.05: equivalent), `p_below`, `p_rope`,
        `p_above` (posterior probability that the difference is mostly below, inside or above +-margin).
    """
    import pandas as pd

    rows = []
    for (loss, label), part in paired_differences(runs, metric, reference).groupby(["loss", "label"], sort=False):
        values = part["difference"].to_numpy(dtype=float)
        posterior = signed_rank_posterior(values, margin, rng)
        rows.append((loss, label, len(values), float(values.mean()), tost(values, margin), *posterior))
    return pd.DataFrame(rows, columns=["loss", "label", "n", "mean", "p_tost", "p_below", "p_rope", "p_above"])


def tost(differences: ArrayLike, margin: float) -> float:
    """p value of two one-sided t-tests that the mean lies within +-`margin`; nan for fewer than two values."""
    from statsmodels.stats.weightstats import DescrStatsW

    values = _check(differences, margin)
    if len(values) < 2:
        return math.nan
    if np.ptp(values) == 0:  # the t statistic is infinite
        return 0.0 if abs(values[0]) < margin else 1.0
    return float(DescrStatsW(values).ttost_mean(-margin, margin)[0])


def signed_rank_posterior(
    differences: ArrayLike, rope: float, rng: np.random.Generator, samples: int = 5000, prior: float = 0.5
) -> tuple[float, float, float]:
    """Probability that a difference is mostly below, inside and above the region +-`rope`.

    Bayesian signed-rank test: the weights of the observations follow a Dirichlet distribution with a pseudo
    observation at 0 of strength `prior`; each draw goes to the region that holds most pairwise averages.

    Source: Benavoli et al. 2017, JMLR 18, section 4.2.1.
    """
    values = np.concatenate([[0.0], _check(differences, rope)])
    strength = np.concatenate([[prior], np.ones(len(values) - 1)])
    weights = rng.dirichlet(strength, size=samples)
    averages = (values[:, None] + values[None, :]) / 2
    regions = (averages < -rope, np.abs(averages) <= rope, averages > rope)
    shares = np.stack([np.einsum("si,ij,sj->s", weights, region, weights) for region in regions])
    below, inside, above = np.bincount(shares.argmax(axis=0), minlength=3) / samples
    return float(below), float(inside), float(above)


def _check(differences: ArrayLike, margin: float) -> np.ndarray:
    values = np.asarray(differences, dtype=float)
    if not margin > 0:
        raise ValueError(f"margin={margin!r} must be greater than 0, in units of the metric")
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"differences must be finite and one-dimensional, got shape {values.shape}")
    return values
