"""The comparisons that a claim hangs on, in every data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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

    The grey band of a mark holds it if the loss does not matter. Colour and marker tell the data set.

    Args:
        table: what `claims.detail` gives for one claim.

    Raises: ValueError when the table has no row.
    """
    if not len(table):
        raise ValueError("there is no comparison to draw; the claim is not decided by runs, or there are none for it")
    ax = axes(ax)
    groups, places = (list(dict.fromkeys(table[name])) for name in ("against", "dataset"))
    for number, place in enumerate(places):
        rows = table[table["dataset"] == place]
        at = np.array([groups.index(one) for one in rows["against"]]) + 0.7 * ((number + 0.5) / len(places) - 0.5)
        ax.barh(at, 2 * rows["floor"], left=-rows["floor"], height=0.6 / len(places), color=GREY, alpha=0.22)
        colour = COLOURS[number % len(COLOURS)]
        ax.hlines(at, rows["low"], rows["high"], color=colour, linewidth=1.6)
        marker = MARKERS[number % len(MARKERS)]
        ax.plot(rows["estimate"], at, marker, color=colour, markersize=4.5, label=place)
        for y, n in zip(at, rows["n"], strict=True):
            ax.annotate(f"n={n}", (1.01, y), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(len(groups)), [fold(one.replace("gamma=", "γ=")) for one in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    legend(ax, len(places), "below")
    return settle(ax, title, "difference, " + table["unit"].iloc[0].replace("points", "percentage points"))
