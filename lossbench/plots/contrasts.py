"""The comparisons that a claim hangs on, in every data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.by_setting import draw_marks
from lossbench.plots.intervals import draw_margin
from lossbench.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Style,
    axes,
    fold,
    legend,
    settle,
)

if TYPE_CHECKING:
    import pandas as pd

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)


def contrasts(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw a group of rows a comparison, a mark a data set: the mean over seeds and its 95 % t interval.

    Colour and marker tell the data set. Where the table has them, the band of ±`margin` is what is too small to matter,
    and an open mark is one whose `verdict` names no difference.

    Args:
        table: columns `against dataset n estimate low high unit`, such as `claims.detail` gives for one claim.

    Raises: ValueError when the table has no row.
    """
    if not len(table):
        raise ValueError("there is no comparison to draw; the claim is not decided by runs, or there are none for it")
    ax = axes(ax)
    groups, datasets = (list(dict.fromkeys(table[name])) for name in ("against", "dataset"))
    draw_margin(ax, float(table["margin"].max()) if "margin" in table else np.nan)
    for i, dataset in enumerate(datasets):
        rows = table[table["dataset"] == dataset].rename(columns={"estimate": "mean"})
        at = np.array([groups.index(name) for name in rows["against"]]) + 0.7 * ((i + 0.5) / len(datasets) - 0.5)
        style = Style(COLOURS[i % len(COLOURS)], "-", MARKERS[i % len(MARKERS)])
        draw_marks(ax, rows, at, style, dataset, 1.0)
        for y, n in zip(at, rows["n"], strict=True):
            ax.annotate(f"n={n}", (1.01, y), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")
    ax.set_yticks(range(len(groups)), [fold(group.replace("gamma=", "γ=")) for group in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    legend(ax, len(datasets), "below")
    return settle(ax, title, "difference, " + table["unit"].iloc[0], pad=14)
