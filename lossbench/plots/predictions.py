"""What one model predicted: confusion matrix and reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.plots.style import BLUE, FIGURE_FONT, GREY, INK, axes, legend, settle, styles_of, titles_of

if TYPE_CHECKING:
    import pandas as pd


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str], ax: Any = None, title: str = "", digits: int = 0
) -> Any:
    """Draw a confusion matrix, rows true, columns predicted, each cell in percent of its row.

    Args:
        matrix: (classes, classes), as `metrics.confusion_matrix(..., "true")` gives it; cells that would be
            printed as 0 are left empty, a row without samples says so.
        class_names: one name a class.
    """
    ax = axes(ax)
    shares = np.asarray(matrix, dtype=float)
    classes = len(shares)
    if shares.shape != (len(class_names), len(class_names)):
        raise ValueError(f"matrix {shares.shape} does not fit {len(class_names)} class names")
    # Transparent cells over the page, so that the figure works on light and dark.
    fill = np.zeros((*shares.shape, 4))
    fill[..., :3] = [int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    fill[..., 3] = np.sqrt(np.clip(np.nan_to_num(shares), 0, 1))
    ax.pcolormesh(fill, edgecolors=GREY, linewidth=0.15)
    for row, column in np.argwhere(np.round(100 * np.nan_to_num(shares), digits) > 0):
        colour = "white" if fill[row, column, 3] > 0.6 else INK
        text = f"{100 * shares[row, column]:.{digits}f}"
        place = (column + 0.5, row + 0.5)
        ax.annotate(text, place, ha="center", va="center", fontsize=7.5, color=colour)
    ax.set_xticks(np.arange(classes) + 0.5, class_names, rotation=90)
    ax.set_yticks(np.arange(classes) + 0.5, class_names)
    ax.set_xlim(0, classes)
    ax.set_ylim(classes, 0)
    ax.set_aspect("equal")
    return settle(ax, title, "predicted class", "true class")


def reliability(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw accuracy against confidence, a bar a bin of `metrics.reliability_table`.

    The dashed diagonal is perfect calibration. A dot stands at the mean confidence of its bin and is as large as the
    bin's share of the images, so that one of few images, whose accuracy is mostly chance, is small.
    """
    ax = axes(ax)
    filled = table[table["count"] > 0]
    width = (filled["upper"] - filled["lower"]).to_numpy()
    share = (filled["count"] / filled["count"].sum()).to_numpy(dtype=float)
    look = {"align": "edge", "color": BLUE, "alpha": 0.3, "edgecolor": INK, "lw": 0.6}
    ax.bar(filled["lower"], filled["accuracy"], width, **look)
    ax.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.9)
    ax.annotate("calibrated", (0.16, 0.19), rotation=45, rotation_mode="anchor", fontsize=FIGURE_FONT - 1, color=INK)
    ax.scatter(filled["confidence"], filled["accuracy"], s=3 + 220 * share, color=INK, zorder=3)
    for x, y, part in zip(filled["confidence"], filled["accuracy"], share, strict=True):
        if part >= 0.05:
            text = {"xytext": (-4 - 6 * part, 6 + 5 * part), "textcoords": "offset points", "ha": "right"}
            ax.annotate(f"{100 * part:.0f} %", (x, y), **text, fontsize=FIGURE_FONT - 1.5, color=INK)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    return settle(ax, title, "confidence (dots: share of the images)", "accuracy")


def reliability_curves(table: pd.DataFrame, ax: Any = None, title: str = "", least: int = 20) -> Any:
    """Draw accuracy against confidence, a line a loss; on the dashed diagonal a model is as sure as it is right.

    Args:
        table: rows with `loss label count confidence accuracy`, a row a bin of each loss's runs together.
        least: bins with fewer images are left out; their accuracy is mostly chance.
    """
    ax = axes(ax)
    styles, titles = styles_of(table), titles_of(table)
    ax.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.9)
    for label, style in styles.items():
        rows = table[(table["label"] == label) & (table["count"] >= least)]
        look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
        ax.plot(rows["confidence"], rows["accuracy"], **look, markersize=3.2, linewidth=1.2, label=titles[label])
    legend(ax, len(styles), "upper left")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    return settle(ax, title, "confidence", "accuracy")


def by_class(table: pd.DataFrame, ax: Any = None, unit: str = "", title: str = "") -> Any:
    """Draw one number a class and loss: a row a class, a mark a loss with its interval.

    Args:
        table: rows with `loss label class mean low high`, classes in the order of the rows to draw.
    """
    ax = axes(ax)
    styles, titles = styles_of(table), titles_of(table)
    classes = list(dict.fromkeys(table["class"]))
    for place, (label, style) in enumerate(styles.items()):
        rows = table[table["label"] == label].set_index("class").reindex(classes)
        at = np.arange(len(classes)) + 0.7 * ((place + 0.5) / len(styles) - 0.5)
        ax.hlines(at, rows["low"], rows["high"], color=style.colour, linewidth=1.1, alpha=0.75)
        look = {"color": style.colour, "markersize": 3.8, "markeredgecolor": INK, "markeredgewidth": 0.4}
        ax.plot(rows["mean"], at, style.marker, **look, label=titles[label])
    for edge in np.arange(len(classes) - 1) + 0.5:
        ax.axhline(edge, color=GREY, linewidth=0.4, alpha=0.5)
    ax.set_yticks(range(len(classes)), classes)
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    legend(ax, len(styles), "below")
    return settle(ax, title, unit)
