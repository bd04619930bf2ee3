"""A score against something that makes training harder: wrong targets, rare classes, fewer images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.by_setting import DIFFERENT
from lossbench.plots.intervals import difference_label, outcome_of
from lossbench.plots.style import GREY, INK, axes, name_ends, settle, styles_of, titles_of
from lossbench.stats.paired import LEAST_PAIRS, compare
from lossbench.stats.summary import summarise

if TYPE_CHECKING:
    import pandas as pd

NAMES = {
    "label_noise": "training targets replaced, %",
    "imbalance": "images of the largest class : smallest",
    "train_size": "training images",
}
LOGARITHMIC = 20  # ratio of the largest level to the smallest from which on the axis is logarithmic


def robustness(
    runs: pd.DataFrame,
    field: str,
    ax: Any = None,
    metric: str = "test_accuracy",
    reference: str | None = None,
    title: str = "",
) -> Any:
    """Draw `metric` against the numbers in `field`, a line a loss: mean over seeds and its 95 % t interval.

    Args:
        runs: one probability function; settings that differ in nothing but `field`.
        reference: a loss; then each loss minus it, paired by seed, is drawn instead, over a band of what is too small
            to matter; a filled mark differs from the reference.
    """
    ax = axes(ax)
    cells = robustness_table(runs, field, metric, reference)
    styles, titles, outcome = styles_of(runs), titles_of(runs), outcome_of(metric)
    # A score itself is shown in percent where its differences are shown in points.
    scale, step = outcome.scale, 100 if field == "label_noise" else 1
    ends = {}
    for place, (label, style) in enumerate(styles.items()):
        rows = cells[cells["label"] == label]
        if rows.empty:
            continue
        at, mean, low, high = (
            factor * rows[name].to_numpy(dtype=float)
            for name, factor in ((field, step), ("mean", scale), ("low", scale), ("high", scale))
        )
        _draw_line(ax, rows, at, mean, low, high, style, 3.0 * (place - (len(styles) - 1) / 2))
        ends[titles[label]] = (float(at[-1]), float(mean[-1]))
    _number_axis(ax, step * np.unique(cells[field].to_numpy(dtype=float)))
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    if reference is not None:
        ax.axhline(0, color=INK, linewidth=0.8)
        if outcome.margin:
            ax.axhspan(-scale * outcome.margin, scale * outcome.margin, color=GREY, alpha=0.2, linewidth=0)
    ax.autoscale_view()
    name_ends(ax, ends, {titles[label]: style for label, style in styles.items()})
    unit = f"{outcome.title}, %" if scale == 100 else outcome.title
    label = unit if reference is None else difference_label(metric, reference).replace(" minus ", "\nminus ", 1)
    return settle(ax, title, NAMES.get(field, field.replace("_", " ")), label)


def _draw_line(
    ax: Any,
    rows: pd.DataFrame,
    at: np.ndarray,
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    style: Any,
    shift: float,
) -> None:
    from matplotlib.transforms import ScaledTranslation

    # Intervals at one level would hide each other: all of a loss is moved by some points.
    moved = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    known = rows["n"].to_numpy() >= LEAST_PAIRS
    ends = np.concatenate([mean, low[known], high[known]])
    ax.update_datalim(np.column_stack([np.concatenate([at, at[known], at[known]]), ends]))
    ax.vlines(at[known], low[known], high[known], color=style.colour, linewidth=1.1, alpha=0.75, transform=moved)
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "transform": moved}
    ax.plot(at, mean, lw=1.3, ms=4, **look)
    if "verdict" in rows:
        same = ~rows["verdict"].isin(DIFFERENT).to_numpy()
        ax.plot(at[same], mean[same], ms=3.4, mfc="white", **{**look, "linestyle": "none"})


def _number_axis(ax: Any, levels: np.ndarray) -> None:
    """A tick at each level, at its number."""
    if len(levels) > 1 and levels[0] > 0 and levels[-1] / levels[0] >= LOGARITHMIC:
        ax.set_xscale("log")
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.set_xticks([], minor=True)
    if len(levels) > 1:
        span = np.ptp(ax.transData.transform([(x, 0) for x in (levels[0], levels[-1])])[:, 0])
        places = ax.transData.transform([(x, 0) for x in levels])[:, 0]
        if np.diff(places).min() < 0.09 * span:  # numbers would touch
            ax.tick_params(axis="x", labelrotation=90)


def robustness_table(
    runs: pd.DataFrame, field: str, metric: str = "test_accuracy", reference: str | None = None
) -> pd.DataFrame:
    """What `robustness` draws: columns `loss`, `label`, `field`'s name, `n`, `mean`, `low`, `high`, as fractions.

    With a `reference` the rows are those of `stats.compare` at each level, with its `verdict`.
    """
    import pandas as pd

    columns = ["loss", "label", field, "n", "mean", "low", "high", *(["verdict"] if reference is not None else [])]
    parts = []
    for level, rows in runs.groupby(runs[field].astype(float)):
        table = summarise(rows, metric) if reference is None else compare(rows, metric, reference)
        parts.append(table[table["n"] > 0].assign(**{field: level})[columns])
    order = {label: place for place, label in enumerate(styles_of(runs))}
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table.sort_values([field, "label"], key=lambda c: c.map(order) if c.name == "label" else c).reset_index(
        drop=True
    )
