"""A table as coloured cells, each with its number in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import BLUE, FIGURE_FONT, GREY, VERMILLION, axes, fold, settle

if TYPE_CHECKING:
    import pandas as pd

PALE = "#f6f5f2"


def heat_map(
    table: pd.DataFrame,
    ax: Any = None,
    title: str = "",
    centre: float | None = None,
    reach: float | None = None,
    digits: int = 2,
    marks: pd.DataFrame | None = None,
    letters: int = 30,
) -> Any:
    """Draw a table as coloured cells with their numbers; a missing cell stays empty.

    Args:
        table: numbers; its index names the rows, its columns the columns.
        centre: None colours from pale (lowest) to dark (highest). A number colours what lies above it blue, what
            lies below it red, equally strongly, and writes the sign.
        reach: with `centre`, the distance from it at which the colour is full; the largest in the table by default.
        digits: decimals in the cells.
        marks: a text to set behind the number of each cell, of the same shape.
        letters: of a row's name in one line.
    """
    import seaborn

    ax = axes(ax)
    values = table.to_numpy(dtype=float)
    texts = np.array([[_text(value, centre, digits) for value in row] for row in values], dtype=object)
    texts = texts if marks is None else texts + marks.to_numpy(dtype=str).astype(object)
    # Transparent where nothing is: the dash is written in grey.
    seaborn.heatmap(
        _shade(values, centre, reach), vmin=0, vmax=1, cmap=_colours(centre), mask=~np.isfinite(values), ax=ax,
        annot=texts, fmt="", annot_kws={"fontsize": FIGURE_FONT - 1}, cbar=False, linewidths=1, linecolor="white",
    )  # fmt: skip
    for row, column in np.argwhere(~np.isfinite(values)):
        place = (column + 0.5, row + 0.5)
        ax.annotate("–", place, ha="center", va="center", fontsize=FIGURE_FONT - 1, color=GREY)
    if marks is not None:
        marked = marks.to_numpy(dtype=str)[np.isfinite(values)] != ""
        for text, bold in zip(ax.texts, marked, strict=False):
            text.set_fontweight("bold" if bold else "normal")
    ax.set_xticks(np.arange(values.shape[1]) + 0.5, [fold(name, 20) for name in table.columns], rotation=0)
    ax.set_yticks(np.arange(values.shape[0]) + 0.5, [fold(name, letters) for name in table.index], rotation=0)
    if values.shape[1] > 4 or max(map(len, map(str, table.columns)), default=0) > 24:
        ax.tick_params(axis="x", labelrotation=90)
    settle(ax, title)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _text(value: float, centre: float | None, digits: int) -> str:
    rounded = round(float(value), digits) + 0.0  # no minus zero
    text = f"{rounded:+.{digits}f}" if centre is not None and rounded != centre else f"{rounded:.{digits}f}"
    return text.replace("-", "−")


def _shade(values: np.ndarray, centre: float | None, reach: float | None = None) -> np.ndarray:
    """Where each value lies on the colour scale, 0 to 1."""
    found = values[np.isfinite(values)]
    if not len(found):
        return values
    if centre is None:
        span = np.ptp(found) or 1.0
        return np.asarray((values - found.min()) / span)
    reach = reach or np.abs(found - centre).max() or 1.0
    return np.clip(0.5 + (values - centre) / (2 * reach), 0, 1)


def _colours(centre: float | None) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    stops: Sequence[str] = (PALE, BLUE) if centre is None else (VERMILLION, PALE, BLUE)
    return LinearSegmentedColormap.from_list("lossbench", stops)
