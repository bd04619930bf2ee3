"""One model for all runs: the loss is a fixed effect, the dataset and the seed are random ones."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from lossbench.stats.summary import finished, probability_labels

if TYPE_CHECKING:
    import pandas as pd


def mixed_model(
    runs: pd.DataFrame, metric: str = "test_accuracy", reference: str = "cross_entropy", coverage: float = 0.95
) -> pd.DataFrame:
    """Estimate each loss's effect on `metric` over everything that was run.

    Dataset with probability function, and seed within it, are crossed random intercepts, fitted by restricted
    maximum likelihood. Intervals are normal, so with few seeds they are a little short.

    Returns: a row a loss but `reference`: columns `label`, `effect`, `low`, `high`, `p`, `n` (runs in the model),
        `converged`.

    Raises:
        ValueError: no run of `reference`, or nothing to compare it with.
    """
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = finished(runs, metric).assign(probability=probability_labels)
    labels = list(dict.fromkeys(table["label"]))
    base = list(dict.fromkeys(table.loc[table["loss"] == reference, "label"]))
    if not base or len(labels) < 2:
        found = ", ".join(labels) or "none"
        raise ValueError(f"the model needs runs of {reference!r} and of another loss; found {found}")
    others = [label for label in labels if label != base[0]]
    fixed = pd.DataFrame({label: (table["label"] == label).astype(float) for label in others})
    fixed.insert(0, "intercept", 1.0)
    place = table["dataset"].astype(str) + "|" + table["probability"].astype(str)
    seed = place + "|" + table["seed"].astype(str)
    components = {"seed": pd.get_dummies(seed, dtype=float)}
    if place.nunique() > 1:
        components["dataset"] = pd.get_dummies(place, dtype=float)
    fit, converged = _fit(MixedLM, table[metric].astype(float), fixed, components)
    ends = fit.conf_int(1 - coverage)
    rows = [
        (label, float(fit.params[label]), float(ends.loc[label, 0]), float(ends.loc[label, 1]),
         float(fit.pvalues[label]), len(table), converged)
        for label in others
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["label", "effect", "low", "high", "p", "n", "converged"])


def _fit(model: Any, score: pd.Series, fixed: pd.DataFrame, components: dict[str, pd.DataFrame]) -> tuple[Any, bool]:
    """Fit crossed random intercepts: one group, a variance component for each factor."""
    import numpy as np
    from statsmodels.regression.mixed_linear_model import VCSpec

    names = list(components)
    columns = [[list(components[name].columns)] for name in names]
    matrices = [[components[name].to_numpy()] for name in names]
    spec = VCSpec(names, columns, matrices)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A variance at its boundary, 0, is a fine answer here; the table says whether the search converged.
        # Gradient searches stop early, or elsewhere, when one variance dwarfs another; Powell's needs no gradient.
        fit = model(score, fixed, groups=np.ones(len(score)), exog_vc=spec).fit(reml=True, method="powell")
    failed = any("failed to converge" in str(item.message) for item in caught)
    return fit, bool(fit.converged and not failed)
