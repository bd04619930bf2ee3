"""A score against something that makes training harder: wrong targets, rare classes, fewer images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import GREY, INK, axes, legend, settle, styles_of
from lossbench.stats.paired import paired_differences
from lossbench.stats.summary import finished, t_interval

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "label_noise": "training targets replaced, %",
    "imbalance": "images of the largest class : smallest",
    "train_size": "training images",
}


def robustness(
    runs: pd.DataFrame,
    field: str,
    ax: Any = None,
    metric: str = "test_accuracy",
    reference: str | None = None,
    title: str = "",
) -> Any:
    """Draw `metric` in percent against `field`, a line a loss: mean over seeds and its 95 % t interval.

    Args:
        runs: one probability function; settings that differ in nothing but `field`.
        reference: a loss; then each loss minus it, paired by seed, in percentage points, is drawn instead.
    """
    ax = axes(ax)
    cells = robustness_table(runs, field, metric, reference)
    styles = styles_of(runs)
    levels = sorted(cells[field].unique())
    for place, (label, style) in enumerate(styles.items()):
        rows = cells[cells["label"] == label]
        if rows.empty:
            continue
        # Lines side by side: intervals at one level would hide each other.
        at = np.array([levels.index(x) for x in rows[field]]) + 0.05 * (place - (len(styles) - 1) / 2) / 1.2
        mean, low, high = (100 * rows[name].to_numpy(dtype=float) for name in ("mean", "low", "high"))
        ax.vlines(at, low, high, color=style.colour, linewidth=1.1, alpha=0.75)
        ax.plot(at, mean, style.marker, color=style.colour, linestyle=style.line, lw=1.3, ms=4, label=label)
    ax.set_xticks(range(len(levels)), [_level(field, value) for value in levels])
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    if reference is not None:
        ax.axhline(0, color=INK, linewidth=0.8)
    legend(ax, len(styles))
    unit = f"{metric.replace('_', ' ')}, %" if reference is None else f"minus {reference.replace('_', '-')}, points"
    return settle(ax, title, NAMES.get(field, field.replace("_", " ")), unit)


def robustness_table(
    runs: pd.DataFrame, field: str, metric: str = "test_accuracy", reference: str | None = None
) -> pd.DataFrame:
    """What `robustness` draws: columns `label`, `field`'s name, `n`, `mean`, `low`, `high`, as fractions."""
    import pandas as pd

    rows = []
    for level, part in runs.groupby(runs[field].astype(float)):
        values = finished(part, metric) if reference is None else paired_differences(part, metric, reference)
        column = metric if reference is None else "difference"
        for label in styles_of(runs):
            found = values[values["label"] == label][column].to_numpy(dtype=float)
            if len(found):
                rows.append((label, level, len(found), found.mean(), *t_interval(found)))
    return pd.DataFrame(rows, columns=["label", field, "n", "mean", "low", "high"])


def _level(field: str, value: float) -> str:
    return f"{100 * value:g}" if field == "label_noise" else f"{value:g}"
